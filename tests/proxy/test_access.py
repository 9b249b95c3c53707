"""Which clients a route is for, and that no spelling of a path gets around it."""

import msgspec
import pytest
from client import Client
from data_plane import ROUTE, DataPlane, backend, table
from message import request
from upstream import Upstream

from proxy.table import (
    ANY_HOST,
    Host,
    Listener,
    ListenerKind,
    Redirect,
    RoutePolicy,
    RouteTable,
)

ELSEWHERE = ("192.0.2.0/24", "2001:db8::/32")


@pytest.mark.parametrize(
    ("policy", "is_admitted"),
    [
        (RoutePolicy(allow=("127.0.0.0/8",)), True),
        (RoutePolicy(allow=("127.0.0.1",)), True),
        (RoutePolicy(allow=("::ffff:127.0.0.0/104",)), True),
        (RoutePolicy(allow=ELSEWHERE), False),
        (RoutePolicy(allow=("127.0.0.0/8",), deny=("127.0.0.1/32",)), False),
        (RoutePolicy(deny=("127.0.0.1",)), False),
        (RoutePolicy(deny=ELSEWHERE), True),
    ],
)
async def test_client_is_admitted_by_its_address(
    policy: RoutePolicy, is_admitted: bool, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=policy)

    async with await data_plane.client() as client:
        answer = await client.get("/", "X-Forwarded-For: 192.0.2.1")

    assert answer.status == (200 if is_admitted else 403)
    assert len(upstream.exchanges) == int(is_admitted)


async def test_client_that_is_denied_leaves_a_server_span_with_the_reason(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, policy=RoutePolicy(allow=ELSEWHERE))

    async with await data_plane.client() as client:
        answer = await client.get()
        assert (await client.get()).status == 403  # The connection goes on.
    segments = await data_plane.segments()

    assert "may not use this route" in answer.text
    assert [segment.flag for segment in segments] == ["denied", "denied"]
    assert all(segment.balance is None for segment in segments)


async def test_client_that_is_denied_is_sent_nowhere_and_asked_for_nothing(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    policy = RoutePolicy(
        allow=ELSEWHERE, https_only=True, redirect=Redirect("/new"), request_body_bytes_max=1
    )
    data_plane.serve(upstream, policy=policy)

    async with await data_plane.client() as client:
        await client.send(request("POST", "/", "Expect: 100-continue", "Content-Length: 9"))
        answer = await client.response()

    assert (answer.status, answer.interim) == (403, ())


async def test_ipv6_client_is_looked_up_among_ipv6_networks(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    listener = Listener(data_plane.free_port("::1").address, ListenerKind.INGRESS)
    for allow, status in ((("::1/128",), 200), (("127.0.0.0/8", "0.0.0.0/0"), 403)):
        policies = {ROUTE.policy: RoutePolicy(allow=allow)}
        served = table((listener,), (backend(upstream),), policies=policies)
        assert data_plane.publish(served) == []
        async with await Client.connect(listener.address) as client:
            assert (await client.get()).status == status


@pytest.mark.parametrize(
    "target",
    [
        "/admin",
        "/admin/",
        "/admin/x",
        "//admin",
        "/admin//x",
        "///admin///",
        "/%61dmin",
        "/%61%64%6D%69%6e/x",
        "/admin?x",
        "/admin/%2e%2e",
        "/./admin",
        "/x/../admin",
        "/x/%2e%2e/admin",
        "/x/..;/admin",
        "/x/..%2fadmin",
        "/x\\..\\admin",
        "http://shop.example/admin",
        "http://shop.example//%61dmin",
    ],
)
async def test_no_spelling_of_a_path_gets_around_its_rule(
    target: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    admin = msgspec.structs.replace(ROUTE, path="/admin", policy="shop/admin")
    served = table(
        (data_plane.ingress,),
        (backend(upstream),),
        (Host(ANY_HOST, (ROUTE, admin)),),
        policies={ROUTE.policy: RoutePolicy(), admin.policy: RoutePolicy(allow=ELSEWHERE)},
    )
    assert data_plane.publish(served) == []

    async with await data_plane.client() as client:
        answer = await client.get(target)

    assert answer.status in {400, 403}
    assert upstream.exchanges == []


@pytest.mark.parametrize(
    "target",
    [
        "/admin%2fx",
        "/%2fadmin",
        "/admin%5cx",
        "/admin;x/y",
        "/admin;a=b",
        "/;x/admin",
        "/%3bx/admin",
        "/admin%3bx%2fy",
        "/admin%3fx",
        "/admin%23x",
        "/public;/x",
    ],
)
async def test_path_that_an_endpoint_could_read_as_one_of_another_rule_is_refused(
    target: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    """nginx decodes `%2F`, servers of Java drop `;x`: `/admin%2Fx` and `/admin;x` are theirs."""
    data_plane.publish(guarded(data_plane, upstream))

    async with await data_plane.client() as client:
        assert (await client.get(target)).status == 400

    assert upstream.exchanges == []


@pytest.mark.parametrize(
    "target",
    [
        "/x%2Fadmin",
        "/x;y=admin/admin",
        "/projects/group%2Fname",
        "/search/a%3Fb%23c;d",
        "/public/a%2Fb;v=1",
        "/caf%C3%A9",
        "/files/a%2Fb",
    ],
)
async def test_encoded_separator_is_data_where_no_rule_depends_on_it(
    target: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.publish(guarded(data_plane, upstream))

    async with await data_plane.client() as client:
        assert (await client.get(target)).status == 200

    assert upstream.exchanges[0].line == f"GET {target} HTTP/1.1"


def guarded(data_plane: DataPlane, upstream: Upstream) -> RouteTable:
    """Nobody gets to `/admin`; `/public` has a policy of its own, `/files/a` none beside `/`."""
    paths = {"/admin": "shop/admin", "/public": "shop/public", "/files/a": ROUTE.policy}
    routes = [
        msgspec.structs.replace(ROUTE, path=path, policy=policy) for path, policy in paths.items()
    ]
    return table(
        (data_plane.ingress,),
        (backend(upstream),),
        (Host(ANY_HOST, (ROUTE, *routes)),),
        policies={
            ROUTE.policy: RoutePolicy(),
            "shop/admin": RoutePolicy(allow=ELSEWHERE),
            "shop/public": RoutePolicy(read_timeout_ms=1000),
        },
    )


@pytest.mark.parametrize("network", ["", "10.0.0.0/33", "shop.example", "10.0.0", "::1/200"])
def test_what_is_no_network_is_refused(network: str, data_plane: DataPlane) -> None:
    assert "allow has" in data_plane.rejected(RoutePolicy(allow=(network,))).message
    assert "deny has" in data_plane.rejected(RoutePolicy(deny=(network,))).message


async def test_route_whose_policy_was_refused_admits_nobody(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    policies = {ROUTE.policy: RoutePolicy(allow=("10.0.0.0/33",))}
    served = table((data_plane.ingress,), (backend(upstream),), policies=policies)
    assert [each.kind for each in data_plane.publish(served)] == ["policy"]

    async with await data_plane.client() as client:
        answer = await client.get()

    assert answer.status == 503
    assert upstream.exchanges == []
    assert (await data_plane.segment()).flag == "bad_policy"
