"""Which command the command line asks for, with its settings."""

import os
from collections.abc import Mapping, Sequence
from importlib import metadata

from ingress_controller.arguments import (
    API_SERVICE,
    SettingsError,
    parser,
)
from ingress_controller.settings import texts
from ingress_controller.settings.access import asked
from ingress_controller.settings.given import Given, parsed
from ingress_controller.settings.running import ingress_class, manifests_directory, run_settings
from ingress_controller.settings.values import (
    TOP_INTERVAL_S,
    ApiServiceSettings,
    CheckSettings,
    Command,
    ExplainSettings,
    ReportSettings,
    TopSettings,
)


def version() -> str:
    """Of the installed distribution; `0+source` in a checkout that is not installed."""
    try:
        return metadata.version("spanway")
    except metadata.PackageNotFoundError:
        return "0+source"


def read_settings(
    argv: Sequence[str] | None = None, env: Mapping[str, str] | None = None
) -> Command:
    """The command that argv and environment ask for.

    Raises:
        SettingsError: something does not fit.
        SystemExit: after `--help` or `--version`.
    """
    environment = os.environ if env is None else env
    arguments = vars(parser(version()).parse_args(argv))
    given = Given(arguments, environment)
    match arguments["command"]:
        case "check":
            return CheckSettings(manifests_directory(given), ingress_class(given))
        case "explain":
            url = str(arguments["url"])
            return ExplainSettings(manifests_directory(given), url, ingress_class(given))
        case "top":
            return TopSettings(
                admin=asked(given),
                question=_question(arguments["question"]),
                once=given.one("--once", texts.switch) or False,
                interval_s=given.one("--interval", texts.top_seconds) or TOP_INTERVAL_S,
            )
        case "api-service":
            return ApiServiceSettings(
                *parsed("NS/NAME", arguments["service"] or API_SERVICE, texts.service_name)
            )
        case "report" | "traces" | "trace" as command:
            return ReportSettings(
                report=arguments.get("report", command),
                admin=asked(given),
                question={"id": arguments["id"]}
                if command == "trace"
                else _question(arguments["question"]),
                is_json=given.one("--json", texts.switch) or False,
            )
        case _:
            return run_settings(given, environment)


def _question(parts: Sequence[str]) -> dict[str, str]:
    for part in parts:
        if "=" not in part:
            raise SettingsError(f'"{part}" is not NAME=VALUE, for example phase=wait.')
    return dict(part.split("=", 1) for part in parts)
