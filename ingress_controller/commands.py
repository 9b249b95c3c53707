"""What each command of `spanway` does; returns its exit code."""

import time

from ingress_controller.model.problem import Problem, Severity
from ingress_controller.model.values import Values
from ingress_controller.plural import counted
from ingress_controller.readable import printable
from ingress_controller.routing.builder import Builder, Built, Options
from ingress_controller.routing.explaining import Explanation, UrlError, explained, host_and_path
from ingress_controller.settings import (
    ApiServiceSettings,
    CheckSettings,
    Command,
    ExplainSettings,
    ReportSettings,
    SettingsError,
    TopSettings,
)
from ingress_controller.watch.manifests import Directory
from proxy.table import RouteTable, difference

_TURNED_AWAY = {
    403: "403: nobody is let in",
    **{status: f"{status}: a redirect" for status in (301, 302, 303, 307, 308)},
}


def run_command(command: Command) -> int:
    """Raises StartError or SettingsError; anything else is a defect."""
    match command:
        case CheckSettings():
            return check(command)
        case ExplainSettings():
            return explain(command)
        case TopSettings():
            from ingress_controller.top.client import AdminClient  # noqa: PLC0415 - only it needs it
            from ingress_controller.top.command import top  # noqa: PLC0415

            return top(
                AdminClient(command.admin),
                command.question,
                once=command.once,
                interval_s=command.interval_s,
            )
        case ApiServiceSettings():
            from ingress_controller.aggregated.api_service import manifests  # noqa: PLC0415 - same

            print(manifests(command.namespace, command.service), end="")
            return 0
        case ReportSettings():
            from ingress_controller.report.command import TIMEOUT_S, report  # noqa: PLC0415
            from ingress_controller.top.client import AdminClient  # noqa: PLC0415

            return report(
                AdminClient(command.admin, timeout_s=TIMEOUT_S),
                command.report,
                command.question,
                is_json=command.is_json,
            )
        case _:
            from ingress_controller.run import serve  # noqa: PLC0415 - `check` needs no engine

            serve(command)
            return 0


def check(settings: CheckSettings) -> int:
    """Prints each Problem; 1 if one of them is an error, since warnings are served."""
    built, problems = _built(Directory(settings.directory), settings.ingress_class)
    for problem in problems:
        _say(f"{problem.severity}: {problem}")
    errors = sum(problem.severity is Severity.ERROR for problem in problems)
    table = built.table
    _say(
        f"{counted(len(built.ours), 'Ingress', 'es')}, {counted(table.route_count, 'route')} for"
        f" {counted(len(table.hosts), 'host')}: {counted(errors, 'error')},"
        f" {counted(len(problems) - errors, 'warning')}"
    )
    return 1 if errors else 0


def explain(settings: ExplainSettings) -> int:
    """Prints what answers the URL, as the engine itself decides it; 1 if nothing does."""
    from proxy.engine import Engine  # noqa: PLC0415 - `check` needs no engine

    try:
        asked = host_and_path(settings.url)
    except UrlError as err:
        raise SettingsError(f"{err}.") from err
    built, problems = _built(Directory(settings.directory), settings.ingress_class)
    engine = Engine(workers=1, resource={})
    try:
        engine.publish(difference(RouteTable(), built.table))
        match = engine.explain(*asked)
    finally:
        engine.stop(deadline_s=0)
    found = explained(built.table, problems, asked, match)
    route = found.route
    if route is None:
        _say(f"{settings.url}: no rule matches, the answer is 404")
        _say_problems(found)
        return 1
    _say(settings.url)
    _say(f"  host       {'any' if route.host == '*' else route.host}")
    _say(f"  path       {route.kind} {route.path}")
    _say(f"  rule       Ingress {route.ingress}, {route.rule}")
    if found.policy:
        _say(f"  policy     {', '.join(found.policy)}")
    if found.tracing:
        _say(f"  tracing    {', '.join(found.tracing)}")
    _say(f"  backend    {route.backend}")
    for endpoint in found.endpoints:
        of = ", ".join(filter(None, (endpoint.pod, endpoint.node, endpoint.zone)))
        _say(f"  endpoint   {endpoint.address} port {endpoint.port}{f' ({of})' if of else ''}")
    if found.status in _TURNED_AWAY:
        _say(f"  answer     {_TURNED_AWAY[found.status]}, whatever the endpoints")
    elif not found.endpoints:
        _say(f"  endpoint   none, the answer is 503. {found.missing}".rstrip())
    _say_problems(found)
    return 0


def _say_problems(found: Explanation) -> None:
    for problem in found.problems:
        _say(f"  {problem.severity:10} {problem}")


def _say(line: str) -> None:
    """Whose manifests these are need not be who reads this."""
    print(printable(line))


def _built(directory: Directory, ingress_class: str) -> tuple[Built, tuple[Problem, ...]]:
    reading = directory.read()
    values = Values()
    for key, raw in sorted(reading.objects.items()):
        values.apply(key, raw)
    builder = Builder(Options(ingress_class=ingress_class, is_manifests=True))
    built = builder.build(values, {}, RouteTable(), now_unix_ms=time.time_ns() // 1_000_000)
    return built, (*reading.problems, *built.problems)
