"""`/api/problems` and `/api/explain`: what is wrong with objects, and what answers a URL."""

from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from ingress_controller.admin.guard import refusal
from ingress_controller.model.problem import Problem, Severity
from ingress_controller.reconcile import Outcome
from ingress_controller.routing.explaining import (
    Explanation,
    Match,
    Rule,
    UrlError,
    explained,
    host_and_path,
)
from proxy.table import Endpoint

URL_CHARACTERS_MAX = 8_192  # of one to explain: as long as requests' targets may be


class ShownProblem(msgspec.Struct, frozen=True):
    """A Problem; `text` is message and fix."""

    severity: Severity
    kind: str
    namespace: str
    name: str
    field: str
    text: str


class ShownProblems(msgspec.Struct, frozen=True):
    """All of them, in order of object and field."""

    count: int
    problems: tuple[ShownProblem, ...]


class ShownExplanation(msgspec.Struct, frozen=True):
    """An Explanation, see there."""

    url: str
    host: str
    path: str
    route: Rule | None
    why: tuple[str, ...]
    status: int
    others: tuple[Rule, ...]
    policy: tuple[str, ...]
    tracing: tuple[str, ...]
    missing: str
    endpoints: tuple[Endpoint, ...]
    problems: tuple[ShownProblem, ...]


def problems(outcome: Outcome) -> ShownProblems:
    """Every Problem."""
    return ShownProblems(len(outcome.problems), tuple(map(_shown, outcome.problems)))


def explain(
    outcome: Callable[[], Outcome], match: Callable[[str, str], Match | None]
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that asks the engine for the route of the parameter `url`."""

    async def respond(request: web.Request) -> web.Response:
        url = request.query.get("url", "")
        unknown = [name for name in request.query if name != "url"]
        if unknown:
            return refusal(400, f'{unknown[0][:64]}: is unknown; there is "url".')
        if not url or len(url) > URL_CHARACTERS_MAX:
            return refusal(
                400,
                f"url: write up to {URL_CHARACTERS_MAX} characters, as http://shop.example/cart.",
            )
        try:
            asked = host_and_path(url)
        except UrlError as err:
            return refusal(400, f"url: {err}.")
        now = outcome()
        found = explained(now.table, now.problems, asked, match(*asked))
        body = msgspec.json.encode(_shown_explanation(url, found))
        return web.Response(body=body, content_type="application/json")

    return respond


def _shown_explanation(url: str, found: Explanation) -> ShownExplanation:
    fields = msgspec.structs.asdict(found) | {"problems": tuple(map(_shown, found.problems))}
    return ShownExplanation(url=url, **fields)


def _shown(problem: Problem) -> ShownProblem:
    key = problem.object
    return ShownProblem(
        problem.severity, key.kind, key.namespace, key.name, problem.field, problem.text
    )
