"""The OpenTelemetry variables: what they say about export, resource and sampling.

Rules: pure but for looking whether files are there; the environment is an argument. As the
specification asks, a value that makes no sense is warned about and ignored. Source: OpenTelemetry
1.x, "Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from ingress_controller.propagators import propagators
from ingress_controller.traces.export.destination import (
    TIMEOUT_S,
    Console,
    Destination,
    Export,
    JaegerAgent,
    JaegerCollector,
    OtlpGrpc,
    OtlpHttp,
    Tls,
    Zipkin,
)
from ingress_controller.traces.export.exporters import LINGER_S, LINGER_S_MAX
from ingress_controller.traces.export.url import grpc_address, name_of, traces_url
from proxy.table import Propagator

SERVICE_NAME = "spanway"

# Names that deployments give to fields of the downward API, by convention.
_POD = {
    "POD_NAME": "k8s.pod.name",
    "POD_UID": "k8s.pod.uid",
    "POD_NAMESPACE": "k8s.namespace.name",
    "NODE_NAME": "k8s.node.name",
    "CONTAINER_NAME": "k8s.container.name",
    "REPLICASET_NAME": "k8s.replicaset.name",
    "DEPLOYMENT_NAME": "k8s.deployment.name",
    "CLUSTER_NAME": "k8s.cluster.name",
}
_ALWAYS = {"always_on": 1.0, "always_off": 0.0}
_RATIO = "traceidratio"
_OTLP = "OTEL_EXPORTER_OTLP"
_GRPC, _PROTOBUF, _JSON = "grpc", "http/protobuf", "http/json"
_HTTP_ENDPOINT = "http://localhost:4318"
_GRPC_ENDPOINT = "http://localhost:4317"
_ZIPKIN_ENDPOINT = "http://localhost:9411/api/v2/spans"
_JAEGER_AGENT = ("localhost", 6831)
_WITHOUT_MEANING = {
    "OTEL_BSP_MAX_QUEUE_SIZE": "queues are bounded in bytes: --export URL?queue_bytes=64Mi",
    "OTEL_BSP_EXPORT_TIMEOUT": "the timeout of an attempt is the exporter's own",
}
_REMOTE = "jaeger_remote"
_PARENT_BASED = "parentbased_"
SAMPLING_PATH = "/sampling"


class RemoteSampler(msgspec.Struct, frozen=True):
    """Who says how much is sampled: the full URL to ask, and how often."""

    url: str
    interval_s: float = 60.0  # OpenTelemetry's SDKs for Go and Java


class Telemetry(msgspec.Struct, frozen=True):
    """What the variables say; `sample_ratio` is None where they say nothing.

    `linger_s` is how long batches grow, `bridge_spans_max` how many spans an exporter of the
    OpenTelemetry SDK gets at once, None for its default. With `remote`, the ratio is what applies
    until it has answered.
    """

    exports: tuple[Export, ...] = ()
    linger_s: float = LINGER_S
    bridge_spans_max: int | None = None
    resource: Mapping[str, str] = {}
    sample_ratio: float | None = None
    is_parent_based: bool = True
    remote: RemoteSampler | None = None
    enabled: bool = True
    propagators: tuple[Propagator, ...] = (Propagator.TRACECONTEXT,)
    warnings: tuple[str, ...] = ()


def telemetry(
    env: Mapping[str, str], endpoint_flag: str | None, exports: Sequence[Export] = ()
) -> Telemetry:
    """Reads the variables. The flags win over them: `endpoint_flag` is a base or a full URL for
    OTLP, `exports` are of --export.

    What OTLP's variables say besides the endpoint is for the endpoint of flag or variables; without
    one, for the only one of `exports` that is OTLP. With several nobody can tell whose secrets the
    headers are.

    Raises:
        ValueError: `endpoint_flag` is not an http or https URL.
    """
    reader = _Reader({name: value.strip() for name, value in env.items() if value.strip()})
    ratio, remote = reader.sampler()
    return Telemetry(
        exports=tuple(reader.exports(endpoint_flag, exports)),
        linger_s=reader.linger_s(),
        bridge_spans_max=reader.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
        resource=reader.resource(),
        sample_ratio=ratio,
        is_parent_based=reader.is_parent_based,
        remote=remote,
        propagators=reader.propagators(),
        enabled=reader.env.get("OTEL_SDK_DISABLED", "").lower() != "true",
        warnings=tuple(reader.warnings),
    )


def sampling_url(base: str) -> str:
    """The URL for sampling strategies under a base URL; one that has a path is kept.

    Raises ValueError if `base` is not an http or https URL with a host.
    """
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{base}" is not a URL like http://127.0.0.1:5778')
    _ = parts.port  # raises ValueError if it is no number
    return base if parts.path.strip("/") else base.rstrip("/") + SAMPLING_PATH


def _number(text: str, highest: float) -> float | None:
    """None if it is no number from 0 to `highest`."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if 0 <= number <= highest else None


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.warnings: list[str] = []
        for name, instead in _WITHOUT_MEANING.items():
            if name in env:
                self.warnings.append(f"{name} has no meaning here; {instead}")

    def exports(self, flag: str | None, given: Sequence[Export]) -> list[Export]:
        """What the flags ask for; what OTEL_TRACES_EXPORTER does, where they ask for nothing."""
        if flag:
            otlp = self._otlp(flag)
            assert otlp is not None, "a flag that is no URL is an error"
            return [otlp, *given]
        ours = [export for export in given if isinstance(export.destination, OtlpHttp | OtlpGrpc)]
        if len(ours) == 1:
            return [self._completed(export) if export is ours[0] else export for export in given]
        if len(ours) > 1 and any(self._signal(name) for name in ("HEADERS", "COMPRESSION")):
            self.warnings.append(
                f"{_OTLP}_* is ignored: it does not say which of the --export it is for;"
                " use --export URL?headers=FILE&compression=gzip"
            )
        return list(given) or self._of_variables()

    def linger_s(self) -> float:
        delay_ms = self.number("OTEL_BSP_SCHEDULE_DELAY")
        if delay_ms is None:
            return LINGER_S
        if delay_ms > LINGER_S_MAX * 1_000:
            self.warnings.append(
                f"OTEL_BSP_SCHEDULE_DELAY {delay_ms} is taken as {LINGER_S_MAX * 1_000:g}, the most"
            )
        return min(delay_ms / 1_000, LINGER_S_MAX)

    def resource(self) -> dict[str, str]:
        """The pod, by the downward API; what OTEL_RESOURCE_ATTRIBUTES says wins."""
        pod = {name: self.env[variable] for variable, name in _POD.items() if variable in self.env}
        pairs = self._pairs(
            self.env.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES"
        )
        name = self.env.get("OTEL_SERVICE_NAME") or pairs.get("service.name") or SERVICE_NAME
        return {**pod, **pairs, "service.name": name}

    @property
    def is_parent_based(self) -> bool:
        """As by the default, `parentbased_always_on`, unless another sampler is named."""
        sampler = self._sampler()
        is_known = sampler.removeprefix(_PARENT_BASED) in (*_ALWAYS, _RATIO, _REMOTE)
        return not is_known or sampler.startswith(_PARENT_BASED)

    def sampler(self) -> tuple[float | None, RemoteSampler | None]:
        """The ratio, and who is to be asked for a better one."""
        sampler = self._sampler().removeprefix(_PARENT_BASED)
        if sampler in _ALWAYS:
            return _ALWAYS[sampler], None
        if sampler == _REMOTE:
            return self._remote()
        if sampler not in ("", _RATIO):
            self._ignored("OTEL_TRACES_SAMPLER", "one of the samplers that there are")
            return None, None
        text = self.env.get("OTEL_TRACES_SAMPLER_ARG")
        ratio = _number(text, 1.0) if text else None
        if text and ratio is None:
            self._ignored("OTEL_TRACES_SAMPLER_ARG", "a number between 0 and 1")
        return ratio, None

    def _remote(self) -> tuple[float | None, RemoteSampler | None]:
        """`endpoint=…,pollingIntervalMs=…,initialSamplingRate=…`, each of which may be absent.

        Source: OpenTelemetry, "Environment Variable Specification", and its Java SDK's defaults.
        """
        name = "OTEL_TRACES_SAMPLER_ARG"
        given = self._pairs(self.env.get(name, ""), name)
        interval_ms = _number(given.get("pollingIntervalMs", "60000"), 86_400_000.0)
        ratio = _number(given.get("initialSamplingRate", "0.001"), 1.0)
        try:
            url = sampling_url(given.get("endpoint", "http://localhost:5778"))
        except ValueError:
            url = None
        if url is None or ratio is None or not interval_ms:
            wanted = "endpoint=URL,pollingIntervalMs=MS,initialSamplingRate=R"
            self._ignored(name, wanted)
            return None, None
        return ratio, RemoteSampler(url, interval_ms / 1_000)

    def _sampler(self) -> str:
        return self.env.get("OTEL_TRACES_SAMPLER", "").lower()

    def propagators(self) -> tuple[Propagator, ...]:
        """Those that are known; one that is not is warned about."""
        found: list[Propagator] = []
        names = self.env.get("OTEL_PROPAGATORS", Propagator.TRACECONTEXT)
        for name in names.split(","):
            try:
                found += propagators(name) if name.strip() else ()
            except ValueError as err:
                self.warnings.append(f"OTEL_PROPAGATORS: {err}; it is ignored")
        return tuple(dict.fromkeys(found))

    def number(self, name: str, wanted: str = "a whole number above zero") -> int | None:
        """Its value; None where it is not set, or not `wanted`."""
        text = self.env.get(name)
        if text is None:
            return None
        if text.isascii() and text.isdigit() and int(text):
            return int(text)
        self._ignored(name, wanted)
        return None

    def _of_variables(self) -> list[Export]:
        asked = self.env.get("OTEL_TRACES_EXPORTER")
        if asked is None:
            asked = "otlp" if self._signal("ENDPOINT") else "none"
        readers: dict[str, Callable[[], Export | None]] = {
            "otlp": self._otlp,
            "console": lambda: Export("console", Console()),
            "jaeger": self._jaeger,
            "zipkin": self._zipkin,
            "none": lambda: None,
        }
        found: list[Export] = []
        for name in dict.fromkeys(part.strip().lower() for part in asked.split(",")):
            if name not in readers:
                self.warnings.append(
                    f'OTEL_TRACES_EXPORTER "{name}" is ignored: it is none of {", ".join(readers)}'
                )
            elif (export := readers[name]()) is not None:
                found.append(export)
        return found

    def _otlp(self, flag: str | None = None) -> Export | None:
        """To the endpoint of the flag, of the variables, or the specification's; None if the
        variables' makes no sense."""
        protocol = self._protocol()
        if protocol == _GRPC:
            return self._otlp_grpc(flag)
        url = traces_url(flag) if flag else self._http_url()
        if url is None:
            return None
        options = self._otlp_options(has_tls=url.startswith("https:"))
        destination = OtlpHttp(url=url, is_json=protocol == _JSON, **options)
        return Export(name_of("otlp+" + url.partition(":")[0], url), destination)

    def _otlp_grpc(self, flag: str | None) -> Export | None:
        endpoint = flag or self._signal("ENDPOINT") or _GRPC_ENDPOINT
        try:
            address = grpc_address(endpoint)
        except ValueError:
            if flag:
                raise
            self._ignored(self._name("ENDPOINT"), "an address like http://127.0.0.1:4317")
            return None
        is_plain = (self._signal("INSECURE") or "").lower() == "true"
        has_tls = not is_plain if "://" not in endpoint else endpoint.startswith("https:")
        options = self._otlp_options(has_tls=has_tls)
        destination = OtlpGrpc(address=address, has_tls=has_tls, **options)
        return Export(f"otlp+grpc{'s' if has_tls else ''}://{address}", destination)

    def _protocol(self) -> str:
        protocol = self._signal("PROTOCOL") or _PROTOBUF
        if protocol in (_GRPC, _PROTOBUF, _JSON):
            return protocol
        self._ignored(self._name("PROTOCOL"), f"{_GRPC}, {_PROTOBUF} or {_JSON}")
        return _PROTOBUF

    def _http_url(self) -> str | None:
        name = self._name("ENDPOINT")
        if name not in self.env:
            return traces_url(_HTTP_ENDPOINT)
        try:
            url = traces_url(self.env[name])
        except ValueError:
            self._ignored(name, "a URL like http://127.0.0.1:4318")
            return None
        return self.env[name] if name == f"{_OTLP}_TRACES_ENDPOINT" else url

    def _otlp_options(self, *, has_tls: bool) -> dict[str, Any]:
        compression = self._signal("COMPRESSION") or "none"
        if compression not in ("gzip", "none"):
            self._ignored(self._name("COMPRESSION"), "gzip or none")
        tls = Tls(self._file("CERTIFICATE"), self._file("CLIENT_CERTIFICATE"), self._client_key())
        return {
            "headers": self._pairs(self._signal("HEADERS") or "", f"{_OTLP}_HEADERS"),
            "timeout_s": self._timeout_s(self._name("TIMEOUT")),
            "gzip": compression == "gzip",
            "tls": tls if has_tls else Tls(),
        }

    def _client_key(self) -> Path | None:
        return self._file("CLIENT_KEY") if self._signal("CLIENT_CERTIFICATE") else None

    def _completed(self, export: Export) -> Export:
        """What the URL does not say is as the variables have it."""
        destination = export.destination
        assert isinstance(destination, OtlpHttp | OtlpGrpc), "only these have such variables"
        has_tls = export.name.startswith(("https:", "otlp+https:", "otlp+grpcs:"))
        defaults = msgspec.structs.asdict(OtlpHttp(url=""))
        options = {
            field: value
            for field, value in self._otlp_options(has_tls=has_tls).items()
            if getattr(destination, field) == defaults[field]
        }
        if isinstance(destination, OtlpHttp) and self._protocol() == _JSON:
            options["is_json"] = True
        completed: Destination = msgspec.structs.replace(destination, **options)
        return msgspec.structs.replace(export, destination=completed)

    def _jaeger(self) -> Export:
        url = self.env.get("OTEL_EXPORTER_JAEGER_ENDPOINT")
        if url is not None:
            collector = JaegerCollector(
                url,
                self.env.get("OTEL_EXPORTER_JAEGER_USER", ""),
                self.env.get("OTEL_EXPORTER_JAEGER_PASSWORD", ""),
                self._timeout_s("OTEL_EXPORTER_JAEGER_TIMEOUT"),
            )
            scheme = "jaeger-thrift+" + url.partition(":")[0]
            return Export(name_of(scheme, url), collector)
        host = self.env.get("OTEL_EXPORTER_JAEGER_AGENT_HOST", _JAEGER_AGENT[0])
        port = self.number("OTEL_EXPORTER_JAEGER_AGENT_PORT") or _JAEGER_AGENT[1]
        return Export(f"jaeger-thrift://{host}:{port}", JaegerAgent(host, port))

    def _zipkin(self) -> Export:
        url = self.env.get("OTEL_EXPORTER_ZIPKIN_ENDPOINT", _ZIPKIN_ENDPOINT)
        destination = Zipkin(url, self._timeout_s("OTEL_EXPORTER_ZIPKIN_TIMEOUT"))
        return Export(name_of("zipkin+" + url.partition(":")[0], url), destination)

    def _timeout_s(self, name: str) -> float:
        timeout_ms = self.number(name, "milliseconds")
        return TIMEOUT_S if timeout_ms is None else timeout_ms / 1_000

    def _file(self, name: str) -> Path | None:
        text = self._signal(name)
        if text is None or Path(text).is_file():
            return Path(text) if text else None
        self._ignored(self._name(name), "a file")
        return None

    def _signal(self, name: str) -> str | None:
        return self.env.get(self._name(name))

    def _name(self, name: str) -> str:
        """The variable for traces where it is set, else the one for all signals."""
        traces = f"{_OTLP}_TRACES_{name}"
        return traces if traces in self.env else f"{_OTLP}_{name}"

    def _pairs(self, text: str, name: str) -> dict[str, str]:
        """`k=v,k=v`, percent-encoded, as in W3C Baggage. Never names a value: it may be secret."""
        pairs = {}
        for entry in filter(None, (part.strip() for part in text.split(","))):
            key, separator, value = entry.partition("=")
            if separator and key.strip():
                pairs[unquote(key.strip())] = unquote(value.strip())
            else:
                self.warnings.append(f"{name} has an entry that is not key=value; it is ignored")
        return pairs

    def _ignored(self, name: str, wanted: str) -> None:
        self.warnings.append(f'{name} "{self.env[name]}" is ignored: it is not {wanted}')
