"""The real HotROD: Jaeger's demonstration app, whose frontend calls three services.

Each of its address flags is both where a service listens and where the frontend calls it. As every
service here is a process of its own, the frontend can be told other addresses than the services
listen on: a proxy's.
"""

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from scene.http import Json, request
from scene.namespace import free_port, is_listening
from scene.parts import built_part
from scene.process import Process

START_DEADLINE_S = 30.0
SERVICES = ("customer", "driver", "route", "frontend")


@dataclass(frozen=True)
class Address:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def free_address(host: str = "127.0.0.1") -> Address:
    return Address(host, free_port(host))


@dataclass(frozen=True)
class Addresses:
    """Where each service listens. `driver` speaks gRPC without TLS, the others HTTP/1.1."""

    customer: Address = field(default_factory=free_address)
    driver: Address = field(default_factory=free_address)
    route: Address = field(default_factory=free_address)
    frontend: Address = field(default_factory=free_address)


class Hotrod:
    """HotROD's four services. `listening` are their own addresses."""

    def __init__(
        self,
        directory: Path,
        listening: Addresses,
        *,
        otlp_url: str,
        jaeger_url: str,
        flags: Sequence[str] = (),
    ) -> None:
        """Starts nothing yet. `jaeger_url` is for the links in its page, `flags` of all services.

        Raises:
            PartMissingError: it is not built.
        """
        self._program = built_part("hotrod") / "hotrod"
        self.directory = directory
        self.listening = listening
        self._otlp_url = otlp_url
        self._jaeger_url = jaeger_url
        self._flags = flags
        self._running = contextlib.ExitStack()

    def start(
        self,
        *,
        customer: Address | None = None,
        driver: Address | None = None,
        route: Address | None = None,
    ) -> None:
        """Returns when all four listen.

        Args:
            customer, driver, route: what the frontend calls instead of the service itself, such
                as a proxy's listener; it need not be there yet.
        """
        called = Addresses(
            customer or self.listening.customer,
            driver or self.listening.driver,
            route or self.listening.route,
            self.listening.frontend,
        )
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            for service in SERVICES:
                self._start(service, called if service == "frontend" else self.listening)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self._running.close()

    def dispatch(
        self,
        customer: int,
        *,
        url: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        """One click of its page: asks for a driver, as `{"Driver": …, "ETA": nanoseconds}`.

        Args:
            customer: 123, 392, 731 or 567.
            url: where its page is, such as a proxy's listener; by default the frontend itself.
            headers: of the request, such as `traceparent` and `Host`.
        """
        page = url or f"http://{self.listening.frontend}"
        return request("GET", f"{page}/dispatch?customer={customer}", headers=headers)

    def _start(self, service: str, addresses: Addresses) -> None:
        process = Process(
            [
                self._program,
                service,
                *_address_flags(addresses),
                f"--jaeger-ui={self._jaeger_url}",
                *self._flags,
            ],
            log=self.directory / f"hotrod-{service}.log",
            environment={"OTEL_EXPORTER_OTLP_ENDPOINT": self._otlp_url},
        )
        self._running.callback(process.stop)
        address: Address = getattr(self.listening, service)
        process.wait_until(
            lambda: is_listening(address.host, address.port), deadline_s=START_DEADLINE_S
        )


def _address_flags(addresses: Addresses) -> Sequence[str]:
    return [
        flag
        for service in SERVICES
        for flag in (
            f"--{service}-service-hostname={getattr(addresses, service).host}",
            f"--{service}-service-port={getattr(addresses, service).port}",
        )
    ]
