"""Cookie affinity: a client stays with the endpoint that its first response came from."""

from collections.abc import AsyncIterator

import pytest
from client import Client, Response
from data_plane import DataPlane
from message import response
from upstream import Upstream, says

from proxy.table import Affinity, Balance, HashKey, HashOn, Health


def cookie_of(answered: Response) -> str:
    """What the client would send back."""
    (said,) = answered.head.all("set-cookie")
    return said.partition(";")[0]


@pytest.fixture
async def pair() -> AsyncIterator[tuple[Upstream, Upstream]]:
    async with (
        Upstream(says(response(body=b"one"))) as one,
        Upstream(says(response(body=b"other"))) as other,
    ):
        yield one, other


async def test_client_with_the_cookie_stays_and_is_not_told_again(
    data_plane: DataPlane, pair: tuple[Upstream, Upstream]
) -> None:
    data_plane.serve(*pair, affinity=Affinity())
    async with await data_plane.client() as client:
        first = await client.get()
        answers = [await client.get("/", f"Cookie: a=b; {cookie_of(first)}") for _ in range(6)]

    assert {each.text for each in answers} == {first.text}
    assert [each.head.all("set-cookie") for each in answers] == [[]] * 6


async def test_clients_without_the_cookie_are_spread(
    data_plane: DataPlane, pair: tuple[Upstream, Upstream]
) -> None:
    data_plane.serve(*pair, affinity=Affinity())
    async with await data_plane.client() as client:
        answers = [await client.get() for _ in range(10)]

    assert sorted(each.text for each in answers) == ["one"] * 5 + ["other"] * 5
    assert len({cookie_of(each) for each in answers}) == 2


async def test_cookie_is_the_same_for_every_engine_and_after_a_restart(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    replica = DataPlane(workers=2)
    try:
        cookies = set()
        for engine in (data_plane, replica):
            engine.serve(upstream, affinity=Affinity())
            async with await engine.client() as client:
                cookies.add(cookie_of(await client.get()))
    finally:
        replica.close()

    assert len(cookies) == 1
    assert upstream.endpoint.address not in cookies.pop()


async def test_cookie_has_the_attributes_of_the_table(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    wanted = Affinity(cookie="stay", max_age_s=60, path="/shop", is_secure=True)
    data_plane.serve(upstream, affinity=wanted)
    async with await data_plane.client() as client:
        (said,) = (await client.get()).head.all("set-cookie")

    value, *attributes = said.split("; ")
    assert value.startswith("stay=")
    assert attributes == ["Path=/shop", "Max-Age=60", "HttpOnly", "SameSite=Lax", "Secure"]


async def test_session_cookie_is_neither_aged_nor_secure_on_a_plain_listener(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, affinity=Affinity())
    async with await data_plane.client() as client:
        (said,) = (await client.get()).head.all("set-cookie")

    assert said.split("; ")[1:] == ["Path=/", "HttpOnly", "SameSite=Lax"]


@pytest.mark.parametrize("value", ["", "0", "g" * 16, "0" * 16, "+" + "1" * 15, "f" * 400])
async def test_cookie_that_names_no_endpoint_is_set_anew(
    value: str, data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, affinity=Affinity(cookie="stay"))
    async with await data_plane.client() as client:
        answered = await client.get("/", f"Cookie: stay={value}")

    assert answered.status == 200
    assert cookie_of(answered) != f"stay={value}"


async def test_client_of_an_endpoint_that_is_gone_moves_and_is_told(
    data_plane: DataPlane, pair: tuple[Upstream, Upstream]
) -> None:
    data_plane.serve(pair[0], affinity=Affinity())
    async with await data_plane.client() as client:
        cookie = cookie_of(await client.get())
        data_plane.serve(pair[1], affinity=Affinity())
        moved = await client.get("/", f"Cookie: {cookie}")

    assert moved.text == "other"
    assert cookie_of(moved) != cookie


async def test_client_of_an_endpoint_that_refuses_gets_its_answer_elsewhere(
    data_plane: DataPlane, pair: tuple[Upstream, Upstream]
) -> None:
    one, other = pair
    data_plane.serve(one, affinity=Affinity())
    async with await data_plane.client() as client:
        cookie = cookie_of(await client.get())
        data_plane.serve(one, other, affinity=Affinity(), health=Health(errors_consecutive=1))
        await one.stop_listening()
        answers = [await client.get("/", f"Cookie: {cookie}") for _ in range(3)]

    assert [each.text for each in answers] == ["other"] * 3
    assert all(cookie_of(each) != cookie for each in answers)
    told = [each.balance for each in await data_plane.segments()]
    assert [span and span.attributes["spanway.lb.affinity"] for span in told] == [
        "none",
        "miss",
        "miss",
        "miss",
    ]


async def test_span_says_whether_the_client_stayed(
    data_plane: DataPlane, upstream: Upstream
) -> None:
    data_plane.serve(upstream, affinity=Affinity())
    async with await data_plane.client() as client:
        cookie = cookie_of(await client.get())
        await client.get("/", f"Cookie: {cookie}")

    told = [each.balance for each in await data_plane.segments()]
    assert [span and span.attributes["spanway.lb.affinity"] for span in told] == ["none", "hit"]


@pytest.mark.parametrize(
    ("key", "field"),
    [
        (HashKey(HashOn.HEADER, "X-User"), "x-user: {}"),
        (HashKey(HashOn.COOKIE, "user"), "Cookie: a=b; user={}"),
    ],
)
async def test_the_same_key_goes_to_the_same_endpoint(
    key: HashKey, field: str, data_plane: DataPlane, pair: tuple[Upstream, Upstream]
) -> None:
    data_plane.serve(*pair, balance=Balance.HASH, hash_key=key)

    async def ask(client: Client, user: int) -> str:
        return (await client.get("/", field.format(user))).text

    async with await data_plane.client() as client:
        answers = [{await ask(client, user) for _ in range(3)} for user in range(24)]

    assert all(len(each) == 1 for each in answers)
    # By chance once in 2^23 runs, if the ports were drawn anew.
    assert {"one", "other"} == set().union(*answers)
