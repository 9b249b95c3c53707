"""HTTP to the parts' own APIs: one request, JSON in, JSON out, no pool."""

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

REQUEST_TIMEOUT_S = 30.0

Json = Any
"""What `json.loads` gives. The tests pick from it; none of it enters the product."""


class HttpError(Exception):
    """The other side answered with an error status, or not at all (`status` 0)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


def request(
    method: str,
    url: str,
    body: Json = None,
    *,
    headers: Mapping[str, str] | None = None,
    tls: ssl.SSLContext | None = None,
) -> Json:
    """The parsed JSON answer, or its text where it is not JSON.

    Raises:
        HttpError: the status is not 2xx or 3xx, or there was no answer.
    """
    content = None if body is None else json.dumps(body).encode()
    question = urllib.request.Request(url, content, dict(headers or {}), method=method)
    if body is not None and not question.has_header("Content-type"):
        question.add_header("Content-Type", "application/json")
    # The parts are on this machine: whatever proxy the environment names is not for them.
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=tls)
    )
    try:
        with opener.open(question, timeout=REQUEST_TIMEOUT_S) as answer:
            text = answer.read().decode()
    except urllib.error.HTTPError as err:
        with err:
            raise HttpError(err.code, f"{method} {url}: {err.read().decode()}") from err
    except OSError as err:
        raise HttpError(0, f"{method} {url}: {err}") from err
    try:
        return json.loads(text)
    except ValueError:
        return text


def is_answering(url: str, *, tls: ssl.SSLContext | None = None) -> bool:
    """Whether a GET gets a success status: the readiness condition of most parts."""
    try:
        request("GET", url, tls=tls)
    except HttpError:
        return False
    return True
