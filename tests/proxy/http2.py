"""HTTP/2 peers for tests, a client and an endpoint, that send what they are told to.

Both stand on the `h2` package (python-hyper) with its checks of what is sent turned off. Rule: what
is received it checks, so a proxy that breaks the protocol fails the test.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import Frame, GoAwayFrame
from message import READ_LIMIT_BYTES, Tap, within
from upstream import Preamble

from proxy.table import Endpoint

Fields = tuple[tuple[str, str], ...]

GET: Fields = (
    (":method", "GET"),
    (":scheme", "http"),
    (":authority", "shop.example"),
    (":path", "/"),
)


def with_fields(fields: Fields, *changes: tuple[str, str]) -> Fields:
    """`fields` with other values for those names, and new names behind them."""
    changed = dict(changes)
    kept = tuple((name, changed.pop(name, value)) for name, value in fields)
    return (*kept, *((name, value) for name, value in changes if name in changed))


@dataclass
class Message:
    """What was received on one stream so far."""

    stream_id: int
    fields: Fields = ()
    interim: list[Fields] = field(default_factory=list)
    body: bytearray = field(default_factory=bytearray)
    trailers: Fields = ()
    is_complete: bool = False
    reset: int | None = None
    """The error code of RST_STREAM."""

    @property
    def status(self) -> int:
        return int(self.one(":status"))

    def all(self, name: str) -> list[str]:
        return [value for each, value in self.fields if each == name]

    def one(self, name: str) -> str:
        (value,) = self.all(name)
        return value

    def has(self, name: str) -> bool:
        return bool(self.all(name))


class Peer:
    """One connection, either side of it."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_client: bool
    ) -> None:
        self.writer = writer
        self.messages: dict[int, Message] = {}
        self.is_closed = False
        self.goodbye: int | None = None
        """The error code of GOAWAY, the last one."""
        self.last_stream_id: int | None = None
        """… and the last stream that it says was looked at."""
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=is_client,
                header_encoding="latin-1",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        # The package takes GOAWAY for the end, whereas the streams that were begun go on after it
        # (RFC 9113, section 6.8).
        self.h2._frame_dispatch_table[GoAwayFrame] = self._said_goodbye
        self.takes_data = True
        """Whether received data is acknowledged, so that more may come."""
        self.on_request: Callable[[Message], None] = lambda _: None
        self._reader = reader
        self._changed = asyncio.Condition()

    async def run(self) -> None:
        """Until the connection is closed."""
        with contextlib.suppress(ConnectionError):
            while data := await self._reader.read(READ_LIMIT_BYTES):
                for event in self.h2.receive_data(data):
                    self._received(event)
                await self.flush()
                await self.tell()
        self.is_closed = True
        await self.tell()

    async def tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def wait_for(self, state: Callable[[], bool]) -> None:
        """Returns when `state` holds, which is looked at whenever something was received."""
        async with self._changed:
            await within(self._changed.wait_for(state))

    async def greet(self) -> None:
        """Says which settings are its own."""
        self.h2.initiate_connection()
        await self.flush()

    async def flush(self) -> None:
        self.writer.write(self.h2.data_to_send())
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def send(self, stream_id: int, fields: Fields, *, is_end: bool = True) -> None:
        """A head, or trailers. Each character is one byte."""
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self.h2.send_headers(stream_id, encoded, end_stream=is_end)
        await self.flush()

    async def send_body(self, stream_id: int, body: bytes, *, is_end: bool = True) -> None:
        """As the other side's windows allow."""
        while body:
            await self.wait_for(lambda: self.h2.local_flow_control_window(stream_id) > 0)
            window = self.h2.local_flow_control_window(stream_id)
            part = body[: min(window, self.h2.max_outbound_frame_size)]
            body = body[len(part) :]
            self.h2.send_data(stream_id, part, end_stream=is_end and not body)
            await self.flush()

    async def reset(self, stream_id: int, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        self.h2.reset_stream(stream_id, code)
        await self.flush()

    def _received(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived() | h2.events.ResponseReceived():
                message = self._message(event.stream_id)
                message.fields = _text(event.headers)
                if isinstance(event, h2.events.RequestReceived):
                    self.on_request(message)
            case h2.events.InformationalResponseReceived():
                self._message(event.stream_id).interim.append(_text(event.headers))
            case h2.events.TrailersReceived():
                self._message(event.stream_id).trailers = _text(event.headers)
            case h2.events.DataReceived():
                self._message(event.stream_id).body += event.data
                if self.takes_data and event.flow_controlled_length:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self._message(event.stream_id).is_complete = True
            case h2.events.StreamReset():
                self._message(event.stream_id).reset = event.error_code

    def _said_goodbye(self, frame: GoAwayFrame) -> tuple[list[Frame], list[h2.events.Event]]:
        self.goodbye, self.last_stream_id = frame.error_code, frame.last_stream_id
        return [], []

    def _message(self, stream_id: int | None) -> Message:
        assert stream_id is not None
        return self.messages.setdefault(stream_id, Message(stream_id))


def _text(fields: Iterable[tuple[bytes | str, bytes | str]] | None) -> Fields:
    def text(part: bytes | str) -> str:
        return part.decode("latin-1") if isinstance(part, bytes) else part

    return tuple((text(name), text(value)) for name, value in fields or ())


class Http2Client:
    """A connection to a data plane. Leaving it closes it."""

    def __init__(self, address: str, **settings: int) -> None:
        self._address = address
        self._settings = settings

    async def __aenter__(self) -> Self:
        host, _, port = self._address.rpartition(":")
        self.peer = Peer(*await asyncio.open_connection(host, int(port)), is_client=True)
        self.peer.h2.initiate_connection()
        await self.peer.flush()
        self._running = asyncio.create_task(self.peer.run())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.peer.writer.close()
        self._running.cancel()
        (ended,) = await asyncio.gather(self._running, return_exceptions=True)
        if error is None and isinstance(ended, h2.exceptions.ProtocolError):
            raise ended

    async def begin(self, fields: Fields = GET, *, is_end: bool = True) -> int:
        """Sends the head of a request; returns its stream."""
        stream_id = self.peer.h2.get_next_available_stream_id()
        await self.peer.send(stream_id, fields, is_end=is_end)
        return stream_id

    async def response(self, stream_id: int) -> Message:
        """The whole response, or what there was before the stream was reset."""
        messages = self.peer.messages

        def is_over() -> bool:
            message = messages.get(stream_id)
            is_done = message is not None and (message.is_complete or message.reset is not None)
            return is_done or self.peer.is_closed

        await self.peer.wait_for(is_over)
        return messages.get(stream_id, Message(stream_id))

    async def ask(
        self, fields: Fields = GET, body: bytes | None = None, trailers: Fields = ()
    ) -> Message:
        """Sends a whole request and reads its response."""
        stream_id = await self.begin(fields, is_end=body is None)
        if body is not None:
            await self.peer.send_body(stream_id, body, is_end=not trailers)
            if not body and not trailers:
                self.peer.h2.end_stream(stream_id)
                await self.peer.flush()
        if trailers:
            await self.peer.send(stream_id, trailers)
        return await self.response(stream_id)


Answer = Callable[[Peer, Message], Awaitable[None]]


async def says_ok(peer: Peer, request: Message) -> None:
    """Reads the request to its end and says ok."""
    await peer.wait_for(lambda: request.is_complete)
    await peer.send(request.stream_id, ((":status", "200"),), is_end=False)
    await peer.send_body(request.stream_id, b"ok")


class Http2Upstream:
    """An endpoint on a free loopback port that speaks nothing but HTTP/2.

    Args:
        tls: what connections begin with a handshake by.
        preamble: what of a connection comes before HTTP/2 is read and kept by this.
        greets: how a connection begins that was accepted: with the endpoint's settings, in the end.
    """

    def __init__(
        self,
        answer: Answer = says_ok,
        *,
        streams_max: int = 100,
        tls: ssl.SSLContext | None = None,
        preamble: Preamble | None = None,
        greets: Callable[[Peer], Awaitable[None]] = Peer.greet,
    ) -> None:
        self.answer = answer
        self.greets = greets
        self.preambles: list[bytes] = []
        self._tls = tls
        self._preamble = preamble
        self.requests: list[Message] = []
        self.peers: list[Peer] = []
        self._streams_max = streams_max
        self._begun = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self._faults: list[BaseException] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.close()
        for peer in self.peers:
            peer.writer.transport.abort()  # Closed, TLS would wait for the other side's end of it.
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._faults and error is None:
            raise self._faults[0]

    @property
    def endpoint(self) -> Endpoint:
        address, port = self._server.sockets[0].getsockname()
        return Endpoint(address, port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving = asyncio.current_task()
        assert serving is not None
        self._tasks.add(serving)
        serving.add_done_callback(self._tasks.discard)
        if self._preamble is not None:
            self.preambles.append(await self._preamble(Tap(reader)))
        peer = Peer(reader, writer, is_client=False)
        self.peers.append(peer)
        peer.on_request = lambda request: self._begin(peer, request)
        peer.h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._streams_max,
                h2.settings.SettingCodes.MAX_HEADER_LIST_SIZE: 64 * 1024,
            },
        )
        await self._tell()
        try:
            await self.greets(peer)
            await peer.run()
        except asyncio.CancelledError:
            pass  # The test is over. asyncio before 3.12 would log it.
        except h2.exceptions.ProtocolError as err:
            self._faults.append(err)

    @contextlib.contextmanager
    def stop_accepting(self) -> Iterator[None]:
        """From here on connections only wait in the kernel, until the block ends."""
        with self._server.sockets[0].dup():
            self._server.close()
            yield

    async def wait_for(self, state: Callable[[], bool]) -> None:
        """Returns when `state` holds, which is looked at whenever a connection or request began."""
        async with self._begun:
            await within(self._begun.wait_for(state))

    async def _tell(self) -> None:
        async with self._begun:
            self._begun.notify_all()

    async def _serve_one(self, peer: Peer, request: Message) -> None:
        await self._tell()
        await self.answer(peer, request)

    def _begin(self, peer: Peer, request: Message) -> None:
        self.requests.append(request)
        task = asyncio.ensure_future(self._serve_one(peer, request))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and isinstance(task.exception(), AssertionError):
            self._faults.append(task.exception() or AssertionError())
