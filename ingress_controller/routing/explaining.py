"""What answers a URL, and why: a decision of the engine's, told with the table that it came from.

Rules: pure. Which route it is the engine says; which others would have been next is worked out
here, so that a person sees why they were not. Values of policies may be credentials: names only.
"""

from collections.abc import Iterable, Iterator
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.plural import counted
from ingress_controller.routing.annotations.annotation import Scope
from ingress_controller.routing.annotations.reading import changed_names
from ingress_controller.routing.annotations.table import EVERYBODY
from proxy.table import (
    ANY_HOST,
    Backend,
    Endpoint,
    PathKind,
    Route,
    RoutePolicy,
    RouteTable,
    TracingPolicy,
)

_NEWER = Backend("", "", "", missing="The table is changing at this moment; ask again.")

OTHERS_MAX = 20
"""Routes that were next, in one answer; the first few tell why."""


_HOLDING_RULES = frozenset({"File", "IngressClass"})


class UrlError(ValueError):
    """Not a URL with a host; the message says what one looks like."""


class Match(Protocol):
    """What of the engine's answer is needed here (`proxy.engine.Match`)."""

    @property
    def host(self) -> str: ...
    @property
    def kind(self) -> PathKind: ...
    @property
    def path(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def namespace(self) -> str: ...
    @property
    def ingress(self) -> str: ...
    @property
    def rule(self) -> str: ...


class Rule(msgspec.Struct, frozen=True):
    """A route and where it comes from. `host` is `*` for any; `ingress` is `namespace/name`."""

    host: str
    kind: PathKind
    path: str
    ingress: str
    rule: str
    backend: str


class Explanation(msgspec.Struct, frozen=True):
    """The answer.

    Attributes:
        host: what was asked for, as the table has it; so is `path`.
        route: None where no rule matches.
        why: sentences, each about one step of the choice.
        others: rules that match too and come later, in their order.
        policy: names of the annotations that change something about the route.
        tracing: what a TracingPolicy and annotations say of it; the rest is as for all routes.
        missing: why the backend can have no endpoint; empty where it can.
        status: of the answer that Spanway gives itself: 403 where nobody is let in, that of a
            redirect, 404, 503; or 0 where an endpoint answers.
        problems: of the Service, and of the Ingress but for its other rules; without a rule, of
            what may hold one that is not served: files and classes.
    """

    host: str
    path: str
    route: Rule | None
    why: tuple[str, ...]
    status: int
    others: tuple[Rule, ...] = ()
    policy: tuple[str, ...] = ()
    tracing: tuple[str, ...] = ()
    missing: str = ""
    endpoints: tuple[Endpoint, ...] = ()
    problems: tuple[Problem, ...] = ()


def host_and_path(text: str) -> tuple[str, str]:
    """Of a URL, whose scheme may be left out. Raises UrlError."""
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host = parts.hostname
    except ValueError as err:
        raise UrlError(f'"{text}" is no URL; write http://shop.example/cart') from err
    if not host:
        raise UrlError(f'"{text}" has no host; write http://shop.example/cart')
    return f"[{host}]" if ":" in host else host, parts.path or "/"


def explained(
    table: RouteTable, problems: Iterable[Problem], asked: tuple[str, str], match: Match | None
) -> Explanation:
    """The engine's `match` of `asked` (host and path), which was made with `table`."""
    host, path = asked
    if match is None:
        why = f"No rule has the host {host} and a path that {path} is below, and none is for any."
        unserved = (problem for problem in problems if problem.object.kind in _HOLDING_RULES)
        return Explanation(host, path, None, (why,), 404, problems=tuple(unserved))
    backend = table.backends.get(match.backend, _NEWER)
    route = Rule(
        match.host or "*",
        match.kind,
        match.path,
        f"{match.namespace}/{match.ingress}",
        match.rule,
        match.backend,
    )
    of_route = {
        ObjectKey("Ingress", match.namespace, match.ingress),
        ObjectKey("Service", backend.namespace, backend.service),
    }
    policy = _policy(table, match)
    others = [rule for rule in _matching(table, host, path) if rule != route]
    return Explanation(
        host,
        path,
        route,
        (_why_host(host, match), _why_path(match, others)),
        _status(policy, backend),
        others=tuple(others[:OTHERS_MAX]),
        policy=tuple(changed_names(Scope.ROUTE, policy)),
        tracing=tuple(_traced(policy.tracing)) if policy.tracing is not None else (),
        missing=backend.missing,
        endpoints=backend.endpoints,
        problems=tuple(
            problem
            for problem in problems
            if problem.object in of_route and not _is_of_another_rule(problem.field, match.rule)
        ),
    )


def _status(policy: RoutePolicy, backend: Backend) -> int:
    """In the engine's order. Whom else a policy turns away depends on the client."""
    if set(EVERYBODY) <= set(policy.deny):
        return 403
    if policy.redirect is not None:
        return policy.redirect.status
    return 0 if backend.endpoints else 503


def _is_of_another_rule(field: str, rule: str) -> bool:
    """`rule` is a path's: `spec.rules[0].http.paths[1]`. What is wrong with its host is its own."""
    if not field.startswith("spec.rules["):
        return False
    path = field.partition(".http.")[1]
    own = rule if path else rule.partition(".http.")[0]
    return not f"{field}.".startswith(f"{own}.")


def _why_host(host: str, match: Match) -> str:
    if match.host == ANY_HOST:
        return f"No rule for {host} has such a path, so a rule without a host takes it."
    if match.host.startswith("*."):
        return f"No rule for {host} itself has such a path, so {match.host} takes it."
    return f"{host} is named by this rule, which comes before wildcards and rules without a host."


def _why_path(match: Match, others: Iterable[Rule]) -> str:
    rivals = any(rule.host == (match.host or "*") for rule in others)
    if match.kind is PathKind.EXACT:
        return f"The path is exactly {match.path}; an exact path comes before every prefix."
    if rivals:
        return f"{match.path} is the longest prefix that matches."
    return f"{match.path} is the only prefix that matches."


def _matching(table: RouteTable, host: str, path: str) -> Iterator[Rule]:
    """All routes that match, as the Ingress specification reads them, in order of precedence."""
    wildcard = f"*.{host.partition('.')[2]}" if "." in host else ANY_HOST
    for name in dict.fromkeys((host.lower(), wildcard.lower(), ANY_HOST)):
        if name in table.hosts:
            for route in table.hosts[name].routes:
                if _is_below(path, route):
                    ingress = f"{route.namespace}/{route.ingress}"
                    yield Rule(
                        name or "*", route.kind, route.path, ingress, route.rule, route.backend
                    )


def _is_below(path: str, route: Route) -> bool:
    asked, wanted = ([part for part in text.split("/") if part] for text in (path, route.path))
    if route.kind is PathKind.EXACT:
        return path == route.path
    return asked[: len(wanted)] == wanted


def _policy(table: RouteTable, match: Match) -> RoutePolicy:
    of_match = (match.namespace, match.ingress, match.rule)
    host = table.hosts.get(match.host)
    for route in host.routes if host is not None else ():
        if route.policy and (route.namespace, route.ingress, route.rule) == of_match:
            return table.policies[route.policy]
    return RoutePolicy()


def _traced(policy: TracingPolicy) -> Iterator[str]:
    usual = TracingPolicy()
    if policy.ratio != usual.ratio:
        yield f"ratio {policy.ratio:g}"
    if policy.is_parent_based != usual.is_parent_based:
        yield "not by the parent's flag"
    if policy.rules:
        yield counted(len(policy.rules), "rule")
    if policy.traces_per_s_min:
        yield f"at least {policy.traces_per_s_min:g} traces/s"
    if policy.traces_per_s_max:
        yield f"at most {policy.traces_per_s_max:g} traces/s"
    if policy.tail_spans_per_s:
        yield f"tail {policy.tail_spans_per_s:g} spans/s"
    if policy.phase_spans != usual.phase_spans:
        yield f"phase spans {policy.phase_spans}"
