"""What the settings say of the table: its listeners, their certificate, how spans are sampled."""

from collections.abc import Iterator

import msgspec

from ingress_controller.default_certificate import from_files, self_signed
from ingress_controller.routing.builder import Options
from ingress_controller.routing.listening import DefaultCertificate
from ingress_controller.settings import CertificateFiles, ManifestsSource, Settings, StartError
from proxy.table import Listener, ListenerKind, Locality, Tracing, TracingPolicy


def options(settings: Settings) -> Options:
    return Options(
        ingress_class=settings.ingress_class,
        is_manifests=isinstance(settings.source, ManifestsSource),
        listeners=tuple(_listeners(settings)),
        service_listeners=settings.service_listeners,
        service_listener=_listener(settings, ListenerKind.SERVICE),
        tracing=_tracing(settings),
        locality=Locality(settings.zone, settings.node),
        default_certificate=_default_certificate(settings),
    )


def _tracing(settings: Settings) -> Tracing:
    policy = TracingPolicy(
        settings.sample_ratio,
        is_parent_based=settings.is_parent_based,
        traces_per_s_max=settings.sample_rate_limit,
        tail_spans_per_s=settings.tail_spans,
        phase_spans=settings.phase_spans,
    )
    return Tracing(
        policy,
        settings.tracing_enabled,
        settings.random_flag,
        settings.server_timing,
        settings.debug_key.text,
        settings.span_detail,
        settings.kernel_timestamps,
    )


def _listeners(settings: Settings) -> Iterator[Listener]:
    for has_tls, addresses in ((False, settings.http), (True, settings.https)):
        for address in addresses:
            yield msgspec.structs.replace(
                _listener(settings, ListenerKind.INGRESS),
                address=address,
                tls=has_tls,
                proxy_protocol=settings.proxy_protocol,
                trusted_proxies=settings.trusted_proxies,
                trusted_field=settings.trusted_field,
                trust_context=settings.trust_context,
            )


def _listener(settings: Settings, kind: ListenerKind) -> Listener:
    """What all listeners of a kind have in common."""
    return Listener(
        "",
        kind,
        forwarded=settings.forwarded,
        extract=settings.extract,
        inject=settings.inject,
        head_timeout_ms=int(settings.head_timeout_s * 1_000),
        idle_timeout_ms=int(settings.idle_timeout_s * 1_000),
    )


def _default_certificate(settings: Settings) -> DefaultCertificate:
    wanted = settings.default_certificate
    if not settings.https:
        return DefaultCertificate()
    if isinstance(wanted, CertificateFiles):
        try:
            return DefaultCertificate(certificate=from_files(wanted.chain, wanted.private_key))
        except ValueError as err:
            raise StartError(f"--default-certificate cannot be used: {err}.") from err
    return DefaultCertificate(wanted, self_signed())
