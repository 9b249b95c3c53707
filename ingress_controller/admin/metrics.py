"""`/metrics`: what the engine counted by route, and what the rest of the process is doing.

Rules: a scrape runs on a thread of its own and holds up neither requests nor the event loop. What
is by route the engine writes itself, since it may be a hundred thousand lines and prometheus_client
takes 10 µs for each; what is here is a few hundred. `docs/METRICS.md` lists every family.
"""

import gzip
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from ingress_controller.admin.families import process_families
from ingress_controller.admin.nginx_families import nginx_families
from ingress_controller.admin.readings import Readings

GZIP_LEVEL = 1  # a tenth of the bytes for a third of the time of the usual 6
_EOF = b"# EOF\n"


class Controller(msgspec.Struct, frozen=True):
    """What ingress-nginx says of itself on each of its samples."""

    namespace: str
    ingress_class: str
    pod: str

    @property
    def labels(self) -> dict[str, str]:
        return {
            "controller_class": self.ingress_class,
            "controller_namespace": self.namespace,
            "controller_pod": self.pod,
        }


class Scraped(Protocol):
    """What is scraped; the composition root gives it."""

    @property
    def readings(self) -> Readings:
        """As of now; taken on the event loop, which owns what is in it."""

    @property
    def controller(self) -> Controller | None:
        """None where the families of ingress-nginx are not wanted."""

    def by_route(self, nginx: Mapping[str, str] | None, *, is_openmetrics: bool) -> bytes:
        """The engine's part of the page. Blocks."""


class Page(NamedTuple):
    """An answer to a scrape."""

    body: bytes
    content_type: str
    is_gzipped: bool


class _Families:
    """A collector of prometheus_client."""

    def __init__(self, families: Callable[[], Iterable[Metric]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families()


def page(scraped: Scraped, readings: Readings, accept: str, accept_encoding: str) -> Page:
    """What a scraper that accepts this gets. Blocks for milliseconds to tenths of a second."""
    encode, content_type = choose_encoder(accept)
    is_openmetrics = content_type.startswith("application/openmetrics-text")
    controller = scraped.controller
    labels = controller.labels if controller is not None else None
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Families(lambda: process_families(readings)))
    if controller is not None and labels is not None:
        process = ProcessCollector(registry=None)
        registry.register(
            _Families(lambda: nginx_families(readings, labels, list(process.collect())))
        )
    rest = encode(registry)
    by_route = scraped.by_route(labels, is_openmetrics=is_openmetrics)
    body = b"".join((rest.removesuffix(_EOF), by_route, _EOF if is_openmetrics else b""))
    is_gzipped = "gzip" in accept_encoding
    if is_gzipped:
        body = gzip.compress(body, GZIP_LEVEL, mtime=0)
    return Page(body, content_type, is_gzipped)
