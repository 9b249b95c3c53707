"""What each command of `spanway` is told, frozen; the defaults that are bounds stand here, too."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from ingress_controller.addresses import (
    ServiceListener,
    is_loopback,
)
from ingress_controller.arguments import (
    ADMIN_ADDRESS,
)
from ingress_controller.asking import AdminAddress
from ingress_controller.credentials import AdminAccess, CertificateFiles, Secret
from ingress_controller.otel import RemoteSampler
from ingress_controller.traces.export.destination import Export
from ingress_controller.traces.export.exporters import LINGER_S
from ingress_controller.traces.store.limits import AGE_S_MAX, BYTES_MAX
from proxy.access_log import AccessLog
from proxy.metrics import METRICS_ROUTES_MAX
from proxy.table import (
    KernelTimestamps,
    PhaseSpans,
    Propagator,
    ServerTiming,
    SpanDetail,
    TrustContext,
    TrustedField,
)

DRAIN_TIMEOUT_S = 20.0  # with the last export below the 30 s after which Kubernetes kills
TAIL_SPANS_PER_S = 100.0  # some 33 requests: what a person can look at, and no load for a backend
HEAD_TIMEOUT_S = 60.0  # nginx client_header_timeout
IDLE_TIMEOUT_S = 75.0  # nginx keepalive_timeout
TOP_INTERVAL_S = 1.0  # htop: 1.5 s
ADMIN = AdminAddress(f"http://{ADMIN_ADDRESS}/")


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
    trusted_field: TrustedField = TrustedField.X_FORWARDED_FOR
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
