"""The listener over real TLS; the API server behind it is a fake, and so is the engine."""

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pem
import pytest
import trustme
from eventually import DEADLINE_S, until
from fake_apiserver import FakeApiserver, running
from live_rows import engine_json, row

from ingress_controller.aggregated import requests, server
from ingress_controller.aggregated.list_options import Continue
from ingress_controller.aggregated.requests import Requests
from ingress_controller.aggregated.server import AggregatedServer
from ingress_controller.credentials import CertificateFiles
from ingress_controller.peers.live import LiveRequests
from ingress_controller.peers.peer import Identity
from ingress_controller.serving import server as bounds
from ingress_controller.serving.refusals import Reason
from proxy.live import Condition, Field, Place, Query, Row

ROOT = "/apis/live.spanway.io/v1"
NAME = "spanway-api.spanway.svc"
REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
ANN = {"X-Remote-User": "ann"}
ATTEMPT = aiohttp.ClientTimeout(total=3)
TABLE = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}


OWN = Identity("0", "spanway-1")


class FakeEngine:
    """Fakes the engine: what is live is what a test says."""

    def __init__(self) -> None:
        self.asked: list[Query] = []
        self.rows: list[Row] = [row()]

    def live(self, query: Query) -> bytes:
        self.asked.append(query)
        after = query.after
        rows = [
            r for r in self.rows if after is None or (r.start_ns, r.id) > (after.start_ns, after.id)
        ]
        return engine_json(query, *rows[: query.limit])


class Rig:
    """A running server; `client` is a front proxy, somebody else, or has no certificate."""

    def __init__(self, directory: Path, apiserver: FakeApiserver, engine: FakeEngine) -> None:
        self.directory = directory
        self.apiserver = apiserver
        self.engine = engine
        self.address = ""
        self.listening: AggregatedServer
        self.authority = trustme.CA()
        self.certificate = CertificateFiles(directory / "tls.crt", directory / "tls.key")
        self.renew_certificate()

    def resources(self) -> tuple[Requests]:
        return (Requests(LiveRequests(self.engine.live, own=OWN), "spanway-1"),)

    def renew_certificate(self) -> None:
        begin = pem.NOW - pem.DAY * (1 + len(list(self.directory.iterdir())))
        self.chain, private_key = pem.pair(NAME, begin=begin)
        (self.directory / "tls.crt").write_text(self.chain)
        (self.directory / "tls.key").write_text(private_key)

    async def publish(self, **changes: str) -> None:
        """Writes the ConfigMap by which the cluster says whom to believe."""
        data = {
            "requestheader-client-ca-file": self.authority.cert_pem.bytes().decode(),
            "requestheader-allowed-names": '["front-proxy"]',
            "requestheader-username-headers": '["X-Remote-User"]',
            "requestheader-group-headers": '["X-Remote-Group"]',
        }
        name = {"namespace": "kube-system", "name": "extension-apiserver-authentication"}
        await self.apiserver.put({"kind": "ConfigMap", "metadata": name, "data": data | changes})

    def allow(self, *, allowed: bool) -> None:
        self.apiserver.answers["POST", REVIEWS] = (201, {"status": {"allowed": allowed}})

    def client(self, name: str | None = "front-proxy") -> aiohttp.ClientSession:
        context = ssl.create_default_context(cadata=self.chain)
        context.check_hostname = False
        if name is not None:
            issued = self.authority.issue_cert("a.invalid", common_name=name)
            issued.configure_cert(context)
        return aiohttp.ClientSession(
            f"https://{self.address}", connector=aiohttp.TCPConnector(ssl=context)
        )

    async def status(self, path: str, name: str | None = "front-proxy", **headers: str) -> int:
        """The status of one request on a connection of its own; 0 if TLS refuses it, or if nobody
        takes it: a server that gives way to its successor may leave a connection as it is."""
        named = {key.replace("_", "-"): value for key, value in headers.items()} or ANN
        async with self.client(name) as client:
            try:
                async with client.get(path, headers=named, timeout=ATTEMPT) as answer:
                    return answer.status
            except (aiohttp.ClientConnectionError, TimeoutError):
                return 0


async def eventually(condition: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110 - it is behind a socket
            await asyncio.sleep(0.01)


async def until_status(rig: Rig, status: int) -> None:
    async def has_status() -> bool:
        return await rig.status(ROOT) == status

    await eventually(has_status)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running() as (apiserver, api):
        rig = Rig(tmp_path, apiserver, FakeEngine())
        rig.allow(allowed=True)
        rig.listening = AggregatedServer(api, rig.resources, rig.certificate)
        rig.address = await rig.listening.start("127.0.0.1:0")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rig.listening.run())
            yield rig
            task.cancel()
        await rig.listening.stop()


@pytest.fixture
async def believing(rig: Rig) -> Rig:
    await rig.publish()
    await until_status(rig, 200)
    return rig


@pytest.fixture
async def client(believing: Rig) -> AsyncIterator[aiohttp.ClientSession]:
    async with believing.client() as client:
        client.headers.update(ANN)
        yield client


async def json_of(client: aiohttp.ClientSession, path: str, **headers: str) -> Any:
    async with client.get(path, headers=headers) as answer:
        return await answer.json()


async def test_nobody_is_answered_until_it_is_known_whom_to_believe(rig: Rig) -> None:
    assert await rig.status(ROOT, None, X_Remote_User="ann") == 503
    assert await rig.status("/readyz", None) == 200


async def test_user_is_believed_from_the_front_proxy_only(believing: Rig) -> None:
    masters = {"X_Remote_User": "root", "X_Remote_Group": "system:masters"}

    assert await believing.status(f"{ROOT}/requests", **masters) == 200
    assert await believing.status(f"{ROOT}/requests", None, **masters) == 401
    assert await believing.status(f"{ROOT}/requests", "kubelet", **masters) == 401
    assert await believing.status(f"{ROOT}/requests", X_Remote_Group="system:masters") == 401
    believing.authority, ours = trustme.CA(), believing.authority
    assert await believing.status(f"{ROOT}/requests", **masters) == 0
    believing.authority = ours


async def test_each_refusal_is_counted_by_why_and_logged(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "spanway"):
        assert await rig.status(ROOT) == 503  # whom to believe is not known
        await rig.publish()
        await until_status(rig, 200)
        noted = rig.listening.refused[Reason.UNDECIDED]
        assert await rig.status(ROOT, None) == 401
        assert await rig.status("/readyz", None) == 200
        rig.allow(allowed=False)
        assert await rig.status(f"{ROOT}/requests") == 403
        rig.authority = trustme.CA()
        assert await rig.status(ROOT) == 0
        await until(lambda: Reason.HANDSHAKE in rig.listening.refused)

    # aiohttp tries a handshake again.
    refused = {**rig.listening.refused, Reason.HANDSHAKE: 1}
    assert refused == {
        Reason.UNDECIDED: noted,
        Reason.UNKNOWN: 1,
        Reason.NOT_ALLOWED: 1,
        Reason.HANDSHAKE: 1,
    }
    assert "ApiRefused reason=unknown count=1 client=127.0.0.1" in caplog.messages


async def test_who_may_not_is_refused_with_a_status(
    believing: Rig, client: aiohttp.ClientSession
) -> None:
    believing.allow(allowed=False)

    answer = await json_of(client, f"{ROOT}/namespaces/shop/requests")

    assert (answer["kind"], answer["reason"], answer["code"]) == ("Status", "Forbidden", 403)
    assert answer["details"] == {"group": "live.spanway.io", "kind": "requests", "name": ""}
    assert believing.engine.asked == []


@pytest.mark.parametrize(
    ("path", "verb", "namespace", "name"),
    [
        ("/requests", "list", "", ""),
        ("/requests?watch=1&resourceVersion=0&timeoutSeconds=1", "watch", "", ""),
        ("/namespaces/shop/requests", "list", "shop", ""),
        ("/namespaces/shop/requests/b7ad6b7169203331", "get", "shop", "b7ad6b7169203331"),
        ("/namespaces/shop/requests?fieldSelector=metadata.name%3Db7", "list", "shop", ""),
    ],
)
async def test_right_that_is_needed_is_that_of_the_path(
    believing: Rig,
    client: aiohttp.ClientSession,
    path: str,
    verb: str,
    namespace: str,
    name: str,
) -> None:
    async with client.get(ROOT + path) as answer:
        assert answer.status == 200

    body = next(
        body for _, asked, body in reversed(believing.apiserver.requests) if asked == REVIEWS
    )
    attributes = body["spec"]["resourceAttributes"]
    assert [attributes[key] for key in ("verb", "namespace", "name")] == [verb, namespace, name]


async def test_namespace_of_the_path_is_a_condition_whatever_is_selected(
    believing: Rig, client: aiohttp.ClientSession
) -> None:
    await json_of(client, f"{ROOT}/namespaces/shop/requests?fieldSelector=metadata.namespace%3Dx")

    assert believing.engine.asked[-1].conditions == (
        Condition(Field.NAMESPACE, "x"),
        Condition(Field.NAMESPACE, "shop"),
    )


async def test_list_goes_on_where_it_stopped_and_keeps_its_version(
    believing: Rig, client: aiohttp.ClientSession
) -> None:
    believing.engine.rows = [row(id=name, start_ns=index) for index, name in enumerate("abc")]

    first = await json_of(client, f"{ROOT}/requests?limit=2")
    token = first["metadata"]["continue"]
    second = await json_of(client, f"{ROOT}/requests?limit=2&continue={token}")

    assert [item["metadata"]["name"] for item in first["items"]] == ["a", "b"]
    assert [item["metadata"]["name"] for item in second["items"]] == ["c"]
    assert believing.engine.asked[-1].after == Place(1, "b")
    assert second["metadata"] == {"resourceVersion": first["metadata"]["resourceVersion"]}


async def test_what_another_replica_told_is_expired(client: aiohttp.ClientSession) -> None:
    other = Continue("1", {"another": Place(1, "b")}).text()

    part = await json_of(client, f"{ROOT}/requests?continue={other}")
    watch = await json_of(client, f"{ROOT}/requests?watch=1&resourceVersion=77")

    assert (part["code"], part["reason"]) == (watch["code"], watch["reason"]) == (410, "Expired")


async def events(client: aiohttp.ClientSession, query: str, count: int) -> list[Any]:
    async with client.get(f"{ROOT}/requests?watch=1&{query}", headers=TABLE) as answer:
        assert answer.status == 200
        return [json.loads(await answer.content.readline()) for _ in range(count)]


async def test_watch_begins_with_what_there_is_where_nothing_is_known(
    client: aiohttp.ClientSession,
) -> None:
    (added,) = await events(client, "resourceVersion=0", 1)

    assert added["type"] == "ADDED"
    assert added["object"]["kind"] == "Table"
    assert added["object"]["rows"][0]["object"]["metadata"]["name"] == row().id


async def test_watch_that_follows_a_list_tells_what_it_does_not_know(
    believing: Rig, client: aiohttp.ClientSession
) -> None:
    told = await json_of(client, f"{ROOT}/requests")
    believing.engine.rows = [row(id="new")]

    gone, added = await events(client, f"resourceVersion={told['metadata']['resourceVersion']}", 2)

    assert (gone["type"], added["type"]) == ("DELETED", "ADDED")


async def test_streamed_list_ends_with_a_bookmark(client: aiohttp.ClientSession) -> None:
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"

    added, mark = await events(client, query, 2)

    assert (added["type"], mark["type"]) == ("ADDED", "BOOKMARK")
    assert mark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
    assert mark["object"]["kind"] == "Request"


async def test_watches_are_bounded_and_one_that_left_makes_room(
    client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(requests, "WATCHES_MAX", 1)
    monkeypatch.setattr(requests, "WATCH_INTERVAL_S", 0.01)
    path = f"{ROOT}/requests?watch=1&resourceVersion=0"
    async with client.get(path) as watching:
        await watching.content.readline()
        assert (await json_of(client, path))["reason"] == "TooManyRequests"
        watching.close()

    async def has_room() -> bool:
        async with client.get(path) as answer:
            return answer.status == 200

    await eventually(has_room)


async def test_watch_ends_when_it_was_to(client: aiohttp.ClientSession) -> None:
    async with client.get(f"{ROOT}/requests?watch=1&timeoutSeconds=1&resourceVersion=0") as answer:
        assert (await answer.content.read()).count(b"\n") == 1


async def test_changed_authority_is_followed_and_the_old_ones_connections_end(
    believing: Rig, client: aiohttp.ClientSession
) -> None:
    path = f"{ROOT}/requests?watch=1&resourceVersion=0"
    async with client.get(path) as watching:
        await watching.content.readline()
        old, believing.authority = believing.authority, trustme.CA()
        await believing.publish()
        assert await watching.content.read() == b""  # it is told no more

    await until_status(believing, 200)
    believing.authority = old
    assert await believing.status(ROOT) == 0


async def test_renewed_certificate_is_served(
    believing: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "FILES_S", 0.01)
    await believing.publish(uid="wakes it")  # its present wait is the long one
    before = believing.chain
    believing.renew_certificate()

    assert believing.chain != before
    await until_status(believing, 200)  # trusts the new one only


async def test_what_cannot_be_used_changes_nothing_and_is_told_once(
    believing: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "spanway"):
        await believing.publish(**{"requestheader-client-ca-file": "nonsense"})
        await until(lambda: "ApiUnusable" in caplog.text)
        await believing.publish(**{"requestheader-allowed-names": "nonsense"})
        await until(lambda: "is no list of names" in caplog.text)
        assert await believing.status(ROOT) == 200
        await believing.publish()
        await until(lambda: "ApiUsable" in caplog.text)

    assert "the authority of clients cannot be used" in caplog.text
    assert caplog.text.count("ApiUnusable") == 2


async def test_certificate_that_cannot_be_used_keeps_it_from_starting(
    rig: Rig, tmp_path: Path
) -> None:
    (tmp_path / "tls.key").write_text(pem.pair("other")[1])
    async with running() as (_, api):
        listening = AggregatedServer(api, rig.resources, rig.certificate)
        with pytest.raises(ValueError, match="serving certificate cannot be used: its private key"):
            await listening.start("127.0.0.1:0")


async def test_connections_are_bounded_and_one_that_ends_makes_room(
    believing: Rig, client: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bounds, "CONNECTIONS_MAX", 1)
    async with client.get(f"{ROOT}/requests?watch=1&resourceVersion=0"):
        assert await believing.status(ROOT) == 0

    await client.close()
    await until_status(believing, 200)


async def test_next_process_listens_before_this_one_stops_and_then_has_all(
    believing: Rig,
) -> None:
    async with running() as (_, api):
        following = AggregatedServer(api, believing.resources, believing.certificate)
        async with asyncio.TaskGroup() as group:
            assert await following.start(believing.address) == believing.address
            running_ = group.create_task(following.run())
            await believing.listening.stop()

            assert await believing.status(ROOT) == 503  # it has not heard yet whom to believe
            await following.stop()
            running_.cancel()

    assert await believing.status(ROOT) == 0
    await believing.publish(uid="is no event for who has stopped")


@pytest.mark.parametrize("turns", range(5))
async def test_an_end_that_comes_with_a_change_is_an_end(believing: Rig, turns: int) -> None:
    async with running() as (_, api):
        ending = AggregatedServer(api, believing.resources, believing.certificate)
        await ending.start("127.0.0.1:0")
        running_ = asyncio.create_task(ending.run())
        await asyncio.sleep(0)  # it has begun to wait
        ending._cache.touch()
        for _ in range(turns):
            await asyncio.sleep(0)
        running_.cancel()
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait((running_,))
        await ending.stop()

    assert running_.cancelled()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/apis", "APIGroupList"),
        ("/apis/live.spanway.io", "APIGroup"),
        (ROOT, "APIResourceList"),
    ],
)
async def test_old_discovery_names_the_resource(
    client: aiohttp.ClientSession, path: str, kind: str
) -> None:
    answer = await json_of(client, path)

    assert answer["kind"] == kind
    assert "live.spanway.io/v1" in json.dumps(answer)


async def test_aggregated_discovery_is_given_to_who_asks_for_it(
    client: aiohttp.ClientSession,
) -> None:
    wanted = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    async with client.get("/apis", headers={"Accept": f"{wanted},application/json"}) as answer:
        found = await answer.json()
        etag = answer.headers["ETag"]
        assert answer.headers["Content-Type"] == wanted
    async with client.get("/apis", headers={"Accept": wanted, "If-None-Match": etag}) as answer:
        assert answer.status == 304

    (resource,) = found["items"][0]["versions"][0]["resources"]
    assert (resource["resource"], resource["scope"]) == ("requests", "Namespaced")
    assert resource["verbs"] == ["get", "list", "watch"]


async def test_openapi_describes_every_field_of_an_object(client: aiohttp.ClientSession) -> None:
    root = await json_of(client, "/openapi/v3")
    third = await json_of(client, root["paths"]["apis/live.spanway.io/v1"]["serverRelativeURL"])
    second = await json_of(client, "/openapi/v2")
    found = await json_of(client, f"{ROOT}/namespaces/shop/requests/{row().id}")

    schemas = third["components"]["schemas"]
    assert second["definitions"] == schemas
    schema = schemas["io.spanway.live.v1.Request"]
    for section in ("spec", "status"):
        assert set(found[section]) <= set(schema["properties"][section]["properties"])


async def test_whatever_cannot_be_answered_is_a_status(
    believing: Rig, client: aiohttp.ClientSession
) -> None:
    async with client.delete(f"{ROOT}/namespaces/shop/requests/a") as answer:
        assert (answer.status, (await answer.json())["reason"]) == (405, "MethodNotAllowed")
    assert (await json_of(client, f"{ROOT}/pods"))["reason"] == "NotFound"
    assert (await json_of(client, f"{ROOT}/requests?limit=x"))["reason"] == "BadRequest"
    unspoken = await json_of(client, f"{ROOT}/requests", Accept="application/cbor")
    assert unspoken["reason"] == "NotAcceptable"
    believing.engine.rows = []
    missing = await json_of(client, f"{ROOT}/namespaces/shop/requests/b7")
    assert missing["message"].startswith('requests.live.spanway.io "b7" not found: it is over')
    assert missing["details"] == {"group": "live.spanway.io", "kind": "requests", "name": "b7"}
