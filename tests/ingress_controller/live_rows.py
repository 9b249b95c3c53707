"""Live requests as the engine tells them, for tests of what shows them."""

from typing import Any

import msgspec

from ingress_controller.peers.live import SharedLive
from ingress_controller.peers.peer import Peer
from proxy.live import Group, Kind, Phase, Query, Row

HOSTILE = "/<script>\x1b[31m\n\u202e\"'"
"""A path that would colour a terminal, break a line and turn text around."""

ROW = Row(
    id="b7ad6b7169203331",
    trace_id="0af7651916cd43dd8448eb211c80319c",
    kind=Kind.REQUEST,
    namespace="shop",
    method="GET",
    host="shop.example",
    path="/cart",
    route="shop.example/",
    ingress="shop/web",
    rule="spec.rules[0].http.paths[0]",
    service="shop/api:80",
    endpoint="192.0.2.7:8080",
    pod="api-0",
    node="node-1",
    zone="a",
    phase=Phase.WAIT,
    phase_age_us=1_500_000,
    phases_us={Phase.HEAD: 20, Phase.ROUTE: 10, Phase.CONNECT: 470_000, Phase.WAIT: 1_500_000},
    age_us=1_970_030,
    start_unix_us=1_700_000_000_000_000,
    start_ns=5,
    received_bytes=0,
    sent_bytes=2048,
    status=0,
    attempts=1,
    client="192.0.2.1:40000",
    scheme="http",
    protocol="HTTP/1.1",
    listener="ingress",
    generation=3,
)


def row(of: Row = ROW, **changes: Any) -> Row:
    return msgspec.structs.replace(of, **changes)


def engine_json(query: Query, *rows: Row) -> bytes:
    """What the engine says to `query` where these are live."""
    told = msgspec.to_builtins(live(*(row(of, instance=query.instance) for of in rows)))
    del told["kept_from_us"], told["peers"]
    return msgspec.json.encode(told)


def live(*rows: Row, peers: tuple[Peer, ...] = ()) -> SharedLive:
    """An answer with these rows, and a group of each kind for all of them."""
    count = len(rows)
    phases = {Phase.WAIT: count}

    def group(name: str) -> tuple[Group, ...]:
        return (Group(name, count, 1_970_030, phases),)

    return SharedLive(
        count,
        count,
        phases,
        group("shop.example/"),
        group("shop/api:80"),
        group("node-1"),
        rows,
        0,
        peers=peers,
    )
