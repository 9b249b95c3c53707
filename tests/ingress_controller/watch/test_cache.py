import msgspec
from k8s_objects import ingress, key_of, service

from ingress_controller.watch.cache import Cache


def test_changes_are_taken_once_and_only_in_their_newest_version() -> None:
    cache, a = Cache(), service("a")
    newer = service("a", type="ExternalName")
    cache.put(key_of(a), a)
    cache.put(key_of(a), newer)

    assert cache.take() == {key_of(a): newer}
    assert cache.take() == {}


def test_an_equal_version_is_no_change() -> None:
    cache = Cache()
    cache.put(key_of(service()), service())
    cache.take()

    cache.put(key_of(service()), service())

    assert cache.take() == {}


def test_replacing_a_kind_removes_what_is_not_there_and_touches_no_other_kind() -> None:
    cache, a, b, web = Cache(), service("a"), service("b"), ingress()
    for raw in (a, b, web):
        cache.put(key_of(raw), raw)
    cache.take()

    cache.replace({key_of(b): b}, kind="Service")

    assert cache.take() == {key_of(a): None}
    assert cache.get(key_of(web)) is not None


def test_what_does_not_fit_is_refused_and_counted_and_fits_when_there_is_room() -> None:
    cache, a, b = Cache(objects_max=1), service("a"), service("b")
    cache.put(key_of(a), a)
    cache.put(key_of(b), b)
    assert (cache.object_count, cache.refused_count) == (1, 1)

    cache.remove(key_of(a))
    cache.put(key_of(b), b)

    assert (cache.object_count, cache.refused_count) == (1, 0)


def test_an_object_held_as_json_text_is_parsed_for_who_asks() -> None:
    cache, a = Cache(), service("a")
    text = msgspec.json.encode(a)
    cache.put(key_of(a), text)

    assert cache.get(key_of(a)) == a
    assert cache.held(key_of(a)) is text
    assert cache.take() == {key_of(a): text}


def test_an_equal_text_is_no_change() -> None:
    cache, a = Cache(), service("a")
    cache.put(key_of(a), msgspec.json.encode(a))
    cache.take()

    cache.put(key_of(a), msgspec.json.encode(a))

    assert cache.take() == {}
