"""What a Jaeger says about sampling becomes a policy, and a bad answer leaves the last good one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from aiohttp import web

from ingress_controller.traces.remote_sampling import (
    ANSWER_BYTES_MAX,
    BACKOFF_S_MAX,
    Answer,
    RemoteSampling,
    policy_of,
)
from proxy.table import SamplingRule, TracingPolicy

BASE = TracingPolicy(0.5, is_parent_based=False, traces_per_s_max=3.0, tail_spans_per_s=7.0)
HALF = {"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": 0.5}}
TENTH = {"strategyType": "PROBABILISTIC", "probabilisticSampling": {"samplingRate": 0.1}}


def remote(ratio: float, **changes: Any) -> TracingPolicy:
    return TracingPolicy(
        ratio, is_parent_based=False, tail_spans_per_s=7.0, is_remote=True, **changes
    )


@pytest.mark.parametrize(
    ("answer", "policy"),
    [
        (TENTH, remote(0.1)),
        ({"probabilisticSampling": {}}, remote(0.0)),
        (
            {"strategyType": "RATE_LIMITING", "rateLimitingSampling": {"maxTracesPerSecond": 5}},
            remote(1.0, traces_per_s_max=5.0),
        ),
        ({"rateLimitingSampling": {"maxTracesPerSecond": 0}}, remote(0.0)),
        (
            TENTH
            | {
                "operationSampling": {
                    "defaultSamplingProbability": 0.2,
                    "defaultLowerBoundTracesPerSecond": 0.5,
                    "perOperationStrategies": [
                        {"operation": "GET /a", "probabilisticSampling": {"samplingRate": 1}},
                        {"operation": "/b", "probabilisticSampling": {"samplingRate": 0.3}},
                        {"operation": "GET", "probabilisticSampling": {"samplingRate": 0.4}},
                    ],
                }
            },
            remote(
                0.2,
                traces_per_s_min=0.5,
                rules=(
                    SamplingRule(1.0, method="GET", route="/a", traces_per_s_min=0.5),
                    SamplingRule(0.3, route="/b", traces_per_s_min=0.5),
                ),
            ),
        ),
    ],
    ids=["probabilistic", "never", "rate", "rate_of_none", "per_operation"],
)
def test_each_strategy_is_a_policy(answer: dict[str, Any], policy: TracingPolicy) -> None:
    assert policy_of(msgspec.convert(answer, Answer), BASE) == policy


@asynccontextmanager
async def answering(
    answer: Callable[[], web.Response],
) -> AsyncIterator[tuple[str, list[str]]]:
    asked: list[str] = []

    async def respond(request: web.Request) -> web.Response:
        asked.append(request.path_qs)
        return answer()

    app = web.Application()
    app.router.add_get("/sampling", respond)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/sampling", asked
    finally:
        await runner.cleanup()


async def polled(url: str, polls: int, interval_s: float = 60.0) -> tuple[list[Any], list[float]]:
    """The changes and the waits of so many questions."""
    changes: list[TracingPolicy] = []
    waits: list[float] = []
    done = asyncio.Event()

    async def wait(delay_s: float) -> None:
        waits.append(delay_s)
        if len(waits) == polls:
            done.set()
            await asyncio.Event().wait()

    sampling = RemoteSampling(
        url, "edge of shop", BASE, interval_s=interval_s, on_change=changes.append, sleep=wait
    )
    task = asyncio.ensure_future(sampling.run())
    async with asyncio.timeout(30):
        await done.wait()
    task.cancel()
    return changes, waits


def saying(*answers: object) -> Callable[[], web.Response]:
    """One after the other; text is sent as it is, a number is a status."""
    waiting = list(answers)

    def answer() -> web.Response:
        one = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if isinstance(one, int):
            return web.Response(status=one)
        return web.Response(text=one if isinstance(one, str) else json.dumps(one))

    return answer


async def test_service_is_named_and_only_changes_are_told() -> None:
    async with answering(saying(HALF, HALF, TENTH)) as (url, asked):
        changes, waits = await polled(url, 3)

    assert asked == ["/sampling?service=edge+of+shop"] * 3
    assert [policy.ratio for policy in changes] == [0.5, 0.1]
    assert all(54 <= wait <= 66 for wait in waits)


@pytest.mark.parametrize(
    "bad",
    [
        500,
        404,
        "",
        "nonsense",
        "{}",
        json.dumps({"probabilisticSampling": {"samplingRate": 2}}),
        json.dumps({"rateLimitingSampling": {"maxTracesPerSecond": -1}}),
        " " * (ANSWER_BYTES_MAX + 1),
        '{"x":' + "[" * 5_000 + "]" * 5_000 + "}",
    ],
    ids=["500", "404", "empty", "nonsense", "none", "ratio", "rate", "long", "deep"],
)
async def test_bad_answer_leaves_the_last_good_one_and_is_said_once(
    bad: object, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering(saying(HALF, bad, bad, TENTH)) as (url, _):
        changes, _ = await polled(url, 4)

    assert [policy.ratio for policy in changes] == [0.5, 0.1]
    assert caplog.text.count("SamplingUnavailable") == 1


async def test_server_that_is_away_is_asked_more_and_more_rarely() -> None:
    _, waits = await polled("http://127.0.0.1:1/sampling", 8)

    assert all(1.5 * before < wait for before, wait in pairwise(waits[:3]))
    assert max(waits) <= BACKOFF_S_MAX * 1.1
