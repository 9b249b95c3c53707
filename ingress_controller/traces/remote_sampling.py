"""Jaeger remote sampling: a server says how many traces of this service are recorded.

Rules: asked again and again, one question at a time, more rarely while there is no answer. The
last good answer stays in force; before the first one, what Spanway was started with. Answers are
bounded, and what makes no sense is refused whole.
Source: Jaeger, api_v2/sampling.proto and "Remote Sampling" (`GET /sampling?service=`, port 5778).
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, ClassVar

import aiohttp
import msgspec
from msgspec import Meta
from yarl import URL

from ingress_controller import shallow_json
from ingress_controller.telemetry.events import Event, emit
from proxy.table import RATE_PER_S_MAX, SAMPLING_RULES_MAX, SamplingRule, TracingPolicy

TIMEOUT_S = 10.0  # of one question; as long as an export may take
ANSWER_BYTES_MAX = 1024 * 1024  # some 10,000 operations
BACKOFF_S_MAX = 600.0  # while nobody answers: ten of the usual intervals
_OK = 200

Ratio = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, le=RATE_PER_S_MAX)]


class SamplingReceived(Event, frozen=True):
    """Another answer than the last one is in force."""

    ratio: float
    traces_per_s_max: float
    operations: int


class SamplingUnavailable(Event, frozen=True):
    """There is no good answer; the last one stays in force."""

    level: ClassVar[int] = logging.WARNING
    url: str
    reason: str


class SamplingResumed(Event, frozen=True):
    """There is again."""

    url: str


class _Camel(msgspec.Struct, frozen=True, rename="camel"):
    """What is not read of an answer is ignored."""


class Probabilistic(_Camel, frozen=True):
    sampling_rate: Ratio = 0.0


class RateLimiting(_Camel, frozen=True):
    max_traces_per_second: Rate = 0.0


class Operation(_Camel, frozen=True):
    operation: str
    probabilistic_sampling: Probabilistic = Probabilistic()


class PerOperation(_Camel, frozen=True):
    default_sampling_probability: Ratio = 0.0
    default_lower_bound_traces_per_second: Rate = 0.0
    default_upper_bound_traces_per_second: Rate = 0.0
    per_operation_strategies: tuple[Operation, ...] = ()


class Answer(_Camel, frozen=True):
    """SamplingStrategyResponse; the most specific strategy that it has counts."""

    probabilistic_sampling: Probabilistic | None = None
    rate_limiting_sampling: RateLimiting | None = None
    operation_sampling: PerOperation | None = None


class RemoteSampling:
    """Keeps `policy`, what the server says; None until it has."""

    def __init__(  # noqa: PLR0913 - the sixth is the clock, which only tests replace
        self,
        url: str,
        service: str,
        base: TracingPolicy,
        *,
        interval_s: float,
        on_change: Callable[[TracingPolicy], None],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`base` has what the server says nothing about."""
        self._url = URL(url).update_query(service=service)
        self._interval_s = interval_s
        self._base = base
        self._on_change = on_change
        self._sleep = sleep
        self._reason = ""
        self.policy: TracingPolicy | None = None

    async def run(self) -> None:
        """Until cancelled."""
        delay_s = self._interval_s
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                if await self._ask(session):
                    delay_s = self._interval_s
                else:
                    delay_s = min(2 * delay_s, max(BACKOFF_S_MAX, self._interval_s))
                await self._sleep(delay_s * random.uniform(0.9, 1.1))

    async def _ask(self, session: aiohttp.ClientSession) -> bool:
        """Whether there is a good answer."""
        try:
            policy = policy_of(await self._answer(session), self._base)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as err:
            reason = str(err) or type(err).__name__
            if reason != self._reason:
                emit(SamplingUnavailable(str(self._url), reason))
            self._reason = reason
            return False
        if self._reason:
            self._reason = ""
            emit(SamplingResumed(str(self._url)))
        if policy != self.policy:
            self.policy = policy
            counts = policy.ratio, policy.traces_per_s_max, len(policy.rules)
            emit(SamplingReceived(*counts))
            self._on_change(policy)
        return True

    async def _answer(self, session: aiohttp.ClientSession) -> Answer:
        async with session.get(self._url, allow_redirects=False) as response:
            if response.status != _OK:
                raise ValueError(f"the server answers {response.status}")
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > ANSWER_BYTES_MAX:
                    raise ValueError(f"the answer is longer than {ANSWER_BYTES_MAX} bytes")
        try:
            return shallow_json.read(body, Answer)
        except msgspec.DecodeError as err:
            raise ValueError(f"the answer is no sampling strategy: {err}") from err


def policy_of(answer: Answer, base: TracingPolicy) -> TracingPolicy:
    """What an answer means; what it says nothing about is as in `base`.

    An operation is the name of a span, `GET /cart` or `/cart`; one that is no route of ours
    (a service listener's `GET`) has the default. Raises ValueError: it has no strategy.
    """
    plain = msgspec.structs.replace(
        base, rules=(), traces_per_s_min=0.0, traces_per_s_max=0.0, is_remote=True
    )
    if (per := answer.operation_sampling) is not None:
        known = (_rule(one, per) for one in per.per_operation_strategies)
        rules = tuple(rule for rule in known if rule is not None)
        return msgspec.structs.replace(
            plain,
            ratio=per.default_sampling_probability,
            rules=rules[:SAMPLING_RULES_MAX],
            traces_per_s_min=per.default_lower_bound_traces_per_second,
            traces_per_s_max=per.default_upper_bound_traces_per_second,
        )
    if (limited := answer.rate_limiting_sampling) is not None:
        rate = limited.max_traces_per_second
        ratio = 1.0 if rate else 0.0  # for the table 0 is no bound
        return msgspec.structs.replace(plain, ratio=ratio, traces_per_s_max=rate)
    if (share := answer.probabilistic_sampling) is not None:
        return msgspec.structs.replace(plain, ratio=share.sampling_rate)
    raise ValueError("the answer is no sampling strategy: it has none of the three kinds")


def _rule(one: Operation, per: PerOperation) -> SamplingRule | None:
    method, _, path = one.operation.rpartition(" ")
    if not path.startswith("/"):
        return None
    return SamplingRule(
        one.probabilistic_sampling.sampling_rate,
        method=method,
        route=path,
        traces_per_s_min=per.default_lower_bound_traces_per_second,
    )
