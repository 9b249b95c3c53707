"""`spanway report`, `traces`, `trace`: asks a running Spanway, and prints what it says."""

import asyncio
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from ingress_controller.admin.traces import Found, ShownTrace
from ingress_controller.analysis.bottlenecks import Bottlenecks
from ingress_controller.analysis.compare import Comparison, TraceComparison
from ingress_controller.analysis.graph import Graph
from ingress_controller.analysis.latency import Latency
from ingress_controller.analysis.nodes import Nodes
from ingress_controller.analysis.path import Path
from ingress_controller.arguments import SettingsError, StartError
from ingress_controller.peers.peer import missing
from ingress_controller.readable import printable, printable_json
from ingress_controller.report.text import (
    WIDTH_MIN,
    bottlenecks_text,
    compared_text,
    graph_text,
    latency_text,
    nodes_text,
    path_text,
)
from ingress_controller.report.traces import found_text, trace_text
from ingress_controller.top.client import AdminClient, QuestionError, TopError

TIMEOUT_S = 60.0  # the store gives up a question before, and others may be asked first
COLUMNS = 120  # where it is no terminal: names of pods are long, and a file is wide


def _trace_text(trace: ShownTrace, width: int) -> str:
    in_colour = sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    return trace_text(trace, width, in_colour=in_colour)


_TEXTS: Mapping[str, tuple[Any, Callable[[Any, int], str]]] = {
    "latency": (Latency, latency_text),
    "nodes": (Nodes, nodes_text),
    "bottlenecks": (Bottlenecks, bottlenecks_text),
    "compare": (Comparison | TraceComparison, compared_text),
    "graph": (Graph, graph_text),
    "path": (Path, path_text),
    "traces": (Found, found_text),
    "trace": (ShownTrace, _trace_text),
}


def report(client: AdminClient, name: str, question: Mapping[str, str], *, is_json: bool) -> int:
    """Prints the report `name` for these parameters: one of `REPORTS`, `traces`, `trace` of `id`.

    Raises:
        StartError: Spanway cannot be asked. SettingsError: it refuses the question.
    """
    others = dict(question)
    match name:
        case "traces":
            path = "/api/traces"
        case "trace":
            path = f"/api/traces/{quote(others.pop('id'), safe='')}"
        case _:
            path = f"/api/analysis/{name}"
    kind, text = _TEXTS[name]
    try:
        body = asyncio.run(_asked(client, path, others))
        if is_json:
            print(printable_json(body.decode(errors="replace").rstrip()))
            return 0
        told = client.read(body, kind)
    except QuestionError as err:
        raise SettingsError(str(err)) from err
    except TopError as err:
        raise StartError(str(err)) from err
    width = max(WIDTH_MIN, shutil.get_terminal_size((COLUMNS, 24)).columns)
    gaps = (f"\n{textwrap.fill(printable(sentence), width)}\n" for sentence in missing(told.peers))
    print(text(told, width), *gaps, sep="", end="")
    return 0


async def _asked(client: AdminClient, path: str, question: Mapping[str, str]) -> bytes:
    async with client:
        return await client.get(path, question)
