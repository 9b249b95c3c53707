"""What each command of `spanway` does; returns its exit code."""

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ingress_controller.model.problem import ObjectKey, Problem, Severity
from ingress_controller.model.values import Values
from ingress_controller.plural import counted
from ingress_controller.routing.annotations.annotation import Scope
from ingress_controller.routing.annotations.reading import changed_names
from ingress_controller.routing.builder import Builder, Built, Options
from ingress_controller.settings import (
    CheckSettings,
    Command,
    ExplainSettings,
    SettingsError,
    TopSettings,
)
from ingress_controller.watch.manifests import Directory
from proxy.table import RouteTable, difference

if TYPE_CHECKING:
    from proxy.engine import Match


def run_command(command: Command) -> int:
    """Raises StartError or SettingsError; anything else is a defect."""
    match command:
        case CheckSettings():
            return check(command)
        case ExplainSettings():
            return explain(command)
        case TopSettings():
            from ingress_controller.top.command import top  # noqa: PLC0415 - others need none of it

            return top(
                command.admin,
                command.question,
                once=command.once,
                interval_s=command.interval_s,
            )
        case _:
            from ingress_controller.run import serve  # noqa: PLC0415 - `check` needs no engine

            serve(command)
            return 0


def check(settings: CheckSettings) -> int:
    """Prints each Problem; 1 if one of them is an error, since warnings are served."""
    built, problems = _built(Directory(settings.directory), settings.ingress_class)
    for problem in problems:
        print(f"{problem.severity}: {problem}")
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    table = built.table
    print(
        f"{counted(len(built.ours), 'Ingress', 'es')}, {counted(table.route_count, 'route')} for"
        f" {counted(len(table.hosts), 'host')}: {counted(errors, 'error')},"
        f" {counted(len(problems) - errors, 'warning')}"
    )
    return 1 if errors else 0


def explain(settings: ExplainSettings) -> int:
    """Prints what answers the URL, as the engine itself decides it; 1 if nothing does."""
    from proxy.engine import Engine  # noqa: PLC0415 - `check` needs no engine

    url = settings.url if "//" in settings.url else f"//{settings.url}"
    try:
        parts = urlsplit(url)
    except ValueError as err:
        raise SettingsError(f'"{settings.url}" is no URL; write http://shop.example/cart.') from err
    if not parts.hostname:
        raise SettingsError(f'"{settings.url}" has no host; write http://shop.example/cart.')
    built, problems = _built(Directory(settings.directory), settings.ingress_class)
    engine = Engine(workers=1, resource={})
    try:
        engine.publish(difference(RouteTable(), built.table))
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        match = engine.explain(host, parts.path or "/")
    finally:
        engine.stop(deadline_s=0)
    if match is None:
        print(f"{settings.url}: no rule matches, the answer is 404")
        return 1
    backend = built.table.backends[match.backend]
    print(settings.url)
    print(f"  host       {match.host or 'any'}")
    print(f"  path       {match.kind} {match.path}")
    print(f"  rule       Ingress {match.namespace}/{match.ingress}, {match.rule}")
    if changed := _changed_by_policy(built.table, match):
        print(f"  policy     {', '.join(changed)}")
    print(f"  backend    {match.backend}")
    for endpoint in backend.endpoints:
        of = ", ".join(filter(None, (endpoint.pod, endpoint.node, endpoint.zone)))
        print(f"  endpoint   {endpoint.address} port {endpoint.port}{f' ({of})' if of else ''}")
    if not backend.endpoints:
        print(f"  endpoint   none, the answer is 503. {backend.missing}".rstrip())
    of_backend = {
        ObjectKey("Ingress", match.namespace, match.ingress),
        ObjectKey("Service", backend.namespace, backend.service),
    }
    for problem in problems:
        if problem.object in of_backend:
            print(f"  {problem.severity:10} {problem}")
    return 0


def _changed_by_policy(table: RouteTable, match: "Match") -> list[str]:
    """Names of the annotations that say something about the route; values may be credentials."""
    of_match = (match.namespace, match.ingress, match.rule)
    for route in table.hosts[match.host].routes:
        if route.policy and (route.namespace, route.ingress, route.rule) == of_match:
            return changed_names(Scope.ROUTE, table.policies[route.policy])
    return []


def _built(directory: Directory, ingress_class: str) -> tuple[Built, tuple[Problem, ...]]:
    reading = directory.read()
    values = Values()
    for key, raw in sorted(reading.objects.items()):
        values.apply(key, raw)
    builder = Builder(Options(ingress_class=ingress_class, is_manifests=True))
    built = builder.build(values, {}, RouteTable(), now_unix_ms=time.time_ns() // 1_000_000)
    return built, (*reading.problems, *built.problems)
