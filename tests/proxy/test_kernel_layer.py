"""What the kernel saw of requests, and that asking it does no harm."""

import asyncio
import threading
import time
from pathlib import Path

import pytest
from client import Client
from data_plane import DataPlane, Segment
from message import DEADLINE_S, request
from upstream import Exchange, Upstream

from ingress_controller.traces.span import Span
from proxy.table import KernelTimestamps, Tracing, TracingPolicy

LAYER = ["net.deliver", "app.respond", "net.return"]
BASELINE_REQUESTS = 24
"""Enough to know what is usual, and for a kernel to leave acknowledgements to answers."""
WARM_UP_REQUESTS = 100
"""A kernel begins to note when bytes come a moment after a first socket has asked for it."""
THINK_S = 0.1
"""Longer than the pause between two connections that are made for that."""
TRIES = 3
"""On a busy machine a request before one may have been slow enough for a new connection."""
LARGE_BYTES = 64 * 1024 * 1024
"""More than the kernel buffers for a connection."""
BUFFERED_BYTES = 1024 * 1024
"""More than the client and its kernel take unasked, and less than ours does with them."""
RECEIVE_BUFFER_BYTES = 64 * 1024


async def test_an_attempt_is_split_into_network_app_and_waking_up(
    data_plane: DataPlane, client: Client
) -> None:
    for _ in range(WARM_UP_REQUESTS + 3):
        await client.get()
    segments = (await data_plane.segments())[WARM_UP_REQUESTS:]

    assert len(segments) == 3
    for segment in segments:
        (attempt,) = segment.attempts
        told = attempt.attributes
        assert [span.name for span in segment.kernel_layer] == LAYER
        assert told["spanway.net.source"] == "kernel"
        assert told["spanway.net.correlation"] == "request"
        assert int(str(told["tcp.rtt_us"])) > 0
        _assert_in_a_row(attempt, segment.kernel_layer)
    assert all("spanway.net.wakeup_us" in one.server.attributes for one in segments)


def _assert_in_a_row(attempt: Span, layer: tuple[Span, ...]) -> None:
    deliver, respond, back = layer
    assert attempt.start_unix_ns <= deliver.start_unix_ns
    assert deliver.end_unix_ns == respond.start_unix_ns
    assert respond.end_unix_ns == back.start_unix_ns
    assert back.end_unix_ns <= attempt.end_unix_ns
    waited_ns = int(str(attempt.attributes["spanway.phase.wait_us"])) * 1000
    assert abs(back.end_unix_ns - deliver.start_unix_ns - waited_ns) < 1000


async def test_a_slow_request_makes_the_next_one_measure_the_path_by_a_handshake(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    """The endpoint's kernel acknowledges with the answer, and so tells nothing of the network."""

    async def thinks(exchange: Exchange) -> None:
        await asyncio.sleep(THINK_S)
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    answer = upstream.answer
    for _ in range(TRIES):
        for _ in range(BASELINE_REQUESTS):
            await client.get()
        upstream.answer = thinks
        await client.get()
        upstream.answer = answer
    await client.get()
    segments = await data_plane.segments()

    is_reused = [one.attempts[0].attributes["spanway.connection.reused"] for one in segments]
    slow = [BASELINE_REQUESTS + index * (BASELINE_REQUESTS + 1) for index in range(TRIES)]
    assert [segments[index].server.attributes["spanway.verdict"] for index in slow] == ["app"] * 3
    assert any(is_reused[index] and not is_reused[index + 1] for index in slow)


@pytest.mark.parametrize("which", [KernelTimestamps.OFF, KernelTimestamps.SAMPLED])
async def test_nothing_is_told_where_nothing_is_asked(
    data_plane: DataPlane, upstream: Upstream, which: KernelTimestamps
) -> None:
    ratio = 1.0 if which is KernelTimestamps.OFF else 0.0
    tracing = Tracing(TracingPolicy(ratio), kernel_timestamps=which)
    data_plane.serve(upstream, tracing=tracing)
    async with await data_plane.client() as client:
        assert (await client.get()).status == 200
        assert (await client.get()).status == 200
    for segment in await data_plane.segments():
        assert segment.kernel_layer == ()
        names = {name for span in segment.spans for name in span.attributes}
        assert not any(name.startswith(("tcp.", "spanway.net.")) for name in names)


async def test_an_endpoint_that_never_answers_had_the_request_all_the_same(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    async def closes_late(exchange: Exchange) -> None:
        await data_plane.turn()
        exchange.close()

    data_plane.serve(upstream)
    async with await data_plane.client() as client:
        upstream.answer = closes_late
        assert (await client.send(request("POST", "/", body=b"x"))) is None
        assert (await client.response()).status == 502
    segment = await data_plane.segment()
    names = [span.name for span in segment.kernel_layer]
    assert names == ["net.deliver", "app.respond"]


async def test_a_worker_sleeps_while_an_observed_endpoint_takes_nothing(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    """An answer in the error queue looks like a closed pipe to the event loop, for ever: whoever
    believes it writes in vain again and again."""
    await client.get()
    may_read = asyncio.Event()

    async def read_late(exchange: Exchange) -> None:
        await may_read.wait()
        body = await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n%08x" % len(body))

    upstream.answer = read_late
    async with asyncio.TaskGroup() as sending:
        await client.send(request("POST", "/", f"Content-Length: {LARGE_BYTES}"))
        pour = sending.create_task(client.send(bytes(LARGE_BYTES)))
        await _assert_sleeps(data_plane)
        assert not pour.done()
        may_read.set()
    answered = await client.response()
    segments = await data_plane.segments()

    assert int(answered.text, 16) == LARGE_BYTES
    assert upstream.connections_made == 1, "it was not the connection that was asked about"
    assert [span.name for span in segments[1].kernel_layer] == LAYER


async def test_a_worker_sleeps_while_an_observed_client_takes_nothing(
    data_plane: DataPlane, client: Client, upstream: Upstream
) -> None:
    await client.get()

    async def pour(exchange: Exchange) -> None:
        await exchange.body()
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE_BYTES)
        await exchange.send(bytes(LARGE_BYTES))

    upstream.answer = pour
    await client.send(request())
    await _assert_sleeps(data_plane)
    answered = await client.response()
    segments = await data_plane.segments()

    assert len(answered.body) == LARGE_BYTES
    assert _time(segments[1], "client_network") > _time(segments[1], "proxy")


async def test_a_request_is_over_when_the_clients_kernel_has_the_response(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    """What the client's kernel has no room for waits in ours, long after it was written."""

    async def pour(exchange: Exchange) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % BUFFERED_BYTES)
        await exchange.send(bytes(BUFFERED_BYTES))

    upstream.answer = pour
    data_plane.serve(upstream)
    async with await data_plane.client(receive_buffer_bytes=RECEIVE_BUFFER_BYTES) as client:
        await client.send(request())
        await _assert_sleeps(data_plane)
        read = time.time_ns()
        answered = await client.response()
        segment = await data_plane.segment()

    assert len(answered.body) == BUFFERED_BYTES
    (delivery,) = segment.delivery
    end = segment.server.end_unix_ns
    assert delivery.end_unix_ns == end > read
    assert segment.balance is not None
    assert segment.balance.end_unix_ns <= delivery.start_unix_ns
    assert _time(segment, "client_network") * 1000 > end - read


def _time(segment: Segment, whose: str) -> int:
    return int(str(segment.server.attributes[f"spanway.time.{whose}_us"]))


async def _assert_sleeps(data_plane: DataPlane) -> None:
    """Returns once the worker had every opportunity to move bytes, and was then seen asleep again
    and again; one that spins never is."""
    for _ in range(50):
        await data_plane.turn()
    (worker,) = _workers()
    asleep = 0
    async with asyncio.timeout(DEADLINE_S):
        while asleep < 20:
            state = worker.read_text().partition("State:\t")[2][0]
            asleep += state == "S"
            await asyncio.sleep(0)


def _workers() -> list[Path]:
    """The `status` of each thread that is a worker of this process' engines."""
    tasks = Path(f"/proc/{threading.main_thread().native_id}/task").iterdir()
    statuses = [task / "status" for task in tasks]
    return [status for status in statuses if status.read_text().startswith("Name:\tspanway-0\n")]
