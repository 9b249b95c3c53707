"""What an admin server shows, in tests that need no running process."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from k8s_objects import Object, build, endpoint_slice, ingress, path, service
from live_rows import engine_json

from ingress_controller.peers.peer import Identity
from ingress_controller.reconcile import Outcome
from proxy.engine import Match
from proxy.live import Query


class FakeState:
    """Fakes the running process: what the server shows."""

    version = "1.2.3"

    def __init__(self, *objects: Object) -> None:
        default = [ingress(path("/"), path("/x", "nope")), service(), endpoint_slice("api", "::1")]
        built = build(objects or default)
        self.outcome = Outcome(built.table, built.problems, built.ours)
        self.missing: tuple[str, ...] = ()
        self.store = None
        self.own = Identity("1234", "spanway-0")
        self.peers = None
        self.stats: Mapping[str, Any] = {"engine": {"requests": 7}}
        self.config: Sequence[msgspec.Struct] = ()

    def explain(self, host: str, _: str) -> Match | None:
        route = self.outcome.table.hosts[host].routes[-1] if host == "shop.example" else None
        return route and Match(
            host, route.kind, route.path, route.backend, route.namespace, route.ingress, route.rule
        )

    def live(self, query: Query) -> bytes:
        return engine_json(query)
