"""The settings of `spanway run`; what does not fit together is refused here."""

import ipaddress
import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec

from ingress_controller.addresses import (
    address_or_any_port,
    listen_address,
    service_listener,
)
from ingress_controller.arguments import (
    ADMIN_ADDRESS,
    HTTP_ADDRESS_CLUSTER,
    HTTP_ADDRESS_LOCAL,
    HTTPS_ADDRESS_CLUSTER,
    SettingsError,
)
from ingress_controller.captured import at_most, header_name, query_key
from ingress_controller.credentials import Secret
from ingress_controller.otel import telemetry
from ingress_controller.peers.addresses import is_name
from ingress_controller.propagators import propagators
from ingress_controller.settings import texts
from ingress_controller.settings.access import admin_access, api, peers
from ingress_controller.settings.given import Given, parsed
from ingress_controller.settings.values import (
    DRAIN_TIMEOUT_S,
    HEAD_TIMEOUT_S,
    IDLE_TIMEOUT_S,
    TAIL_SPANS_PER_S,
    KubernetesSource,
    ManifestsSource,
    Publish,
    Settings,
    StoreSettings,
)
from ingress_controller.traces.export import url
from ingress_controller.traces.export.destination import Destination, Export, OtlpGrpc, OtlpHttp
from ingress_controller.traces.store.limits import AGE_S_MAX, BYTES_MAX
from proxy.access_log import AccessLog, AccessLogFormat
from proxy.metrics import METRICS_ROUTES_MAX
from proxy.table import (
    KernelTimestamps,
    PhaseSpans,
    ServerTiming,
    SpanDetail,
    TrustContext,
    TrustedField,
)

DRAIN_DELAY_POD_S = 5.0  # until all nodes and load balancers know that the pod is leaving
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


def run_settings(given: Given, env: Mapping[str, str]) -> Settings:
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
    ratio = given.one("--sample-ratio", texts.ratio)
    if ratio is None:
        ratio = otel.sample_ratio
    extract = given.one("--propagators", propagators)
    if extract is None:
        extract = otel.propagators
    inject = given.one("--inject", propagators)
    tail_spans = given.one("--tail-spans", texts.rate)
    http, https = _listeners(given, is_manifests=is_manifests)
    drain_timeout_s, drain_delay_s = _drain(given, source)
    settings = Settings(
        source=source,
        http=http,
        https=https,
        default_certificate=given.one("--default-certificate", texts.default_certificate),
        proxy_protocol=given.one("--proxy-protocol", texts.switch) or False,
        trusted_proxies=tuple(dict.fromkeys(given.all("--trusted-proxies", texts.network))),
        trusted_field=given.one("--trusted-field", texts.one_of(TrustedField))
        or TrustedField.X_FORWARDED_FOR,
        head_timeout_s=given.one("--head-timeout", texts.client_seconds) or HEAD_TIMEOUT_S,
        idle_timeout_s=given.one("--idle-timeout", texts.client_seconds) or IDLE_TIMEOUT_S,
        zone=given.one("--zone", texts.label) or "",
        node=given.one("--node", texts.object_name) or "",
        admin=given.one("--admin", address_or_any_port) or ADMIN_ADDRESS,
        peers=peers(given),
        admin_access=admin_access(given, is_manifests=is_manifests),
        api=api(given, is_manifests=is_manifests),
        trace_link=given.one("--trace-link", texts.trace_link) or "",
        workers=given.one("--workers", texts.workers) or len(os.sched_getaffinity(0)),
        drain_timeout_s=drain_timeout_s,
        drain_delay_s=drain_delay_s,
        takeover=given.one("--takeover", texts.takeover_path),
        service_listeners=given.all("--service", service_listener),
        ingress_class=ingress_class(given),
        forwarded=given.one("--forwarded-header", texts.switch) or False,
        publish=_publish(given),
        lease_namespace=given.one("--lease-namespace", texts.object_name)
        or _own_namespace(env)
        or "default",
        namespace=_own_namespace(env) or "default",
        pod=env.get("POD_NAME") or socket.gethostname(),
        metrics_routes=_metrics_routes(given),
        access_log=_access_log(given, source),
        nginx_metrics=given.one("--nginx-metrics", texts.switch) is not False,
        exports=otel.exports,
        store=_store(given, env) if otel.enabled else None,
        export_linger_s=otel.linger_s,
        bridge_spans_max=otel.bridge_spans_max,
        resource=otel.resource,
        sample_ratio=1.0 if ratio is None else ratio,
        sample_rate_limit=given.one("--sample-rate-limit", texts.rate) or 0.0,
        is_parent_based=otel.is_parent_based,
        tail_spans=TAIL_SPANS_PER_S if tail_spans is None else tail_spans,
        sampling_remote=given.one("--sampling-remote", texts.remote_sampler) or otel.remote,
        debug_key=given.one("--debug-key-file", texts.secret_file) or Secret(),
        tracing_enabled=otel.enabled,
        random_flag=given.one("--random-flag", texts.switch) or False,
        extract=extract,
        inject=extract if inject is None else inject,
        trust_context=given.one("--trust-context", texts.one_of(TrustContext)) or TrustContext.ALL,
        server_timing=given.one("--server-timing", texts.one_of(ServerTiming)) or ServerTiming.OFF,
        phase_spans=given.one("--phase-spans", texts.one_of(PhaseSpans)) or PhaseSpans.SLOW,
        span_detail=_span_detail(given),
        kernel_timestamps=given.one("--kernel-timestamps", texts.one_of(KernelTimestamps))
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
    if (field := given.texts("--trusted-field")) and not settings.trusted_proxies:
        raise SettingsError(f"{field[0][0]} has no effect without --trusted-proxies; add it.")
    _refuse_unreachable(settings, given)
    _refuse_twice(settings)
    return msgspec.structs.replace(settings, exports=_told_apart(settings.exports))


def _store(given: Given, env: Mapping[str, str]) -> StoreSettings | None:
    place = given.one("--store", str)
    size = given.one("--store-bytes", url.size)
    age_s = given.one("--store-age", texts.store_age)
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


def _access_log(given: Given, source: ManifestsSource | KubernetesSource) -> AccessLog | None:
    """In a pod a line per request on stdout: what who comes from ingress-nginx has."""
    is_pod = isinstance(source, KubernetesSource) and source.kubeconfig is None
    path = given.one("--access-log", texts.log_path) or ("-" if is_pod else "off")
    form = given.one("--access-log-format", texts.one_of(AccessLogFormat))
    if path != "off":
        return AccessLog(path, form or AccessLogFormat.UPSTREAM)
    if form is not None and not given.texts("--access-log"):
        name = given.texts("--access-log-format")[0][0]
        raise SettingsError(f"{name} has no effect without an access log; add --access-log PATH.")
    return None


def _metrics_routes(given: Given) -> int:
    routes = given.one("--metrics-routes", texts.metrics_routes)
    return METRICS_ROUTES_MAX if routes is None else routes


def _listeners(given: Given, *, is_manifests: bool) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """HTTP and HTTPS addresses; both have a default in a cluster, unless one of them is given."""
    http = given.all("--http", listen_address)
    https = given.all("--https", listen_address)
    if is_manifests:
        return http or (HTTP_ADDRESS_LOCAL,), https
    if not http and not https:
        return (HTTP_ADDRESS_CLUSTER,), (HTTPS_ADDRESS_CLUSTER,)
    return http or (HTTP_ADDRESS_CLUSTER,), https


def _source(given: Given, env: Mapping[str, str]) -> ManifestsSource | KubernetesSource:
    manifests = given.texts("--manifests")
    kubeconfig = given.one("--kubeconfig", texts.file)
    if manifests and kubeconfig:
        raise SettingsError("--manifests and --kubeconfig exclude each other; keep one of the two.")
    if manifests:
        for flag in ("--context", "--watch-namespace", "--publish-service"):
            if found := given.texts(flag):
                raise SettingsError(f"{found[0][0]} is for a cluster and --manifests is none.")
        return ManifestsSource(manifests_directory(given))
    context = given.one("--context", str)
    if kubeconfig is None and context:
        raise SettingsError(f'--context "{context}" needs --kubeconfig FILE.')
    if kubeconfig is None and not env.get("KUBERNETES_SERVICE_HOST"):
        raise SettingsError(
            "This is not a pod of a cluster; give --manifests DIR or --kubeconfig FILE."
        )
    namespaces = given.all("--watch-namespace", texts.object_name)
    return KubernetesSource(kubeconfig, context, tuple(dict.fromkeys(namespaces)))


def _drain(given: Given, source: ManifestsSource | KubernetesSource) -> tuple[float, float]:
    """Timeout and delay. Only in a pod somebody else has to learn that it is leaving."""
    timeout_s = given.one("--drain-timeout", texts.seconds)
    timeout_s = DRAIN_TIMEOUT_S if timeout_s is None else timeout_s
    delay_s = given.one("--drain-delay", texts.seconds)
    if delay_s is None:
        is_pod = isinstance(source, KubernetesSource) and source.kubeconfig is None
        return timeout_s, min(DRAIN_DELAY_POD_S, timeout_s) if is_pod else 0.0
    if delay_s > timeout_s:
        raise SettingsError(
            f"--drain-delay {delay_s:g} is a part of --drain-timeout {timeout_s:g} and longer;"
            " raise the timeout."
        )
    return timeout_s, delay_s


def _span_detail(given: Given) -> SpanDetail:
    def names(flag: str, parse: Callable[[str], str]) -> tuple[str, ...]:
        return parsed(flag, given.all(flag, parse), at_most)

    query_keys = names("--capture-query-key", query_key)
    is_query = given.one("--capture-query", texts.switch) or bool(query_keys)
    return SpanDetail(
        request_headers=names("--capture-request-header", header_name),
        response_headers=names("--capture-response-header", header_name),
        query_keys=query_keys if is_query else None,
    )


def manifests_directory(given: Given) -> Path:
    directory = given.one("--manifests", texts.existing_directory)
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


def ingress_class(given: Given) -> str:
    return given.one("--ingress-class", texts.object_name) or "spanway"


def _publish(given: Given) -> Publish:
    addresses = given.all("--publish-address", texts.object_name_or_ip)
    service = given.one("--publish-service", texts.service_name)
    if addresses and service:
        raise SettingsError("--publish-address and --publish-service exclude each other.")
    return Publish(addresses, service)


def _refuse_unreachable(settings: Settings, given: Given) -> None:
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
