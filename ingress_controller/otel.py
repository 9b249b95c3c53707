"""The OpenTelemetry variables: what they say about export, resource and sampling.

Rules: pure, the environment is an argument. As the specification asks, a value that makes no sense
is warned about and ignored. Source: OpenTelemetry 1.x, "Environment Variable Specification" and
"OpenTelemetry Protocol Exporter".
"""

from collections.abc import Mapping
from urllib.parse import unquote, urlsplit

import msgspec

TRACES_PATH = "/v1/traces"
EXPORT_TIMEOUT_S = 10.0  # OTEL_EXPORTER_OTLP_TIMEOUT's default
SERVICE_NAME = "spanway"

_ALWAYS = {"always_on": 1.0, "always_off": 0.0}
_RATIO = "traceidratio"


class Export(msgspec.Struct, frozen=True):
    """Where spans go: the full URL that batches are posted to, and headers (may be secrets)."""

    endpoint: str
    headers: Mapping[str, str] = {}
    timeout_s: float = EXPORT_TIMEOUT_S

    def __repr__(self) -> str:
        return f"Export(endpoint={self.endpoint!r}, headers={sorted(self.headers)})"


class Telemetry(msgspec.Struct, frozen=True):
    """What the variables say; `sample_ratio` is None where they say nothing."""

    export: Export | None = None
    resource: Mapping[str, str] = {}
    sample_ratio: float | None = None
    enabled: bool = True
    warnings: tuple[str, ...] = ()


def telemetry(env: Mapping[str, str], endpoint_flag: str | None) -> Telemetry:
    """Reads the variables; `endpoint_flag` wins over them and is a base or a full URL.

    Raises:
        ValueError: `endpoint_flag` is not an http or https URL.
    """
    reader = _Reader({name: value.strip() for name, value in env.items() if value.strip()})
    return Telemetry(
        export=reader.export(endpoint_flag),
        resource=reader.resource(),
        sample_ratio=reader.sample_ratio(),
        enabled=reader.env.get("OTEL_SDK_DISABLED", "").lower() != "true",
        warnings=tuple(reader.warnings),
    )


def traces_url(base: str) -> str:
    """The URL for traces under an OTLP base URL; one that already ends so is kept.

    Raises ValueError if `base` is not an http or https URL with a host.
    """
    parts = urlsplit(base)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f'"{base}" is not a URL like http://127.0.0.1:4318')
    _ = parts.port  # raises ValueError if it is no number
    return base if parts.path.endswith(TRACES_PATH) else base.rstrip("/") + TRACES_PATH


class _Reader:
    def __init__(self, env: Mapping[str, str]) -> None:
        self.env = env
        self.warnings: list[str] = []

    def export(self, flag: str | None) -> Export | None:
        endpoint = traces_url(flag) if flag else self._endpoint()
        if endpoint is None:
            return None
        protocol = self._signal("PROTOCOL") or "http/protobuf"
        if protocol != "http/protobuf":
            self.warnings.append(
                f'OTEL_EXPORTER_OTLP_PROTOCOL "{protocol}" is not supported, http/protobuf is used'
            )
        headers = self._pairs(self._signal("HEADERS") or "", "OTEL_EXPORTER_OTLP_HEADERS")
        return Export(endpoint, headers, self._timeout_s())

    def resource(self) -> dict[str, str]:
        pairs = self._pairs(
            self.env.get("OTEL_RESOURCE_ATTRIBUTES", ""), "OTEL_RESOURCE_ATTRIBUTES"
        )
        name = self.env.get("OTEL_SERVICE_NAME") or pairs.get("service.name") or SERVICE_NAME
        return {**pairs, "service.name": name}

    def sample_ratio(self) -> float | None:
        sampler = self.env.get("OTEL_TRACES_SAMPLER", "").lower().removeprefix("parentbased_")
        if sampler in _ALWAYS:
            return _ALWAYS[sampler]
        if sampler not in ("", _RATIO):
            self._ignored("OTEL_TRACES_SAMPLER", "one of the samplers with a ratio")
            return None
        text = self.env.get("OTEL_TRACES_SAMPLER_ARG")
        try:
            ratio = float(text) if text else None
        except ValueError:
            ratio = -1.0
        if ratio is not None and not 0 <= ratio <= 1:
            self._ignored("OTEL_TRACES_SAMPLER_ARG", "a number between 0 and 1")
            return None
        return ratio

    def _endpoint(self) -> str | None:
        if self.env.get("OTEL_TRACES_EXPORTER", "otlp").lower() == "none":
            return None
        traces = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
        base = "OTEL_EXPORTER_OTLP_ENDPOINT"
        name = traces if traces in self.env else base
        if name not in self.env:
            return None
        try:
            url = traces_url(self.env[name])
        except ValueError:
            self._ignored(name, "a URL like http://127.0.0.1:4318")
            return None
        return self.env[name] if name == traces else url

    def _timeout_s(self) -> float:
        text = self._signal("TIMEOUT") or ""
        if text.isdigit() and int(text):
            return int(text) / 1_000
        if text:
            self._ignored("OTEL_EXPORTER_OTLP_TIMEOUT", "milliseconds")
        return EXPORT_TIMEOUT_S

    def _signal(self, name: str) -> str | None:
        traces = self.env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}")
        return traces or self.env.get(f"OTEL_EXPORTER_OTLP_{name}")

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
