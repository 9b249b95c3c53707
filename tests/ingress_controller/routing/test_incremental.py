"""A build after any changes is the build from scratch, and its update is the difference."""

import random
import sys
from collections.abc import Callable, Iterator
from functools import partial
from types import FrameType
from typing import Any

import msgspec
import pem
import pytest
from k8s_objects import (
    Object,
    backend,
    build,
    endpoint_slice,
    ingress,
    key_of,
    path,
    secret,
    service,
    tracing_policy,
    values_of,
)

from ingress_controller.addresses import ServiceListener
from ingress_controller.model.problem import ObjectKey, Problem
from ingress_controller.model.secret import TLS_TYPE
from ingress_controller.model.values import Values
from ingress_controller.routing.backends import Resolved
from ingress_controller.routing.builder import Builder, Options
from ingress_controller.routing.listening import DefaultCertificate
from proxy.table import Listener, ListenerKind, RouteTable, Update, applied, difference

STEPS = 60
BAD = "no mapping"
NOW_UNIX_MS = 1_000
PAIR, EXPIRED = pem.pair("a.example", begin=pem.EPOCH), pem.pair("a.example", end=pem.EPOCH)
INGRESS_ANNOTATIONS = {
    "read-timeout": ("5s", "6s", "bad"),
    "allow": ("10.0.0.0/8", "bad"),
    "https-only": ("true", "false"),
    "tls-min-version": ("1.2", "1.3", "bad"),
    "client-certificates": ("required", "off", "bad"),
    "client-ca-secret": ("s", "t", "other/s"),
    "tls-passthrough": ("true", "false"),
    "tracing-policy": ("p", "q", "bad/name"),
    "sample-ratio": ("0.1", "bad"),
    "unknown": ("",),
}
SERVICE_ANNOTATIONS = {
    "read-timeout": ("5s", "bad"),
    "tracing-policy": ("p", "q"),
    "balance": ("ewma", "bad"),
    "upstream-tls": ("true", "false"),
    "upstream-tls-ca-secret": ("s", "t"),
    "upstream-tls-secret": ("s", "t"),
}
LISTENER = ServiceListener("shop", "a", "80", "127.0.0.1:18080")
HTTPS = Listener("127.0.0.1:443", ListenerKind.INGRESS, tls=True)
OPTIONS = (
    Options(listeners=(HTTPS,), default_certificate=DefaultCertificate(("shop", "s"))),
    Options(is_manifests=True, service_listeners=(LISTENER,)),
)


class Chaos:
    """Random objects of a small world, in which everything collides."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._versions: dict[ObjectKey, list[Object]] = {}
        self.resolved: dict[str, Resolved] = {}

    @property
    def objects(self) -> list[Object]:
        """All there are: of one that turned bad its last good version, then the bad one."""
        return [raw for versions in self._versions.values() for raw in versions]

    def step(self) -> Iterator[tuple[ObjectKey, Object | None]]:
        """Some changes at once."""
        if self._chance(0.1):
            names = [name for name in ("a.example", "b.example") if self._chance(0.7)]
            addresses = (f"192.0.2.{self._pick(range(4))}",) if self._chance(0.8) else ()
            self.resolved = {name: Resolved(addresses, "no such name") for name in names}
        for _ in range(self._pick((1, 1, 1, 5))):
            raw = self._pick(
                (
                    *(self._ingress, self._ingress, self._service),
                    *(self._slice, self._class, self._secret, self._tracing_policy),
                )
            )()
            key = key_of(raw)
            versions = self._versions.pop(key, [])
            if self._chance(0.25):
                yield key, None
            else:
                self._versions[key] = [*versions[:1], raw] if raw.get("spec") == BAD else [raw]
                yield key, raw

    def some(self, update: Update) -> Update:
        """What is left of `update` if an engine rejects parts of it."""

        def taken(entries: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(entry for entry in entries if self._chance(0.7))

        return msgspec.structs.replace(
            update,
            listeners=taken(update.listeners),
            hosts_upsert=taken(update.hosts_upsert),
            backends_upsert=taken(update.backends_upsert),
            policies_upsert=taken(update.policies_upsert),
            certificates_upsert=taken(update.certificates_upsert),
        )

    def _ingress(self) -> Object:
        paths = [
            path(
                self._pick(("/", "/x", "/x/y", "bad")),
                self._backend(),
                self._pick(("Exact", "Prefix")),
            )
            for _ in range(self._pick(range(4)))
        ]
        spec: Object = {}
        if self._chance(0.3):
            spec["defaultBackend"] = self._backend()
        if self._chance(0.5):
            spec["ingressClassName"] = self._pick(("spanway", "other"))
        host = self._pick((None, "a.example", "b.example", "*.example", "1.2.3.4"))
        created = self._pick((None, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"))
        if self._chance(0.5):
            hosts = self._pick((None, ["a.example"], ["*.example"], ["c.example", "bad:1"]))
            spec["tls"] = [{"hosts": hosts, "secretName": self._pick(("s", "t", None))}]
        raw = ingress(
            *paths,
            host=host,
            name=self._pick("vwxyz"),
            created=created,
            annotations=self._some_of(INGRESS_ANNOTATIONS),
            **spec,
        )
        return raw | {"spec": BAD} if self._chance(0.05) else raw

    def _backend(self) -> Object:
        return backend(self._pick("abc"), self._pick((80, 81, "web", "80")))

    def _service(self) -> Object:
        ports = [{"port": 80, "name": self._pick((None, "web"))}, {"port": 81, "name": "more"}]
        spec: Object = {}
        if self._chance(0.3):
            spec = {"type": "ExternalName", "externalName": self._pick(("a.example", "b.example"))}
        listen = {"spanway.io/listen": f"80=127.0.0.1:{self._pick((18080, 18081, 18082))}"}
        annotations = self._some_of(SERVICE_ANNOTATIONS) | (listen if self._chance(0.3) else {})
        used = ports[: self._pick((1, 2))]
        return service(self._pick("abc"), *used, annotations=annotations, **spec)

    def _slice(self) -> Object:
        addresses = [f"10.0.0.{self._pick(range(5))}" for _ in range(self._pick(range(4)))]
        if self._chance(0.1):
            addresses.append("nonsense")
        ports = [{"port": 9_000, "name": self._pick(("web", None))}]
        return endpoint_slice(self._pick("ab"), *addresses, ports=ports, name=self._pick("rst"))

    def _secret(self) -> Object:
        held = self._pick((PAIR, PAIR, EXPIRED, (PAIR[0], "nonsense")))
        ca = self._pick(("", PAIR[0]))
        return secret(held, ca=ca, name=self._pick("st"), type=self._pick((TLS_TYPE, "Opaque")))

    def _tracing_policy(self) -> Object:
        raw = tracing_policy(self._pick("pq"), ratio=self._pick((0.1, 0.2)))
        return raw | {"spec": BAD} if self._chance(0.2) else raw

    def _some_of(self, annotations: dict[str, tuple[str, ...]]) -> dict[str, str]:
        names = [name for name in annotations if self._chance(0.2)]
        return {f"spanway.io/{name}": self._pick(annotations[name]) for name in names}

    def _class(self) -> Object:
        controller = self._pick(("spanway.io/ingress-controller", "example.org/other"))
        default = {"ingressclass.kubernetes.io/is-default-class": self._pick(("true", "false"))}
        metadata = {"name": self._pick(("spanway", "other")), "annotations": default}
        return {"kind": "IngressClass", "metadata": metadata, "spec": {"controller": controller}}

    def _chance(self, ratio: float) -> bool:
        return self._random.random() < ratio

    def _pick(self, choices: Any) -> Any:
        return self._random.choice(choices)


def parts(table: RouteTable) -> tuple[object, ...]:
    return msgspec.structs.astuple(table)[1:]


@pytest.mark.parametrize("options", OPTIONS, ids=["cluster", "manifests"])
@pytest.mark.parametrize("seed", range(20))
def test_any_changes_give_the_table_problems_and_update_of_a_build_from_scratch(
    seed: int, options: Options
) -> None:
    chaos, values, builder, in_force = Chaos(seed), Values(), Builder(options), RouteTable()
    told: set[Problem] = set()
    for _ in range(STEPS):
        for key, raw in chaos.step():
            values.apply(key, raw)

        built = builder.build(values, chaos.resolved, in_force, now_unix_ms=NOW_UNIX_MS)

        fresh = build(chaos.objects, options, chaos.resolved)
        assert parts(built.table) == parts(fresh.table)
        assert list(built.problems) == list(fresh.problems)
        assert (built.ours, built.external_names) == (fresh.ours, fresh.external_names)
        told = (told | set(built.appeared)) - set(built.gone)
        assert told == set(built.problems)
        if built.update is None:
            assert parts(in_force) == parts(built.table)
            continue
        assert built.update == difference(in_force, built.table)
        in_force = applied(in_force, chaos.some(built.update))


def calls_of(work: Callable[[], object]) -> int:
    """How many functions `work` calls, built-in ones too: its cost, without a clock."""
    count = 0

    def counted(_: FrameType, event: str, __: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(counted)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


def calls_of_changes(size: int) -> list[int]:
    """The cost of one change of each kind of object in a world of so many hosts."""
    objects = [
        raw
        for name in map(str, range(size))
        for raw in (
            ingress(path("/", f"s{name}"), name=name, host=f"{name}.example"),
            service(f"s{name}"),
            endpoint_slice(f"s{name}", "10.0.0.1"),
        )
    ]
    values, builder = values_of(objects), Builder(OPTIONS[1])
    table = builder.build(values, {}, RouteTable(), now_unix_ms=NOW_UNIX_MS).table
    builder.settle(table)
    costs = []
    for changed in (
        endpoint_slice("s7", "10.0.0.2"),
        ingress(path("/new", "s7"), name="7", host="7.example"),
        service("s7", {"port": 81}),
        ingress(path("/", "s7"), name="7", host="7.example") | {"spec": BAD},
    ):
        values.apply(key_of(changed), changed)
        build_now = partial(builder.build, values, {}, table, now_unix_ms=NOW_UNIX_MS)
        costs.append(calls_of(build_now))
        table = build_now().table
        builder.settle(table)
    return costs


def test_a_change_costs_the_same_among_ten_hosts_and_among_a_thousand() -> None:
    assert calls_of_changes(10) == calls_of_changes(1_000)
