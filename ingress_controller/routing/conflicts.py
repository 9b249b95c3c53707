"""Who gets a host and path that several claim. Pure.

Rule: a rule beats a default backend, then the oldest Ingress wins, then the first by
namespace/name, then the first in the Ingress; each loser is told who won.
Source: Ingress v1 leaves this open; Gateway API v1 ("conflicts") decides it the same way.
"""

from collections.abc import Iterable

import msgspec

from ingress_controller.model.problem import Problem
from ingress_controller.routing.claims import Claim
from proxy.table import ANY_HOST, Host, PathKind, Route


class Settled(msgspec.Struct, frozen=True):
    """`won` are the claims that became routes, in order of rank; `host` is None without one."""

    host: Host | None
    won: tuple[Claim, ...]
    problems: tuple[Problem, ...]


def settle(name: str, claims: Iterable[Claim]) -> Settled:
    """The host `name` with its routes in order of precedence; all `claims` are to it."""
    won: dict[tuple[PathKind, str], Claim] = {}
    problems: list[Problem] = []
    for claim in sorted(claims, key=lambda claim: claim.rank):
        winner = won.setdefault((claim.kind, claim.path), claim)
        if winner is not claim:
            problems.extend(_lost(claim, winner))
    routes = sorted((claim.route() for claim in won.values()), key=_precedence)
    host = Host(name, tuple(routes)) if routes else None
    return Settled(host, tuple(won.values()), tuple(problems))


def _precedence(route: Route) -> tuple[bool, int, str]:
    """Smaller is compared first: exact paths, then longer before shorter prefixes.

    Source: Ingress v1, "Multiple matches"; an exact path is as long as any prefix that matches.
    """
    return route.kind is not PathKind.EXACT, -len(route.path.encode()), route.path


def _lost(claim: Claim, winner: Claim) -> Iterable[Problem]:
    is_same = claim.owner == winner.owner
    if claim.is_default and (is_same or claim.host != ANY_HOST):
        return  # its own rules answer "/" of that host: that is what the spec says
    by = "by" if is_same else f"by {winner.owner},"
    why = "" if is_same else f", which {_reason(claim, winner)}"
    if claim.is_default:
        message = f"Requests that no rule matches are already answered {by} {winner.rule}{why}."
        yield Problem(claim.owner, claim.rule, message, "Keep one default backend.")
        return
    host = f'host "{claim.host}"' if claim.host else "any host"
    message = (
        f'The {claim.kind} path "{claim.path}" of {host} is already routed {by} {winner.rule}{why}.'
    )
    yield Problem(claim.owner, f"{claim.rule}.path", message, "Remove one of the two.")


def _reason(claim: Claim, winner: Claim) -> str:
    if claim.is_default and not winner.is_default:
        return "is a rule"
    return "is older" if claim.created_unix_s > winner.created_unix_s else "comes first by name"
