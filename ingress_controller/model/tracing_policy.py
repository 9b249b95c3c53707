"""TracingPolicy of spanway.io: how the requests of the Ingresses that name it are traced.

Rule: bounds are those of the CRD (crds/tracingpolicies.yaml), so that a directory of manifests is
held to what an API server would take.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from ingress_controller.model.decode import Metadata, Value
from proxy.table import RATE_PER_S_MAX, SAMPLING_RULES_MAX, PhaseSpans, Propagator

Ratio = Annotated[float, Meta(ge=0, le=1)]
Rate = Annotated[float, Meta(ge=0, le=RATE_PER_S_MAX)]
Token = Annotated[str, Meta(pattern=r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$")]
"""A header's name or a method. Source: RFC 9110, 5.6.2."""


class HeaderMatch(Value, frozen=True):
    """A header that the request has; without `value`, whatever it says."""

    name: Token
    value: Annotated[str, Meta(min_length=1, max_length=1024)] | None = None


class Rule(Value, frozen=True):
    """A share of its own for the requests that meet all conditions."""

    ratio: Ratio
    header: HeaderMatch | None = None
    method: Token | None = None
    route: Annotated[str, Meta(pattern="^/", max_length=1024)] | None = None
    min_traces_per_second: Rate = 0.0


class Sampling(Value, frozen=True):
    """`spec.sampling`. What is absent is as without a policy, but for `ratio`, which is 1 then."""

    ratio: Ratio = 1.0
    parent_based: bool = True
    rules: Annotated[tuple[Rule, ...], Meta(max_length=SAMPLING_RULES_MAX)] = ()
    min_traces_per_second: Rate = 0.0
    max_traces_per_second: Rate = 0.0


class Tail(Value, frozen=True):
    """`spec.tail`; 0 keeps nothing that was not sampled."""

    spans_per_second: Rate


class Detail(Value, frozen=True):
    """`spec.detail`: how closely what is recorded is looked at."""

    phase_spans: PhaseSpans


class Disclosed(StrEnum):
    """`spec.serverTiming`, by the words of the annotation but for `off`, which is false in YAML."""

    NONE = "none"
    TRACE = "trace"
    TIMING = "timing"


class Spec(Value, frozen=True):
    """`spec`; an absent part is as Spanway was started."""

    sampling: Sampling | None = None
    tail: Tail | None = None
    detail: Detail | None = None
    inject: Annotated[tuple[Propagator, ...], Meta(max_length=len(Propagator))] | None = None
    server_timing: Disclosed | None = None


class TracingPolicy(Value, frozen=True):
    """See the module."""

    metadata: Metadata
    spec: Spec = Spec()
