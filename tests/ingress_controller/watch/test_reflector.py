import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from eventually import until
from fake_apiserver import COLLECTIONS, NESTED, FakeApiserver, running
from k8s_objects import Object, key_of, secret, service, tracing_policy

from ingress_controller.watch.cache import Cache
from ingress_controller.watch.kubernetes import KubernetesSource
from ingress_controller.watch.reflector import ABSENT_S, Backoff, Reflector, Resource

SERVICES = Resource("Service", "", "services")


async def _no_wait(_: float) -> None:
    await asyncio.sleep(0)


@asynccontextmanager
async def reflecting(cache: Cache) -> AsyncIterator[tuple[FakeApiserver, Reflector]]:
    async with running() as (server, api):
        reflector = Reflector(api, SERVICES, "", cache, backoff=Backoff(_no_wait))
        task = asyncio.ensure_future(reflector.run())
        try:
            yield server, reflector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_each_change_reaches_the_cache_in_order() -> None:
    cache, a = Cache(), service("a")
    async with reflecting(cache) as (server, reflector):
        await server.put(a)
        await until(lambda: cache.get(key_of(a)))
        await server.put(service("a", type="ExternalName"))
        await until(lambda: cache.get(key_of(a))["spec"].get("type"))  # type: ignore[index]
        await server.delete(a)
        await until(lambda: not cache.get(key_of(a)))

        assert server.lists("Service") == 1
        assert reflector.missing == ""


async def test_a_list_of_several_pages_is_one_state() -> None:
    cache = Cache()
    async with running() as (server, api):
        for index in range(1_200):
            await server.put(service(f"s-{index}"))
        reflector = Reflector(api, SERVICES, "", cache)
        task = asyncio.ensure_future(reflector.run())
        await until(lambda: not reflector.missing)

        assert cache.object_count == 1_200
        assert server.lists("Service") == 3
        task.cancel()


async def test_a_connection_that_breaks_in_mid_line_goes_on_from_the_last_version() -> None:
    cache, a, b = Cache(), service("a"), service("b")
    async with reflecting(cache) as (server, _):
        await until(lambda: server.watches("Service"))
        await server.put(a)
        await until(lambda: cache.get(key_of(a)))
        await server.cut("Service", b'{"type": "ADDED", "obj')
        await until(lambda: len(server.watches("Service")) == 2)
        await server.put(b)
        await until(lambda: cache.get(key_of(b)))

        assert server.watches("Service") == ["100", "101"]
        assert server.lists("Service") == 1


async def test_a_bookmark_moves_the_version_that_a_watch_goes_on_from() -> None:
    async with reflecting(Cache()) as (server, _):
        await until(lambda: server.watches("Service"))
        await server.bookmark("Service")
        await server.cut("Service")
        await until(lambda: len(server.watches("Service")) == 2)

        assert server.watches("Service")[1] == "150"


async def test_after_410_a_new_list_finds_what_was_missed() -> None:
    cache, gone, new = Cache(), service("gone"), service("new")
    async with reflecting(cache) as (server, reflector):
        await server.put(gone)
        await until(lambda: cache.get(key_of(gone)))
        await server.stop()
        await server.delete(gone)
        await server.put(new)
        server.forget()
        await server.start()
        await until(lambda: cache.get(key_of(new)))

        assert cache.get(key_of(gone)) is None
        assert server.lists("Service") == 2
        assert reflector.missing == ""


async def test_while_the_server_is_away_the_cache_keeps_what_it_has() -> None:
    cache, a, b = Cache(), service("a"), service("b")
    async with reflecting(cache) as (server, reflector):
        await server.put(a)
        await until(lambda: cache.get(key_of(a)))
        await server.stop()
        assert cache.get(key_of(a)) is not None
        assert reflector.missing == ""

        await server.start()
        await server.put(b)
        await until(lambda: cache.get(key_of(b)))


async def test_a_watch_of_a_quiet_resource_is_known_to_work_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "spanway")
    async with reflecting(Cache()) as (server, _):
        await until(lambda: server.watches("Service"))
        await server.stop()
        await until(lambda: "WatchInterrupted" in caplog.text)
        await server.start()

        await until(lambda: "WatchResumed" in caplog.text)


async def test_denied_access_names_the_missing_rule_and_is_tried_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    cache, a = Cache(), service("a")
    async with running() as (server, api):
        server.denied.add(COLLECTIONS["Service"])
        await server.put(a)
        reflector = Reflector(api, SERVICES, "", cache, backoff=Backoff(_no_wait))
        task = asyncio.ensure_future(reflector.run())
        await until(lambda: server.lists("Service") > 2)
        assert reflector.missing == (
            f"services of http://127.0.0.1:{server.port} (access is denied (403): a ClusterRole"
            " needs the rule apiGroups: [''], resources: [services], verbs: [list, watch];"
            " an API server that has just started says so until it has read its rules)"
        )
        assert len(caplog.records) == 1

        server.denied.clear()
        await until(lambda: cache.get(key_of(a)))
        assert reflector.missing == ""
        task.cancel()


POLICIES = Resource(
    "TracingPolicy", "spanway.io", "tracingpolicies", version="v1alpha1", is_optional=True
)


async def test_a_kind_that_is_not_installed_is_none_without_a_word_until_it_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "spanway")
    cache, policy, waits = Cache(), tracing_policy(), []

    async def wait(delay_s: float) -> None:
        waits.append(delay_s)
        await asyncio.sleep(0)

    async with running() as (server, api):
        del server.objects[COLLECTIONS["TracingPolicy"]]
        reflector = Reflector(api, POLICIES, "", cache, backoff=Backoff(wait))
        task = asyncio.ensure_future(reflector.run())
        await until(lambda: len(waits) > 3)
        assert reflector.missing == ""
        assert set(waits) == {ABSENT_S}
        assert caplog.records == []

        server.objects[COLLECTIONS["TracingPolicy"]] = {}
        await server.put(policy)
        await until(lambda: cache.get(key_of(policy)))

        await server.cut("TracingPolicy")
        del server.objects[COLLECTIONS["TracingPolicy"]]
        await until(lambda: cache.get(key_of(policy)) is None)
        task.cancel()


async def test_a_kind_of_our_own_that_may_not_be_read_holds_nothing_up_and_is_said_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with running() as (server, api):
        server.denied.add(COLLECTIONS["TracingPolicy"])
        reflector = Reflector(api, POLICIES, "", Cache(), backoff=Backoff(_no_wait))
        task = asyncio.ensure_future(reflector.run())
        await until(lambda: server.lists("TracingPolicy") > 2)

        assert reflector.missing == ""
        assert len(caplog.records) == 1
        assert "apiGroups: ['spanway.io'], resources: [tracingpolicies]" in caplog.text
        task.cancel()


async def test_managed_fields_are_not_kept() -> None:
    cache, a = Cache(), service("a")
    a["metadata"]["managedFields"] = [{"manager": "kubectl"}]
    async with reflecting(cache) as (server, _):
        await server.put(a)
        await until(lambda: cache.get(key_of(a)))

        assert "managedFields" not in (cache.get(key_of(a)) or {})["metadata"]


@pytest.mark.parametrize("is_listed", [True, False], ids=["list", "watch"])
async def test_an_object_that_is_nested_deeply_keeps_no_other_from_being_read(
    is_listed: bool,
) -> None:
    cache, deep, other = Cache(), service("deep"), service("other")
    deep["metadata"]["managedFields"] = [{"fieldsV1": NESTED}]
    deep["metadata"]["annotations"] = {"a": NESTED}
    async with reflecting(cache) as (server, reflector):
        await until(lambda: not reflector.missing)
        for each in (deep, other):
            await server.put(each)
        if is_listed:
            server.forget()
            await server.cut("Service")
        await until(lambda: cache.get(key_of(other)))

        held = cache.get(key_of(deep))
        assert held is not None
        assert held["spec"] == {"ports": [{"port": 80}]}
        if is_listed:
            await until(lambda: server.lists("Service") == 2)
            await until(lambda: len(server.watches("Service")) > 1)
            assert cache.object_count == 2


async def test_a_source_names_everything_that_it_waits_for() -> None:
    async with running() as (server, api):
        source = KubernetesSource(api, Cache(), ("one", "two"))

        assert source.missing[0] == f"ingresses in namespace one of http://127.0.0.1:{server.port}"
        assert len(source.missing) == 11


async def test_of_secrets_only_certificates_and_labelled_authorities_are_asked_for() -> None:
    def opaque(name: str, *, label: str) -> Object:
        metadata = {"namespace": "shop", "name": name, "labels": {"spanway.io/ca": label}}
        return secret(type="Opaque", metadata=metadata)

    certificate, ca, password = secret(), opaque("ca", label="true"), opaque("pw", label="no")
    cache = Cache()
    async with running() as (server, api):
        for raw in (certificate, ca, password):
            await server.put(raw)
        for is_again in (False, True):
            source = KubernetesSource(api, cache)
            task = asyncio.ensure_future(source.run())
            await until(lambda: not source.missing)  # noqa: B023 - called before the next one
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

            # What is listed again leaves what the other part knows, and so nothing changes.
            changed = set(cache.take())
            assert changed == (set() if is_again else {key_of(certificate), key_of(ca)})
