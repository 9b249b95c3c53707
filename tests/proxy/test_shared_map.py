import random

from proxy.shared_map import SharedMap


def test_any_changes_give_what_a_dict_has_and_leave_the_copies_before_as_they_were() -> None:
    for seed in range(10):
        chance = random.Random(seed)
        shared, plain = SharedMap[str, float](), dict[str, float]()
        for _ in range(50):
            before, before_plain = shared, dict(plain)
            upsert = [(f"k{chance.randrange(300)}", chance.random()) for _ in range(5)]
            remove = [f"k{chance.randrange(300)}" for _ in range(5)]

            shared = shared.changed(upsert, remove)

            for key in remove:
                plain.pop(key, None)
            plain |= dict(upsert)
            assert (shared, len(shared), dict(shared)) == (plain, len(plain), plain), f"seed {seed}"
            assert (before, len(before)) == (before_plain, len(before_plain)), f"seed {seed}"


def test_a_change_copies_only_the_entries_near_it() -> None:
    shared = SharedMap({str(number): number for number in range(10_000)})

    changed = shared.changed([("17", 0)])

    pairs = zip(shared._shards, changed._shards, strict=True)
    assert sum(old is not new for old, new in pairs) == 1
    assert max(map(len, shared._shards)) < 100


def test_no_change_is_no_copy() -> None:
    shared = SharedMap({"a": 1})

    assert shared.changed([]) is shared
