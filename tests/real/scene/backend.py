"""A small backend that says its name and keeps what it was asked."""

import contextlib
import socket
import socketserver
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Any

HOLD_DEADLINE_S = 20.0


@dataclass(frozen=True)
class Received:
    """One request as it arrived; names of `fields` are in lower case."""

    method: str
    path: str
    fields: Mapping[str, str]


class Backend:
    """An HTTP/1.1 server that answers every request with 200 and its name.

    `received` grows with each request's head. While held, requests wait for their answers.
    """

    def __init__(self, name: str, address: str = "127.0.0.1", port: int = 0) -> None:
        """Listens at once; port 0 is any free one."""
        self.name = name
        self.received: list[Received] = []
        self._open = threading.Event()
        self._open.set()
        self._server = _Server((address, port), self)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Requests that arrive meanwhile are answered when the body ends, or releases them."""
        self._open.clear()
        try:
            yield
        finally:
            self.release()

    def release(self) -> None:
        """Answers what is held, and no longer holds."""
        self._open.set()

    def close(self) -> None:
        """Ends as a killed process does: connections too, at any point. Twice is harmless."""
        if self._thread.is_alive():
            self.release()
            self._server.shutdown()
            self._server.server_close()
            self._server.break_connections()
            self._thread.join()

    def __enter__(self) -> "Backend":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def answer(self, request: Received) -> bytes:
        self.received.append(request)
        self._open.wait(HOLD_DEADLINE_S)
        return self.name.encode()


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], backend: Backend) -> None:
        self.backend = backend
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def break_connections(self) -> None:
        with self._lock:
            connections = list(self._connections)
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection broke: that is the other side's affair, and the tests look there."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body leave together

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fields = {name.lower(): value for name, value in self.headers.items()}
        server = self.server
        assert isinstance(server, _Server)
        body = server.backend.answer(Received(self.command, self.path, fields))
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    do_POST = do_GET  # noqa: N815, the name that http.server looks for

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing: `received` is the log."""
