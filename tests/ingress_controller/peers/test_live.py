from live_rows import live, row

from ingress_controller.peers.live import merged
from ingress_controller.peers.peer import Peer
from ingress_controller.peers.peers import Told
from proxy.live import GROUPS_MAX, Group, Live, Phase, Query, Sort

PEERS = (Peer("192.0.2.2:9901", "b"), Peer("192.0.2.3:9901", error="it is gone"))


def test_counts_are_added_and_rows_are_in_one_order_and_say_where_they_are() -> None:
    one = live(row(id="1", age_us=30), row(id="2", age_us=10))
    other = live(row(id="3", age_us=20))

    found = merged(Query(limit=2), (Told("a", one), Told("b", other)), PEERS)

    assert (found.live, found.matched, found.phases) == (3, 3, {Phase.WAIT: 3})
    assert [(one.id, one.instance) for one in found.requests] == [("1", "a"), ("3", "b")]
    assert found.services == (Group("shop/api:80", 3, 1_970_030, {Phase.WAIT: 3}),)
    assert found.peers == PEERS


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
