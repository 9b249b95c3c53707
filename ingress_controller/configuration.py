"""The settings in force, for people: each flag of `spanway run` with its value.

Rules: what is shown is listed here, and no secret is; of a destination its name, which has none in
it, and of files with secrets that there is one. Values are text as the flag would take it.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ingress_controller.arguments import run_flags
from ingress_controller.settings import (
    CertificateFiles,
    KubernetesSource,
    ManifestsSource,
    Settings,
    read_settings,
)


class ShownFlag(msgspec.Struct, frozen=True):
    """`values` are empty where it is off or nothing was said; `is_default` where they are those
    that it has when nobody says anything."""

    flag: str
    help: str
    values: tuple[str, ...]
    is_default: bool


class ShownGroup(msgspec.Struct, frozen=True):
    """Flags that belong together, as in `spanway run --help`."""

    title: str
    flags: tuple[ShownFlag, ...]


def configuration(settings: Settings) -> tuple[ShownGroup, ...]:
    """All of `settings` that may be shown, in the order of the help."""
    default = _default(settings)
    return tuple(
        ShownGroup(
            group.title.partition(" (")[0],
            tuple(
                ShownFlag(flag, help_, values, _is_default(settings, default, flag))
                for flag, help_ in group.flags
                if flag not in _LEFT_OUT
                for values in [_values(settings, flag)]
            ),
        )
        for group in run_flags()
    )


def _default(settings: Settings) -> Settings:
    """What the same source gives without any other flag or variable."""
    argv, env = ["run"], {}
    match settings.source:
        case ManifestsSource(directory):
            argv += ["--manifests", str(directory)]
        case KubernetesSource(None):
            env["KUBERNETES_SERVICE_HOST"] = "kubernetes"
        case KubernetesSource(kubeconfig):
            argv += ["--kubeconfig", str(kubeconfig)]
    default = read_settings(argv, env)
    assert isinstance(default, Settings), "the command is `run`"
    return default


def _is_default(settings: Settings, default: Settings, flag: str) -> bool:
    if flag == "--store":  # what it is by default is the environment's to say
        return settings.store is not None and not settings.store.is_asked_for
    return _values(settings, flag) == _values(default, flag)


def _values(settings: Settings, flag: str) -> tuple[str, ...]:
    read = _READ.get(flag)
    value = read(settings) if read else getattr(settings, flag.removeprefix("--").replace("-", "_"))
    return tuple(_texts(value))


def _texts(value: Any) -> Iterable[str]:
    match value:
        case None | "" | False:
            return ()
        case True:
            return ("true",)
        case float():
            return (f"{value:g}",)
        case tuple() | list():
            return (str(one) for one in value)
        case _:
            return (str(value),)


def _of_source(name: str) -> Callable[[Settings], Any]:
    return lambda settings: getattr(settings.source, name, None)


def _is_given(name: str) -> Callable[[Settings], str]:
    return lambda settings: "given" if getattr(settings, name).text else ""


def _admin_file(name: str) -> Callable[[Settings], Any]:
    return lambda settings: getattr(settings.admin_access.certificate, name, None)


def _default_certificate(settings: Settings) -> str:
    match settings.default_certificate:
        case CertificateFiles(chain, private_key):
            return f"{chain},{private_key}"
        case (namespace, name):
            return f"{namespace}/{name}"
        case _:
            return ""


def _store(settings: Settings) -> str:
    if settings.store is None:
        return "off"
    return str(settings.store.directory or "memory")


def _size(count: int) -> str:
    """In the largest unit that it is a whole number of."""
    for unit, bits in (("Gi", 30), ("Mi", 20), ("Ki", 10)):
        if count >> bits << bits == count:
            return f"{count >> bits}{unit}"
    return str(count)


def _time(seconds: float) -> str:
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % length_s == 0:
            return f"{seconds / length_s:.0f}{unit}"
    return f"{seconds:.0f}s"


def _sampling_remote(settings: Settings) -> str:
    """Without the user and password that a URL may have."""
    if settings.sampling_remote is None:
        return ""
    url = urlsplit(settings.sampling_remote.url)
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}{url.path}"


_LEFT_OUT = {"--otlp-endpoint"}
"""It is one of `--export`."""

_READ: Mapping[str, Callable[[Settings], Any]] = {
    "--manifests": _of_source("directory"),
    "--kubeconfig": _of_source("kubeconfig"),
    "--context": _of_source("context"),
    "--watch-namespace": _of_source("namespaces"),
    "--default-certificate": _default_certificate,
    "--service": lambda settings: [
        f"{x.namespace}/{x.service}:{x.port}={x.address}" for x in settings.service_listeners
    ],
    "--admin-cert": _admin_file("chain"),
    "--admin-key": _admin_file("private_key"),
    "--admin-client-ca": lambda settings: settings.admin_access.client_ca,
    "--admin-token-file": lambda settings: settings.admin_access.token.text and "given",
    "--admin-audience": lambda settings: settings.admin_access.audience,
    "--api": lambda settings: settings.api and settings.api.address,
    "--api-cert": lambda settings: settings.api and settings.api.certificate.chain,
    "--api-key": lambda settings: settings.api and settings.api.certificate.private_key,
    "--trusted-field": lambda settings: settings.trusted_field.replace("_", "-"),
    "--head-timeout": lambda settings: settings.head_timeout_s,
    "--idle-timeout": lambda settings: settings.idle_timeout_s,
    "--drain-timeout": lambda settings: settings.drain_timeout_s,
    "--drain-delay": lambda settings: settings.drain_delay_s,
    "--export": lambda settings: [export.name for export in settings.exports],
    "--store": _store,
    "--store-bytes": lambda settings: settings.store and _size(settings.store.bytes_max),
    "--store-age": lambda settings: settings.store and _time(settings.store.age_s_max),
    "--sampling-remote": _sampling_remote,
    "--debug-key-file": _is_given("debug_key"),
    "--phase-spans": lambda settings: settings.phase_spans,
    "--capture-request-header": lambda settings: settings.span_detail.request_headers,
    "--capture-response-header": lambda settings: settings.span_detail.response_headers,
    "--capture-query-key": lambda settings: settings.span_detail.query_keys,
    "--propagators": lambda settings: [",".join(settings.extract)],
    "--inject": lambda settings: [",".join(settings.inject)],
    "--random-flag": lambda settings: str(settings.random_flag).lower(),
    "--nginx-metrics": lambda settings: str(settings.nginx_metrics).lower(),
    "--access-log": lambda settings: settings.access_log.path if settings.access_log else "off",
    "--access-log-format": lambda settings: settings.access_log and settings.access_log.format,
    "--publish-address": lambda settings: settings.publish.addresses,
    "--publish-service": lambda settings: "/".join(settings.publish.service or ()),
}
"""How a flag's value is read where the field of Settings is not called like it."""
