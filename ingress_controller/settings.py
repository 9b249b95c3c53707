"""Command line and environment become frozen settings, once.

Rules: the only file that reads them. A flag wins over its variable `SPANWAY_<FLAG>`; a variable of
a repeatable flag holds several values separated by commas. An error is one sentence that names the
flag or variable, the value and what to write instead.
"""

import ipaddress
import os
import re
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from ingress_controller.addresses import (
    AddressError,
    ServiceListener,
    address_or_any_port,
    admin_url,
    is_loopback,
    listen_address,
    service_listener,
)
from ingress_controller.arguments import (
    ADMIN_ADDRESS,
    API_SERVICE,
    HTTP_ADDRESS_CLUSTER,
    HTTP_ADDRESS_LOCAL,
    HTTPS_ADDRESS_CLUSTER,
    SettingsError,
    StartError,
    parser,
)
from ingress_controller.asking import AdminAddress, Credentials, token_from
from ingress_controller.captured import at_most, header_name, query_key
from ingress_controller.credentials import AdminAccess, CertificateFiles, Secret, secret_in
from ingress_controller.otel import RemoteSampler, sampling_url, telemetry
from ingress_controller.peers.addresses import is_name, peer_address
from ingress_controller.propagators import propagators
from ingress_controller.takeover.channel import PATH_BYTES_MAX
from ingress_controller.traces.export import url
from ingress_controller.traces.export.destination import Destination, Export, OtlpGrpc, OtlpHttp
from ingress_controller.traces.export.exporters import LINGER_S
from ingress_controller.traces.store.limits import AGE_S_MAX, BYTES_MAX
from proxy.access_log import AccessLog, AccessLogFormat
from proxy.metrics import METRICS_ROUTES_MAX
from proxy.table import (
    RATE_PER_S_MAX,
    KernelTimestamps,
    PhaseSpans,
    Propagator,
    ServerTiming,
    SpanDetail,
    TrustContext,
)

WORKERS_MAX = 256  # one is one thread on one core
DRAIN_TIMEOUT_S = 20.0  # with the last export below the 30 s after which Kubernetes kills
DRAIN_DELAY_POD_S = 5.0  # until all nodes and load balancers know that the pod is leaving
TAIL_SPANS_PER_S = 100.0  # some 33 requests: what a person can look at, and no load for a backend
METRICS_ROUTES_LIMIT_MAX = 65_536  # some 200 MiB of memory; ingress-nginx has no bound
DRAIN_S_MAX = 86_400.0  # a day: long downloads, WebSocket; more would be for ever
HEAD_TIMEOUT_S = 60.0  # nginx client_header_timeout
IDLE_TIMEOUT_S = 75.0  # nginx keepalive_timeout
TOP_INTERVAL_S = 1.0  # htop: 1.5 s
TOP_INTERVAL_S_MIN = 0.2  # no eye is faster
TOP_INTERVAL_S_MAX = 3_600.0  # who looks less often can ask once
STORE_AGE_S_MIN = 60.0  # less is nothing that one could look at
STORE_AGE_S_MAX = 3_650 * 86_400.0  # ten years: whoever wants more has another store
CLIENT_S_MIN = 0.001  # the least that the table can say, since it counts milliseconds
CLIENT_S_MAX = 86_400.0  # a day; whoever holds a connection for longer costs memory for nothing

__all__ = [
    "Api",
    "ApiServiceSettings",
    "CertificateFiles",
    "CheckSettings",
    "Command",
    "ExplainSettings",
    "KubernetesSource",
    "ManifestsSource",
    "Publish",
    "ReportSettings",
    "Settings",
    "SettingsError",
    "StartError",
    "StoreSettings",
    "TopSettings",
    "read_settings",
    "version",
]

ADMIN = AdminAddress(f"http://{ADMIN_ADDRESS}/")

_T = TypeVar("_T")
_E = TypeVar("_E", bound=StrEnum)
_G = TypeVar("_G")
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_AGE = re.compile(r"([0-9]{1,9})([smhd])")
_AGE_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")


class ManifestsSource(msgspec.Struct, frozen=True):
    """Objects come from the YAML and JSON files of a directory."""

    directory: Path


class KubernetesSource(msgspec.Struct, frozen=True):
    """Objects come from an API server; without `kubeconfig`, the one of the cluster we run in."""

    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()


class Publish(msgspec.Struct, frozen=True):
    """What is written to `status.loadBalancer`: addresses, or those of a Service (`NS/NAME`)."""

    addresses: tuple[str, ...] = ()
    service: tuple[str, str] | None = None


class Api(msgspec.Struct, frozen=True):
    """Where the aggregated API is served, and with which certificate."""

    address: str
    certificate: CertificateFiles


class StoreSettings(msgspec.Struct, frozen=True):
    """The trace store; without `directory` it is in memory. `is_asked_for`: the directory has to be
    usable."""

    directory: Path | None = None
    bytes_max: int = BYTES_MAX
    age_s_max: float = AGE_S_MAX
    is_asked_for: bool = False


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """`spanway run`. Addresses are canonical `IP:PORT`; `resource` is of all spans.

    `default_certificate` is a Secret (`NS/NAME`), files, or None for a self-signed one.
    """

    source: ManifestsSource | KubernetesSource
    http: tuple[str, ...]
    https: tuple[str, ...] = ()
    default_certificate: tuple[str, str] | CertificateFiles | None = None
    proxy_protocol: bool = False
    trusted_proxies: tuple[str, ...] = ()
    head_timeout_s: float = HEAD_TIMEOUT_S
    idle_timeout_s: float = IDLE_TIMEOUT_S
    zone: str = ""
    node: str = ""
    admin: str = ADMIN_ADDRESS
    peers: tuple[str, ...] = ()  # IP:PORT or NAME:PORT of admin addresses
    admin_access: AdminAccess = AdminAccess()
    api: Api | None = None
    trace_link: str = ""  # with {trace_id}; empty where there is nothing else
    workers: int = 1
    drain_timeout_s: float = DRAIN_TIMEOUT_S
    drain_delay_s: float = 0.0  # a part of the timeout
    takeover: Path | None = None
    service_listeners: tuple[ServiceListener, ...] = ()
    ingress_class: str = "spanway"
    forwarded: bool = False
    publish: Publish = Publish()
    lease_namespace: str = "default"
    namespace: str = "default"
    pod: str = ""
    metrics_routes: int = METRICS_ROUTES_MAX
    nginx_metrics: bool = True
    access_log: AccessLog | None = None
    exports: tuple[Export, ...] = ()
    store: StoreSettings | None = None
    export_linger_s: float = LINGER_S
    bridge_spans_max: int | None = None
    resource: Mapping[str, str] = {}
    sample_ratio: float = 1.0
    sample_rate_limit: float = 0.0  # traces a second, 0 for no bound
    is_parent_based: bool = True
    tail_spans: float = TAIL_SPANS_PER_S  # a second
    sampling_remote: RemoteSampler | None = None
    debug_key: Secret = Secret()
    tracing_enabled: bool = True
    random_flag: bool = False
    extract: tuple[Propagator, ...] = (Propagator.TRACECONTEXT,)
    inject: tuple[Propagator, ...] = (Propagator.TRACECONTEXT,)
    trust_context: TrustContext = TrustContext.ALL
    server_timing: ServerTiming = ServerTiming.OFF
    phase_spans: PhaseSpans = PhaseSpans.SLOW
    span_detail: SpanDetail = SpanDetail()
    kernel_timestamps: KernelTimestamps = KernelTimestamps.SAMPLED
    warnings: tuple[str, ...] = ()

    @property
    def sends_tokens_in_the_clear(self) -> bool:
        """Who asks from another machine sends its token without TLS."""
        access = self.admin_access
        return access.takes_tokens and not access.certificate and not is_loopback(self.admin)


class CheckSettings(msgspec.Struct, frozen=True):
    """`spanway check`."""

    directory: Path
    ingress_class: str = "spanway"


class ExplainSettings(msgspec.Struct, frozen=True):
    """`spanway explain`."""

    directory: Path
    url: str
    ingress_class: str = "spanway"


class TopSettings(msgspec.Struct, frozen=True):
    """`spanway top`; `question` are parameters of `/api/live`."""

    admin: AdminAddress = ADMIN
    question: Mapping[str, str] = {}
    once: bool = False
    interval_s: float = TOP_INTERVAL_S


class ApiServiceSettings(msgspec.Struct, frozen=True):
    """`spanway api-service`; the Service is `namespace/name`."""

    namespace: str
    service: str


class ReportSettings(msgspec.Struct, frozen=True):
    """`spanway report`, and `traces` and `trace` as further reports; `question` are parameters of
    `/api/analysis/{report}`, of `/api/traces`, or the trace's `id`."""

    report: str
    admin: AdminAddress = ADMIN
    question: Mapping[str, str] = {}
    is_json: bool = False


Command = (
    Settings | CheckSettings | ExplainSettings | TopSettings | ReportSettings | ApiServiceSettings
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
    given = _Given(arguments, environment)
    match arguments["command"]:
        case "check":
            return CheckSettings(_directory(given), _ingress_class(given))
        case "explain":
            url = str(arguments["url"])
            return ExplainSettings(_directory(given), url, _ingress_class(given))
        case "top":
            return TopSettings(
                admin=_asked(given),
                question=_question(arguments["question"]),
                once=given.one("--once", _switch) or False,
                interval_s=given.one("--interval", _top_seconds) or TOP_INTERVAL_S,
            )
        case "api-service":
            return ApiServiceSettings(
                *_parsed("NS/NAME", arguments["service"] or API_SERVICE, _service_name)
            )
        case "report" | "traces" | "trace" as command:
            return ReportSettings(
                report=arguments.get("report", command),
                admin=_asked(given),
                question={"id": arguments["id"]}
                if command == "trace"
                else _question(arguments["question"]),
                is_json=given.one("--json", _switch) or False,
            )
        case _:
            return _run_settings(given, environment)


def _asked(given: "_Given") -> AdminAddress:
    """The admin address of another process, and what is shown there."""
    token = given.one("--admin-token-file", _token_file) or Credentials()
    credentials = msgspec.structs.replace(
        token,
        certificate=_pair(given, "--client-cert", "--client-key"),
        ca_file=given.one("--ca-file", _pem_file),
        server_name=given.one("--tls-server-name", str) or "",
    )
    scheme = "https" if credentials.needs_tls else "http"
    url = (
        given.one("--admin", lambda text: admin_url(text, scheme)) or f"{scheme}://{ADMIN_ADDRESS}/"
    )
    if credentials.needs_tls and not url.startswith("https:"):
        named = ("--ca-file", "--client-cert", "--tls-server-name")
        name = next(found[0][0] for flag in named if (found := given.texts(flag)))
        raise SettingsError(f"{name} has no effect without TLS; write https:// in --admin.")
    return AdminAddress(url, credentials)


def _pair(given: "_Given", chain: str, private_key: str) -> CertificateFiles | None:
    """Both, or none."""
    files = [given.one(flag, _pem_file) for flag in (chain, private_key)]
    if files == [None, None]:
        return None
    if None in files:
        name = (given.texts(chain) or given.texts(private_key))[0][0]
        missing = private_key if files[1] is None else chain
        raise SettingsError(f"{name} needs {missing} FILE beside it; add it.")
    return CertificateFiles(*filter(None, files))


class _Given:
    """Values with the name they were given under."""

    def __init__(self, arguments: Mapping[str, Any], env: Mapping[str, str]) -> None:
        self._arguments = arguments
        self._env = env

    def texts(self, flag: str) -> list[tuple[str, str]]:
        """(flag or variable, value) of each value given."""
        name = flag.removeprefix("--").replace("-", "_")
        value = self._arguments.get(name)
        if isinstance(value, list):
            return [(flag, text) for text in value]
        if value is not None:
            return [(flag, value)]
        variable = f"SPANWAY_{name.upper()}"
        parts = (part.strip() for part in self._env.get(variable, "").split(","))
        return [(variable, part) for part in parts if part]

    def all(self, flag: str, parse: Callable[[str], _T]) -> tuple[_T, ...]:
        """Every value, parsed. Raises SettingsError where `parse` raises ValueError."""
        return tuple(_parsed(name, text, parse) for name, text in self.texts(flag))

    def one(self, flag: str, parse: Callable[[str], _T]) -> _T | None:
        """The value, parsed; None where it is not given."""
        texts = self.texts(flag)
        name = texts[0][0] if texts else flag
        return _parsed(name, ",".join(text for _, text in texts), parse) if texts else None


def _parsed(name: str, given: _G, parse: Callable[[_G], _T]) -> _T:
    try:
        return parse(given)
    except ValueError as err:
        raise SettingsError(f"{name}: {err}.") from err


def _run_settings(given: _Given, env: Mapping[str, str]) -> Settings:
    source = _source(given, env)
    is_manifests = isinstance(source, ManifestsSource)
    endpoint = given.texts("--otlp-endpoint")
    try:
        otel = telemetry(
            _with_namespace(env),
            endpoint[0][1] if endpoint else None,
            given.all("--export", url.export),
        )
    except ValueError as err:
        raise SettingsError(f"{endpoint[0][0]}: {err}.") from err
    ratio = given.one("--sample-ratio", _ratio)
    if ratio is None:
        ratio = otel.sample_ratio
    extract = given.one("--propagators", propagators)
    if extract is None:
        extract = otel.propagators
    inject = given.one("--inject", propagators)
    tail_spans = given.one("--tail-spans", _rate)
    http, https = _listeners(given, is_manifests=is_manifests)
    drain_timeout_s, drain_delay_s = _drain(given, source)
    settings = Settings(
        source=source,
        http=http,
        https=https,
        default_certificate=given.one("--default-certificate", _default_certificate),
        proxy_protocol=given.one("--proxy-protocol", _switch) or False,
        trusted_proxies=tuple(dict.fromkeys(given.all("--trusted-proxies", _network))),
        head_timeout_s=given.one("--head-timeout", _client_seconds) or HEAD_TIMEOUT_S,
        idle_timeout_s=given.one("--idle-timeout", _client_seconds) or IDLE_TIMEOUT_S,
        zone=given.one("--zone", _label) or "",
        node=given.one("--node", _object_name) or "",
        admin=given.one("--admin", address_or_any_port) or ADMIN_ADDRESS,
        peers=_peers(given),
        admin_access=_admin_access(given, is_manifests=is_manifests),
        api=_api(given, is_manifests=is_manifests),
        trace_link=given.one("--trace-link", _trace_link) or "",
        workers=given.one("--workers", _workers) or len(os.sched_getaffinity(0)),
        drain_timeout_s=drain_timeout_s,
        drain_delay_s=drain_delay_s,
        takeover=given.one("--takeover", _takeover_path),
        service_listeners=given.all("--service", service_listener),
        ingress_class=_ingress_class(given),
        forwarded=given.one("--forwarded-header", _switch) or False,
        publish=_publish(given),
        lease_namespace=given.one("--lease-namespace", _object_name)
        or _own_namespace(env)
        or "default",
        namespace=_own_namespace(env) or "default",
        pod=env.get("POD_NAME") or socket.gethostname(),
        metrics_routes=_metrics_routes(given),
        access_log=_access_log(given, source),
        nginx_metrics=given.one("--nginx-metrics", _switch) is not False,
        exports=otel.exports,
        store=_store(given, env) if otel.enabled else None,
        export_linger_s=otel.linger_s,
        bridge_spans_max=otel.bridge_spans_max,
        resource=otel.resource,
        sample_ratio=1.0 if ratio is None else ratio,
        sample_rate_limit=given.one("--sample-rate-limit", _rate) or 0.0,
        is_parent_based=otel.is_parent_based,
        tail_spans=TAIL_SPANS_PER_S if tail_spans is None else tail_spans,
        sampling_remote=given.one("--sampling-remote", _remote_sampler) or otel.remote,
        debug_key=given.one("--debug-key-file", _secret_file) or Secret(),
        tracing_enabled=otel.enabled,
        random_flag=given.one("--random-flag", _switch) or False,
        extract=extract,
        inject=extract if inject is None else inject,
        trust_context=given.one("--trust-context", _one_of(TrustContext)) or TrustContext.ALL,
        server_timing=given.one("--server-timing", _one_of(ServerTiming)) or ServerTiming.OFF,
        phase_spans=given.one("--phase-spans", _one_of(PhaseSpans)) or PhaseSpans.SLOW,
        span_detail=_span_detail(given),
        kernel_timestamps=given.one("--kernel-timestamps", _one_of(KernelTimestamps))
        or KernelTimestamps.SAMPLED,
        warnings=otel.warnings,
    )
    if settings.default_certificate is not None and not https:
        name = given.texts("--default-certificate")[0][0]
        raise SettingsError(f"{name} has no effect without an HTTPS listener; add --https.")
    if settings.trust_context is TrustContext.TRUSTED_PROXIES and not settings.trusted_proxies:
        name = given.texts("--trust-context")[0][0]
        raise SettingsError(
            f"{name} trusted-proxies trusts nobody without --trusted-proxies; add it, or say none."
        )
    _refuse_unreachable(settings, given)
    _refuse_twice(settings)
    return msgspec.structs.replace(settings, exports=_told_apart(settings.exports))


def _store(given: _Given, env: Mapping[str, str]) -> StoreSettings | None:
    place = given.one("--store", str)
    size = given.one("--store-bytes", url.size)
    age_s = given.one("--store-age", _store_age)
    if place == "off":
        for flag in ("--store-bytes", "--store-age"):
            if found := given.texts(flag):
                raise SettingsError(
                    f"{found[0][0]} has no effect without a store; drop one of them."
                )
        return None
    directory = None if place == "memory" else Path(place).absolute() if place else _state(env)
    return StoreSettings(
        directory,
        BYTES_MAX if size is None else size,
        AGE_S_MAX if age_s is None else age_s,
        is_asked_for=place is not None,
    )


def _state(env: Mapping[str, str]) -> Path | None:
    """Where a program keeps what should outlive it: in a pod /var/lib, which may be a volume.

    Source: XDG Base Directory Specification 0.8, XDG_STATE_HOME.
    """
    if env.get("KUBERNETES_SERVICE_HOST"):
        return Path("/var/lib/spanway/traces")
    state, home = env.get("XDG_STATE_HOME", ""), env.get("HOME", "")
    if Path(state).is_absolute():
        return Path(state) / "spanway/traces"
    return Path(home) / ".local/state/spanway/traces" if Path(home).is_absolute() else None


def _access_log(given: _Given, source: ManifestsSource | KubernetesSource) -> AccessLog | None:
    """In a pod a line per request on stdout: what who comes from ingress-nginx has."""
    is_pod = isinstance(source, KubernetesSource) and source.kubeconfig is None
    path = given.one("--access-log", _log_path) or ("-" if is_pod else "off")
    form = given.one("--access-log-format", _one_of(AccessLogFormat))
    if path != "off":
        return AccessLog(path, form or AccessLogFormat.UPSTREAM)
    if form is not None and not given.texts("--access-log"):
        name = given.texts("--access-log-format")[0][0]
        raise SettingsError(f"{name} has no effect without an access log; add --access-log PATH.")
    return None


def _log_path(text: str) -> str:
    if text in ("-", "off"):
        return text
    path = Path(text).absolute()
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f'"{text}" is no place for a file; name one in a directory there is')
    return str(path)


def _metrics_routes(given: _Given) -> int:
    routes = given.one("--metrics-routes", _metrics_routes_of)
    return METRICS_ROUTES_MAX if routes is None else routes


def _admin_access(given: _Given, *, is_manifests: bool) -> AdminAccess:
    certificate = _pair(given, "--admin-cert", "--admin-key")
    client_ca = given.one("--admin-client-ca", _pem_file)
    if client_ca is not None and certificate is None:
        name = given.texts("--admin-client-ca")[0][0]
        raise SettingsError(f"{name} has no effect without TLS; add --admin-cert and --admin-key.")
    known = given.one("--admin-token-file", _token_file) or Credentials()
    has_kubernetes = given.one("--admin-kubernetes-auth", _switch) or False
    audience = given.one("--admin-audience", str) or ""
    if has_kubernetes and is_manifests:
        name = given.texts("--admin-kubernetes-auth")[0][0]
        raise SettingsError(f"{name} is for a cluster and --manifests is none.")
    if audience and not has_kubernetes:
        name = given.texts("--admin-audience")[0][0]
        raise SettingsError(f"{name} has no effect without --admin-kubernetes-auth; add it.")
    access = AdminAccess(
        certificate, client_ca, known.token, known.token_file, has_kubernetes, audience
    )
    _refuse_open(given, access)
    return access


def _refuse_open(given: _Given, access: AdminAccess) -> None:
    """Who listens for others than this machine's has to say whom it lets in."""
    is_meant = given.one("--admin-open", _switch) or False
    if is_meant and not access.is_open:
        name = given.texts("--admin-open")[0][0]
        raise SettingsError(
            f"{name} lets everybody in, and another flag says who may ask; drop one of them."
        )
    address = given.one("--admin", address_or_any_port) or ADMIN_ADDRESS
    if access.is_open and not is_meant and not is_loopback(address):
        name = given.texts("--admin")[0][0]
        raise SettingsError(
            f"{name} {address} would answer whoever reaches it; add --admin-kubernetes-auth,"
            " --admin-token-file or --admin-client-ca, or --admin-open if that is meant."
        )


def _api(given: _Given, *, is_manifests: bool) -> Api | None:
    address = given.one("--api", address_or_any_port)
    chain, private_key = (given.one(flag, _pem_file) for flag in ("--api-cert", "--api-key"))
    if address is None:
        if found := given.texts("--api-cert") or given.texts("--api-key"):
            raise SettingsError(f"{found[0][0]} has no effect without --api ADDR:PORT; add it.")
        return None
    if is_manifests:
        raise SettingsError(
            f"{given.texts('--api')[0][0]} is for a cluster and --manifests is none."
        )
    if chain is None or private_key is None:
        raise SettingsError(
            f"{given.texts('--api')[0][0]} needs --api-cert FILE and --api-key FILE;"
            " `spanway api-service` makes a pair."
        )
    return Api(address, CertificateFiles(chain, private_key))


def _peers(given: _Given) -> tuple[str, ...]:
    found = given.all("--peers", _peer_addresses)
    return tuple(dict.fromkeys(address for addresses in found for address in addresses))


def _peer_addresses(text: str) -> tuple[str, ...]:
    return tuple(peer_address(part.strip()) for part in text.split(","))


def _listeners(given: _Given, *, is_manifests: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """HTTP and HTTPS addresses; both have a default in a cluster, unless one of them is given."""
    http = given.all("--http", listen_address)
    https = given.all("--https", listen_address)
    if is_manifests:
        return http or (HTTP_ADDRESS_LOCAL,), https
    if not http and not https:
        return (HTTP_ADDRESS_CLUSTER,), (HTTPS_ADDRESS_CLUSTER,)
    return http or (HTTP_ADDRESS_CLUSTER,), https


def _source(given: _Given, env: Mapping[str, str]) -> ManifestsSource | KubernetesSource:
    manifests = given.texts("--manifests")
    kubeconfig = given.one("--kubeconfig", _file)
    if manifests and kubeconfig:
        raise SettingsError("--manifests and --kubeconfig exclude each other; keep one of the two.")
    if manifests:
        for flag in ("--context", "--watch-namespace", "--publish-service"):
            if found := given.texts(flag):
                raise SettingsError(f"{found[0][0]} is for a cluster and --manifests is none.")
        return ManifestsSource(_directory(given))
    context = given.one("--context", str)
    if kubeconfig is None and context:
        raise SettingsError(f'--context "{context}" needs --kubeconfig FILE.')
    if kubeconfig is None and not env.get("KUBERNETES_SERVICE_HOST"):
        raise SettingsError(
            "This is not a pod of a cluster; give --manifests DIR or --kubeconfig FILE."
        )
    namespaces = given.all("--watch-namespace", _object_name)
    return KubernetesSource(kubeconfig, context, tuple(dict.fromkeys(namespaces)))


def _drain(given: _Given, source: ManifestsSource | KubernetesSource) -> tuple[float, float]:
    """Timeout and delay. Only in a pod somebody else has to learn that it is leaving."""
    timeout_s = given.one("--drain-timeout", _seconds)
    timeout_s = DRAIN_TIMEOUT_S if timeout_s is None else timeout_s
    delay_s = given.one("--drain-delay", _seconds)
    if delay_s is None:
        is_pod = isinstance(source, KubernetesSource) and source.kubeconfig is None
        return timeout_s, min(DRAIN_DELAY_POD_S, timeout_s) if is_pod else 0.0
    if delay_s > timeout_s:
        raise SettingsError(
            f"--drain-delay {delay_s:g} is a part of --drain-timeout {timeout_s:g} and longer;"
            " raise the timeout."
        )
    return timeout_s, delay_s


def _span_detail(given: _Given) -> SpanDetail:
    def names(flag: str, parse: Callable[[str], str]) -> tuple[str, ...]:
        parsed = given.all(flag, parse)
        return _parsed(flag, parsed, at_most)

    query_keys = names("--capture-query-key", query_key)
    is_query = given.one("--capture-query", _switch) or bool(query_keys)
    return SpanDetail(
        request_headers=names("--capture-request-header", header_name),
        response_headers=names("--capture-response-header", header_name),
        query_keys=query_keys if is_query else None,
    )


def _directory(given: _Given) -> Path:
    directory = given.one("--manifests", _existing_directory)
    if directory is None:
        raise SettingsError("--manifests DIR is missing.")
    return directory


def _own_namespace(env: Mapping[str, str]) -> str:
    """Of the pod that this is; empty if it is none, or does not know."""
    if namespace := env.get("POD_NAMESPACE"):
        return namespace
    try:
        return _NAMESPACE_FILE.read_text().strip()
    except OSError:
        return ""


def _with_namespace(env: Mapping[str, str]) -> Mapping[str, str]:
    """In a pod its namespace is known without the downward API."""
    is_pod = "KUBERNETES_SERVICE_HOST" in env
    return {**env, "POD_NAMESPACE": _own_namespace(env)} if is_pod else env


def _ingress_class(given: _Given) -> str:
    return given.one("--ingress-class", _object_name) or "spanway"


def _publish(given: _Given) -> Publish:
    addresses = given.all("--publish-address", _object_name_or_ip)
    service = given.one("--publish-service", _service_name)
    if addresses and service:
        raise SettingsError("--publish-address and --publish-service exclude each other.")
    return Publish(addresses, service)


def _refuse_unreachable(settings: Settings, given: _Given) -> None:
    """What a Service leads to is asked by others, so they have to reach it."""
    host = settings.admin.rpartition(":")[0].strip("[]")
    names = [x for x in settings.peers if is_name(x) and not x.startswith("localhost:")]
    if names and ipaddress.ip_address(host).is_loopback:
        raise SettingsError(
            f"{given.texts('--peers')[0][0]} {names[0]}: replicas ask each other at --admin, and"
            f" {settings.admin} is for this host only; listen on 0.0.0.0, with --admin-token-file."
        )


def _refuse_twice(settings: Settings) -> None:
    named = [("--http", address) for address in settings.http]
    named += [("--https", address) for address in settings.https]
    named += [("--admin", settings.admin)]
    named += [("--api", settings.api.address)] if settings.api is not None else []
    named += [("--service", listener.address) for listener in settings.service_listeners]
    seen: dict[str, str] = {}
    for flag, address in named:
        if address in seen and not address.endswith(":0"):
            raise SettingsError(
                f"{flag} {address} is already used by {seen[address]}; choose another port."
            )
        seen[address] = flag


def _told_apart(exports: Sequence[Export]) -> tuple[Export, ...]:
    """None goes to one place twice; of several with one name, which has no path and no header in
    it, all but the first get a number, since the name is a label of metrics."""
    told: list[Export] = []
    names, places = Counter[str](), list[object]()
    for export in exports:
        name, place = export.name, _place(export.destination)
        if place in places:
            raise SettingsError(f"Spans would be exported to {name} twice; keep one of the two.")
        places.append(place)
        names[name] += 1
        number = f" #{names[name]}" if names[name] > 1 else ""
        told.append(msgspec.structs.replace(export, name=name + number))
    spills = [export.spill.directory for export in exports if export.spill is not None]
    for directory in spills:
        if spills.count(directory) > 1:
            raise SettingsError(f"--export: two share spill={directory}; give each its own.")
    return tuple(told)


def _place(destination: Destination) -> object:
    """Where spans go, and as whose: headers name tenants."""
    match destination:
        case OtlpHttp(url=where) | OtlpGrpc(address=where):
            return where, dict(destination.headers)
        case _:
            return destination


def _existing_directory(text: str) -> Path:
    path = Path(text)
    if not path.is_dir():
        kind = "a file, not a directory" if path.exists() else "not there"
        raise ValueError(f'"{text}" is {kind}; name the directory that holds the manifests')
    return path


def _file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f'"{text}" is not a file; name a kubeconfig')
    return path


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= WORKERS_MAX:
        raise ValueError(f'"{text}" is not a whole number from 1 to {WORKERS_MAX}')
    return int(text)


def _metrics_routes_of(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > METRICS_ROUTES_LIMIT_MAX:
        raise ValueError(f'"{text}" is not a whole number from 0 to {METRICS_ROUTES_LIMIT_MAX}')
    return int(text)


def _ratio(text: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError(f'"{text}" is not a number from 0 to 1, for example 0.1')
    return ratio


def _rate(text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = -1.0
    if not 0 <= rate <= RATE_PER_S_MAX:
        raise ValueError(f'"{text}" is not a number from 0 to {RATE_PER_S_MAX:,.0f}')
    return rate


def _remote_sampler(text: str) -> RemoteSampler:
    return RemoteSampler(sampling_url(text))


def _secret_file(text: str) -> Secret:
    return secret_in(Path(text).expanduser())


def _token_file(text: str) -> Credentials:
    return token_from(Path(text).expanduser())


def _trace_link(text: str) -> str:
    # A browser follows it, so nothing that could be a script.
    if not text.startswith(("http://", "https://")) or text.count("{trace_id}") != 1:
        raise ValueError(f'"{text}" is not a URL such as http://jaeger/trace/{{trace_id}}')
    return text


def _seconds(text: str) -> float:
    return _seconds_within(text, 0, DRAIN_S_MAX)


def _store_age(text: str) -> float:
    found = _AGE.fullmatch(text)
    age_s = int(found[1]) * _AGE_UNITS_S[found[2]] if found else 0
    if not STORE_AGE_S_MIN <= age_s <= STORE_AGE_S_MAX:
        raise ValueError(
            f'"{text}" is not a time from a minute to ten years, for example 12h or 3d'
        )
    return float(age_s)


def _top_seconds(text: str) -> float:
    return _seconds_within(text, TOP_INTERVAL_S_MIN, TOP_INTERVAL_S_MAX)


def _question(parts: Sequence[str]) -> dict[str, str]:
    for part in parts:
        if "=" not in part:
            raise SettingsError(f'"{part}" is not NAME=VALUE, for example phase=wait.')
    return dict(part.split("=", 1) for part in parts)


def _client_seconds(text: str) -> float:
    return _seconds_within(text, CLIENT_S_MIN, CLIENT_S_MAX)


def _seconds_within(text: str, least: float, most: float) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not least <= seconds <= most:
        raise ValueError(f'"{text}" is not a number of seconds from {least:g} to {most:g}')
    return seconds


def _takeover_path(text: str) -> Path:
    path = Path(text).absolute()
    if len(os.fsencode(path)) > PATH_BYTES_MAX:
        raise ValueError(f'"{path}" is longer than the {PATH_BYTES_MAX} bytes of a socket\'s path')
    if path.is_dir() or not path.parent.is_dir():
        raise ValueError(f'"{text}" is no place for a socket; name a file in a directory there is')
    return path


def _one_of(words: type[_E]) -> Callable[[str], _E]:
    """Reads one of them; `_` is written as `-`."""

    def read(text: str) -> _E:
        try:
            return words(text.lower().replace("-", "_"))
        except ValueError:
            known = ", ".join(words).replace("_", "-")
            raise ValueError(f'"{text}" is none of {known}') from None

    return read


def _switch(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f'"{text}" is neither true nor false')
    return text.lower() == "true"


def _object_name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(f'"{text}" is not a Kubernetes name (lower-case letters, digits, - and .)')
    return text


def _object_name_or_ip(text: str) -> str:
    try:
        return address_or_any_port(f"[{text}]:0" if ":" in text else f"{text}:0")[:-2].strip("[]")
    except AddressError:
        return _object_name(text)


def _default_certificate(text: str) -> tuple[str, str] | CertificateFiles:
    chain, separator, private_key = (part.strip() for part in text.partition(","))
    if separator:
        return CertificateFiles(_pem_file(chain), _pem_file(private_key))
    namespace, separator, name = text.partition("/")
    if not separator or not (_NAME.fullmatch(namespace) and _NAME.fullmatch(name)):
        raise ValueError(
            f'"{text}" is neither NS/NAME of a Secret nor CERT.pem,KEY.pem, for example'
            " ingress/default or /tls/tls.crt,/tls/tls.key"
        )
    return namespace, name


def _pem_file(text: str) -> Path:
    path = Path(text).expanduser()
    if not path.is_file():
        raise ValueError(f'"{text}" is not a file; name the certificate and the key, in PEM form')
    return path


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=False))
    except ValueError as err:
        raise ValueError(
            f'"{text}" is neither an IP address nor a network, for example 10.0.0.0/8'
        ) from err


def _label(text: str) -> str:
    if not _LABEL.fullmatch(text):
        raise ValueError(f'"{text}" is not the value of a label, for example eu-west-1a')
    return text


def _service_name(text: str) -> tuple[str, str]:
    namespace, separator, name = text.partition("/")
    if not separator:
        raise ValueError(f'"{text}" is not NS/NAME, for example ingress/spanway')
    return _object_name(namespace), _object_name(name)
