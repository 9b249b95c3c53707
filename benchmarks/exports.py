"""Whether the spans of a server that exports them arrived: lost spans would flatter it."""

import json
import time
import urllib.request

from benchmarks.children import BenchError
from benchmarks.servers import Server

EXPORT_S_MAX = 20.0
EXPORT_POLL_S = 0.05
_ANSWER_S_MAX = 5.0
_DROPPED_BY_ENVOY = "/stats?filter=opentelemetry.spans_dropped"


def wait_until_exported(server: Server) -> None:
    """Returns when what was recorded so far was sent; for servers that export nothing at once.

    Envoy keeps up to 511 spans until a batch is full: of it only a loss is found.

    Raises:
        BenchError: spans were dropped, or it took longer than `EXPORT_S_MAX`.
    """
    if not server.exports:
        return
    if server.name.startswith("envoy"):
        _check(server, lost=_dropped_by_envoy(server))
        return
    deadline_s = time.monotonic() + EXPORT_S_MAX
    while time.monotonic() < deadline_s:
        stats = json.loads(get(server.admin, "/api/stats"))
        engine, (export,) = stats["engine"], stats["exporters"]
        _check(server, lost=engine["spans_dropped"] + sum(export["dropped_spans"].values()))
        if export["sent_spans"] >= engine["spans_recorded"]:  # the controller has spans, too
            return
        time.sleep(EXPORT_POLL_S)
    raise BenchError(f"{server.name} did not export its spans within {EXPORT_S_MAX:g} s.")


def _check(server: Server, *, lost: int) -> None:
    if lost:
        raise BenchError(f"{server.name} lost {lost} spans: its figures would flatter it.")


def _dropped_by_envoy(server: Server) -> int:
    return int(get(server.admin, _DROPPED_BY_ENVOY).rpartition(":")[2])


def get(admin: int, path: str) -> str:
    """What the admin server at port `admin` answers."""
    url = f"http://127.0.0.1:{admin}{path}"
    with urllib.request.urlopen(url, timeout=_ANSWER_S_MAX) as answer:
        text: str = answer.read().decode()
        return text
