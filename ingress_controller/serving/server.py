"""An HTTP server on one socket: bounded, with terms that may change while it serves.

Terms are what is served, by which certificate, and whose certificates clients may show. A change
ends the connections that were made under the old ones, and with them all trust in what they showed.
Rules: connections are bounded in number, heads in size, both in time. When all places are taken,
whoever waits for the longest gives way, unless it is being `kept`: so a probe always gets in.
"""

import asyncio
import logging
import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import cast

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from ingress_controller.serving.refusals import Reason

CONNECTIONS_MAX = 256  # with handshakes: anybody may connect, and requests need descriptors, too
IDLE_S = 120.0  # of a connection, or for a head to come; kube-apiserver's own are closed after 90 s
HANDSHAKE_S = 10.0  # for TLS; asyncio: 60 s
FIELD_BYTES_MAX = 8_190  # of the request line, or of a field with its name; aiohttp's own value
FIELDS_MAX = 64  # of a head, which so has half a MiB at most; aiohttp: 128
LINGER_S = 2.0  # for the rest of a body that nobody reads; aiohttp: 10 s
STALLED_S = 30.0  # for whoever takes nothing of an answer; nginx send_timeout: 60 s
SHUTDOWN_S = 2.0  # for answers under way

_BACKLOG = 128  # connections that wait to be accepted; aiohttp's own value
_RETRY_S = 1.0  # after there was no descriptor; asyncio's own value

Stop = Callable[[], object]


class HttpServer:
    """See the module. `change` says what is served, `listen` where; `run` accepts from then on.
    `refused` is told who came when all places were taken, and whose handshake failed."""

    def __init__(self, refused: Callable[[Reason, str], None] = lambda *_: None) -> None:
        self._refused = refused
        self._socket: socket.socket | None = None
        self._serving: _Serving | None = None
        self._listens = asyncio.Event()
        self._is_over = False
        self._changing = asyncio.Lock()
        self._accepting: asyncio.Task[None] | None = None
        self._handshakes: list[_Handshake] = []  # the oldest first

    def listen(self, listening: socket.socket) -> None:
        """Takes the socket over."""
        listening.setblocking(False)
        # Sockets that are accepted have it from this one: tcp(7), TCP_USER_TIMEOUT.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(STALLED_S * 1_000))
        self._socket = listening
        self._listens.set()

    async def change(
        self,
        app: web.Application,
        context: ssl.SSLContext | None = None,
        *,
        stop: Stop | None = None,
    ) -> None:
        """Serves by these terms from now on, unless it has stopped; `stop` is called when they are
        over, and ends answers that would go on."""
        async with self._changing:
            if self._is_over:
                return
            before, self._serving = self._serving, await _serving(app, context, stop)
            await self._end(before)

    async def run(self) -> None:
        """Accepts connections until it stops."""
        await self._listens.wait()
        async with asyncio.TaskGroup() as group:
            self._accepting = group.create_task(self._accept(group))

    async def stop(self) -> None:
        """Accepts no more, answers what is under way, then closes. Twice is harmless."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.wait((self._accepting,))
        self._is_over = True
        async with self._changing:
            serving, self._serving = self._serving, None
            await self._end(serving)
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    def duplicate(self) -> socket.socket | None:
        """A duplicate of the socket, for another process; None if there is none."""
        return self._socket.dup() if self._socket is not None else None

    async def _end(self, serving: "_Serving | None") -> None:
        for handshake in self._handshakes:
            handshake.end()
        if serving is not None:
            if serving.stop is not None:
                serving.stop()
            await serving.runner.cleanup()

    async def _accept(self, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        while self._socket is not None:
            try:
                accepted, peer = await loop.sock_accept(self._socket)
            except ConnectionAbortedError:
                continue
            except OSError:
                await asyncio.sleep(_RETRY_S)
                continue
            try:
                self._take(accepted, str(peer[0]), group)
            except Exception:  # requests are served on, whatever is wrong here
                _LOGGER.exception("a connection could not be taken")
                accepted.close()

    def _take(self, accepted: socket.socket, peer: str, group: asyncio.TaskGroup) -> None:
        if self._serving is None or not self._makes_room(self._serving, peer):
            accepted.close()
            return
        failed = partial(self._refused, Reason.HANDSHAKE, peer)
        handshake = _Handshake(accepted, self._serving, failed)
        self._handshakes.append(handshake)
        group.create_task(handshake.run()).add_done_callback(
            lambda _: self._handshakes.remove(handshake)
        )

    def _makes_room(self, serving: "_Serving", peer: str) -> bool:
        """There is a place for `peer`, perhaps that of one who had to go for it."""
        open_ = [one for one in serving.connections if one.transport is not None]
        beginning = [one for one in self._handshakes if one.is_beginning]
        if len(open_) + len(beginning) < CONNECTIONS_MAX:
            return True
        self._refused(Reason.CROWDED, peer)
        for one in open_:
            if not serving.keeps(one):
                one.force_close()
                return True
        for handshake in beginning:
            handshake.end()
            return True
        return False


class _Handshake:
    """A connection that has been accepted, until it is served. `failed` is called if that does not
    come to pass, unless the other side has left or we have ended it."""

    def __init__(
        self, accepted: socket.socket, serving: "_Serving", failed: Callable[[], None]
    ) -> None:
        self._accepted = accepted
        self._serving = serving
        self._failed = failed
        self._protocol: web.RequestHandler | None = None
        self._is_over = False

    @property
    def is_beginning(self) -> bool:
        """It is none of the server's connections yet, and may become one."""
        is_open = self._protocol is not None and self._protocol.transport is not None
        return not self._is_over and not is_open

    async def run(self) -> None:
        """Raises nothing."""
        context = self._serving.context
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                self._made,
                self._accepted,
                ssl=context,
                ssl_handshake_timeout=HANDSHAKE_S if context is not None else None,
            )
        except Exception as err:  # noqa: BLE001 - whatever a stranger does to its handshake ends with it
            # asyncio's ConnectionAbortedError is that it took too long.
            if not self._is_over and isinstance(err, ssl.SSLError | ConnectionAbortedError):
                self._failed()
            self._is_over = True

    def end(self) -> None:
        """By its socket: a task that is cancelled before it has begun would leave that open."""
        self._is_over = True
        with suppress(OSError):  # whoever came has left
            self._accepted.shutdown(socket.SHUT_RDWR)

    def _made(self) -> web.RequestHandler:
        self._protocol = self._serving.protocol()
        return self._protocol


class _Serving:
    """One application that is served, and its connections."""

    def __init__(
        self, runner: web.AppRunner, context: ssl.SSLContext | None, stop: Stop | None
    ) -> None:
        assert runner.server is not None, "it is set up"
        self.runner = runner
        self.context = context
        self.stop = stop
        self.protocol = runner.server
        self._kept = runner.app[_KEPT]

    @property
    def connections(self) -> Sequence[web.RequestHandler]:
        """Those whose handshake is over, the oldest first."""
        return self.protocol.connections

    def keeps(self, one: web.RequestHandler) -> bool:
        """It is answered now."""
        # uvloop's transports are none of asyncio's classes, but have what these have.
        transport = cast(asyncio.WriteTransport, one.transport)
        return one in self._kept or transport.get_write_buffer_size() > 0


_KEPT = web.AppKey("kept", set[web.RequestHandler])


async def _serving(
    app: web.Application, context: ssl.SSLContext | None, stop: Stop | None
) -> _Serving:
    app[_KEPT] = set()
    runner = web.AppRunner(
        app,
        access_log=None,
        logger=_LOGGER,
        shutdown_timeout=SHUTDOWN_S,
        keepalive_timeout=IDLE_S,
        lingering_time=LINGER_S,
        max_line_size=FIELD_BYTES_MAX,
        max_field_size=FIELD_BYTES_MAX,
        max_headers=FIELDS_MAX,
    )
    await runner.setup()
    return _Serving(runner, context, stop)


@contextmanager
def kept(request: web.Request) -> Iterator[None]:
    """Meanwhile its connection does not give way to others: who asks may do so."""
    connections = request.config_dict.get(_KEPT, set())
    connections.add(request.protocol)
    try:
        yield
    finally:
        connections.discard(request.protocol)


class _Ours(logging.Filter):
    """What strangers send is answered, and is no line of the log."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


_LOGGER = logging.getLogger("aiohttp.server")
_LOGGER.addFilter(_Ours())


def bound(address: str, *, reuse_port: bool = False) -> socket.socket:
    """A socket that listens on `ADDR:PORT`. Raises OSError."""
    host, _, port = address.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server(
        (host.strip("[]"), int(port)), family=family, backlog=_BACKLOG, reuse_port=reuse_port
    )


def address_of(address: str, listening: socket.socket) -> str:
    """`address` with the port that port 0 became."""
    return f"{address.rpartition(':')[0]}:{listening.getsockname()[1]}"
