import msgspec
import pytest
from live_rows import engine_json, live, row

from ingress_controller.peers.live import ForgottenError, LiveRequests, merged
from ingress_controller.peers.peer import Identity, Peer
from ingress_controller.peers.peers import Asked, Told
from ingress_controller.peers.questions import LiveAsked, Places
from proxy.live import GROUPS_MAX, Group, Live, Phase, Place, Query, Sort

PEERS = (Peer("192.0.2.2:9901", "b"), Peer("192.0.2.3:9901", error="it is gone"))


def test_counts_are_added_and_rows_are_in_one_order_and_say_where_they_are() -> None:
    one = live(row(id="1", age_us=30, instance="a"), row(id="2", age_us=10, instance="a"))
    other = live(row(id="3", age_us=20, instance="b"))

    found = merged(Query(limit=2), (Told("a", one), Told("b", other)), PEERS)

    assert (found.live, found.matched, found.phases) == (3, 3, {Phase.WAIT: 3})
    assert [(one.id, one.instance) for one in found.requests] == [("1", "a"), ("3", "b")]
    assert found.services == (Group("shop/api:80", 3, 1_970_030, {Phase.WAIT: 3}),)
    assert found.peers == PEERS


class Engine:
    """Fakes an engine with requests that began so long ago; its own clock began with it."""

    def __init__(self, ages_us: dict[str, int], started_us: int) -> None:
        self._rows = sorted(
            (row(id=id_, age_us=us, start_ns=started_us - us) for id_, us in ages_us.items()),
            key=lambda one: one.start_ns,
        )

    def live(self, query: Query) -> bytes:
        after = query.after or Place(-1, "")
        rows = [one for one in self._rows if (one.start_ns, one.id) > (after.start_ns, after.id)]
        return engine_json(query, *rows[: query.limit])


async def test_a_list_in_parts_has_each_request_of_all_replicas_once_the_oldest_first() -> None:
    one = Engine({"a": 90, "c": 70, "e": 50, "f": 40}, started_us=1_000)
    other = Engine({"b": 80, "d": 60, "g": 30}, started_us=100)  # it began later
    replicas = [
        LiveRequests(of.live, own=Identity(id_, id_)) for of, id_ in ((one, "1"), (other, "2"))
    ]
    replicas[0]._peers = FakePeers(replicas[1], "2")  # type: ignore[assignment]
    replicas[1]._peers = FakePeers(replicas[0], "1")  # type: ignore[assignment]

    places: Places = {}
    parts = []
    for number in range(4):
        part = await replicas[number % 2].part(Query(limit=2), places)
        places = part.places
        parts.append([(found.id, found.instance) for found in part.live.requests])

    assert parts == [
        [("a", "1"), ("b", "2")],
        [("c", "1"), ("d", "2")],
        [("e", "1"), ("f", "1")],
        [("g", "2")],
    ]
    with pytest.raises(ForgottenError):
        await replicas[0].part(Query(limit=2), {"3": None})


@pytest.mark.parametrize("said", ["", "1"])
async def test_rows_are_said_to_be_in_the_replica_that_tells_them_whatever_it_says(
    said: str,
) -> None:
    one, other = Engine({"a": 90}, started_us=100), Engine({"b": 80}, started_us=100)
    live_ = LiveRequests(one.live, own=Identity("1", "1"))
    live_._peers = FakePeers(  # type: ignore[assignment]
        LiveRequests(other.live, own=Identity("2", said)), "2"
    )

    found = await live_.ask(Query())

    assert [(row.id, row.instance) for row in found.requests] == [("a", "1"), ("b", "2")]


class FakePeers:
    """Fakes the way to another replica; test_peers.py has the real one."""

    def __init__(self, other: LiveRequests, id_: str) -> None:
        self._other, self._id = other, id_

    async def ask(self, asked: LiveAsked, *_: object) -> Asked[Live]:
        told = await self._other.ask_own(asked.query_of(self._id))
        answer = msgspec.json.decode(told, type=Live)
        return Asked((Told(self._id, answer, self._id),), (Peer("192.0.2.2:9901", self._id),))


def test_order_is_what_was_asked_for() -> None:
    lives = [Told("a", live(row(id=str(n), sent_bytes=n))) for n in (2, 3, 1)]

    found = merged(Query(sort=Sort.SENT, ascending=True), lives, ())

    assert [one.id for one in found.requests] == ["1", "2", "3"]


def test_groups_of_one_name_are_one_and_their_number_is_bounded() -> None:
    def of(count: int, *names: str) -> Live:
        groups = tuple(Group(name, count, count, {Phase.QUEUE: count}) for name in names)
        return Live(0, 0, {}, groups, (), (), (), 0)

    many = of(1, *(f"route-{n}" for n in range(GROUPS_MAX)))
    found = merged(Query(), [Told("a", many), Told("b", of(2, "route-7", "other"))], ())

    assert len(found.routes) == GROUPS_MAX
    assert found.routes[0] == Group("route-7", 3, 2, {Phase.QUEUE: 3})
    assert found.routes[1].name == "other"
