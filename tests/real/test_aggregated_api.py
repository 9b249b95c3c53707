"""`kubectl get requests` with the real kubectl and apiserver, which asks a real `spanway run`.

The manifests are those of deploy/kubernetes and of `spanway api-service`; Spanway has no rights but
theirs. It listens on the address of a pod that the Service selects.
"""

import base64
import json
import re
import signal
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from scene.backend import Backend
from scene.http import HttpError, Json, request
from scene.kubernetes import Kubernetes
from scene.objects import ingress, ingress_class, service
from scene.pods import add_ready_pod
from scene.process import Process, SceneError, wait_until
from scene.spanway import Spanway, command

MANIFESTS = Path(__file__).parents[2] / "deploy" / "kubernetes"
ADDRESS = "192.0.2.60"
PORT = 9443
POD = "spanway-1"
OTHER_POD = "spanway-2"
DEADLINE_S = 30.0
WATCHED_DEADLINE_S = 15.0


class Api:
    """A running Spanway whose API the cluster knows, and `other`, a replica of it; `url` is where
    the first one listens itself."""

    url = f"https://{ADDRESS}:{PORT}"

    def __init__(
        self, kubernetes: Kubernetes, spanway: Spanway, other: Spanway, certificate: Path
    ) -> None:
        self.kubernetes = kubernetes
        self.spanway = spanway
        self.other = other
        self._certificate = certificate

    def kubectl(self, *arguments: str) -> str:
        return self.kubernetes.kubectl(*arguments)

    def get(self, *arguments: str) -> Json:
        """What kubectl gets, as JSON."""
        return json.loads(self.kubectl("get", "requests", "-o=json", *arguments))

    def ask_directly(self, path: str, client: tuple[Path, Path] | None, **headers: str) -> Json:
        """One request past the apiserver. Raises HttpError."""
        context = ssl.create_default_context(cafile=str(self._certificate))
        context.check_hostname = False  # it is for the Service's name
        if client is not None:
            context.load_cert_chain(*client)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return request("GET", self.url + path, headers=named, tls=context)


@pytest.fixture(scope="module")
def api(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    directory = tmp_path_factory.mktemp("aggregated")
    kubernetes.apply(
        (MANIFESTS / "rbac.yaml").read_text(),
        (MANIFESTS / "api.yaml").read_text(),
        (MANIFESTS / "peers.yaml").read_text(),
        ingress_class(),
    )
    made = command("api-service")
    assert made.code == 0, made.errors
    kubernetes.apply(made.output)
    secret = json.loads(
        kubernetes.kubectl("get", "secret", "spanway-api-tls", "-n=spanway", "-o=json")
    )
    for name in ("tls.crt", "tls.key"):
        (directory / name).write_bytes(base64.b64decode(secret["data"][name]))
    kubeconfig = directory / "kubeconfig"
    kubernetes.write_kubeconfig(
        kubeconfig, token=kubernetes.service_account_token("spanway", "spanway")
    )
    flags: list[str | Path] = ["--kubeconfig", kubeconfig, "--lease-namespace", "spanway"]
    flags += ["--store", "memory"]
    files: list[str | Path] = [
        "--api-cert",
        directory / "tls.crt",
        "--api-key",
        directory / "tls.key",
    ]
    labels = {"app.kubernetes.io/name": "spanway"}
    first = Spanway(directory, *flags, "--api", f"{ADDRESS}:{PORT}", *files)
    second = Spanway(directory / "other", *flags)
    for replica, pod in ((first, POD), (second, OTHER_POD)):
        replica.add(f"--peers={first.admin},{second.admin}", POD_NAME=pod)
    try:
        with first as spanway, second as other:
            spanway.wait_until_ready()
            other.wait_until_ready()
            add_ready_pod(kubernetes, POD, ADDRESS, labels=labels, namespace="spanway")
            api = Api(kubernetes, spanway, other, directory / "tls.crt")
            wait_until_available(api)
            yield api
    finally:
        # While nobody answers for it no namespace can be deleted.
        kubernetes.kubectl("delete", "apiservice", "v1.live.spanway.io", "--ignore-not-found")
        kubernetes.kubectl("delete", "pod", POD, "-n=spanway", "--force", "--ignore-not-found")


def wait_until_available(api: Api) -> None:
    """Returns when the cluster knows the API, and kubectl its kinds."""

    def is_available() -> bool:
        found = json.loads(api.kubectl("get", "apiservice", "v1.live.spanway.io", "-o=json"))
        conditions = found.get("status", {}).get("conditions", ())
        return any(c["type"] == "Available" and c["status"] == "True" for c in conditions)

    def said() -> str:
        shown = api.kubectl("describe", "apiservice", "v1.live.spanway.io")
        return f"the API is available:\n{shown}\n{api.spanway.tail()}"

    wait_until(is_available, said, deadline_s=DEADLINE_S)
    wait_until(
        lambda: "requests" in api.kubectl("api-resources", "--api-group=live.spanway.io"),
        said,
        deadline_s=DEADLINE_S,
    )


class Shop:
    """A namespace with a Service `web` behind `host`; its one pod is held until told otherwise."""

    def __init__(self, api: Api, namespace: str, pod: Backend) -> None:
        self.api = api
        self.namespace = namespace
        self.host = f"{namespace}.example"
        self.pod = pod
        self.of = f"--namespace={namespace}"

    @contextmanager
    def waiting(self, *paths: str, every_other: bool = False) -> Iterator[list[str]]:
        """Requests that wait for the pod meanwhile, the oldest first; gives their ids. If
        `every_other`, the second, the fourth and so on are in the other replica."""
        replicas = [self.api.spanway, self.api.other if every_other else self.api.spanway]
        with ThreadPoolExecutor(len(paths)) as clients, self.pod.held():
            answers = []
            for number, path in enumerate(paths):
                before = len(self.pod.received)
                replica = replicas[number % 2]
                answers.append(clients.submit(replica.ask, path, host=self.host))
                wait_until(
                    lambda before=before: len(self.pod.received) > before,  # type: ignore[misc]
                    f"{path} is with the pod",
                    deadline_s=DEADLINE_S,
                )
            yield [item["metadata"]["name"] for item in self.api.get(self.of)["items"]]
        assert {answer.result().status for answer in answers} == {200}


@pytest.fixture
def shop(api: Api, namespace: str) -> Iterator[Shop]:
    kubernetes = api.kubernetes
    with ExitStack() as running:
        pod = running.enter_context(Backend("web-1", "192.0.2.61", 8080))
        kubernetes.apply(
            service("web", namespace=namespace),
            ingress(f"{namespace}.example", "web", namespace=namespace),
        )
        add_ready_pod(kubernetes, "web-1", "192.0.2.61", labels={"app": "web"}, namespace=namespace)
        shop = Shop(api, namespace, pod)
        api.spanway.wait_for_answer(host=shop.host, status=200)
        yield shop
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def columns(text: str) -> list[str]:
    return re.split(r"\s{2,}", text.splitlines()[0].strip())


def test_kubectl_shows_the_requests_of_a_namespace_as_a_table(shop: Shop) -> None:
    with shop.waiting("/cart", "/checkout") as ids:
        text = shop.api.kubectl("get", "requests", shop.of)
        by_short_name = shop.api.kubectl("get", "req", shop.of, "--no-headers")

    assert columns(text) == [
        "NAME", "PHASE", "AGE", "METHOD", "REQUEST", "SERVICE", "NODE", "POD",
    ]  # fmt: skip
    first, second = text.splitlines()[1:]
    assert first.split()[:2] == [ids[0], "wait"]
    assert first.split()[3:] == [
        "GET", f"{shop.host}/cart", "web:80", "node-a", "web-1",
    ]  # fmt: skip
    assert f"{shop.host}/checkout" in second
    assert len(by_short_name.splitlines()) == 2


def test_wide_and_all_namespaces_show_client_trace_and_instance(shop: Shop) -> None:
    with shop.waiting("/cart") as (name,):
        text = shop.api.kubectl("get", "requests", "-A", "-o=wide")

    assert columns(text)[0] == "NAMESPACE"
    assert columns(text)[-6:] == ["ROUTE", "CLIENT", "STATUS", "ATTEMPTS", "TRACE", "INSTANCE"]
    (line,) = (line for line in text.splitlines() if name in line)
    assert line.split()[0] == shop.namespace
    assert line.split()[-1] == POD
    assert "127.0.0.1:" in line


def test_what_is_over_is_gone(shop: Shop) -> None:
    with shop.waiting("/cart") as (name,):
        pass

    assert shop.api.get(shop.of)["items"] == []
    with pytest.raises(SceneError, match=rf'NotFound.*"{name}" not found: it is over'):
        shop.api.kubectl("get", "request", name, shop.of)


def test_objects_say_what_is_asked_and_how_far_it_has_come(shop: Shop) -> None:
    with shop.waiting("/cart?secret=1") as (name,):
        found = json.loads(shop.api.kubectl("get", "request", name, shop.of, "-o=json"))
        text = shop.api.kubectl("describe", "request", name, shop.of)

    assert found["spec"]["path"] == "/cart"
    assert found["spec"]["ingress"] == f"{shop.namespace}/web"
    assert found["status"]["phase"] == "wait"
    assert found["status"]["instance"] == POD
    assert len(found["status"]["traceID"]) == 32
    phases = found["status"]["phasesMilliseconds"]
    assert sum(phases.values()) == pytest.approx(found["status"]["ageMilliseconds"], abs=0.01)
    assert re.search(rf"^Name: +{name}$", text, re.MULTILINE)
    assert re.search(r"^ +Phase: +wait$", text, re.MULTILINE)
    assert "secret" not in text


def test_field_selectors_choose_and_labels_are_refused(shop: Shop) -> None:
    def shown(*selectors: str) -> int:
        return len(shop.api.get(shop.of, f"--field-selector={','.join(selectors)}")["items"])

    with shop.waiting("/cart", "/cart"):
        assert shown(f"spec.service={shop.namespace}/web", "status.phase==wait") == 2
        assert shown("spec.pod!=web-1") == 0
        assert shown("spec.node=node-a", "status.phase!=wait") == 0
        assert shown(f"spec.host={shop.host}", "spec.method=GET") == 2
        with pytest.raises(SceneError, match=r'"spec.hots" is no field .* write "spec.host"'):
            shown("spec.hots=a")
        with pytest.raises(SceneError, match="live requests have no labels"):
            shop.api.get(shop.of, "-l=app=web")


def test_list_in_parts_has_each_request_once(shop: Shop) -> None:
    with shop.waiting(*(f"/{index}" for index in range(7))) as ids:
        text = shop.api.kubectl("get", "requests", shop.of, "--chunk-size=3", "-o=name")

    assert text.split() == [f"request.live.spanway.io/{name}" for name in ids]


def test_watch_tells_of_what_comes_and_what_goes(shop: Shop, tmp_path: Path) -> None:
    kubernetes = shop.api.kubernetes
    log = tmp_path / "watch.log"
    with shop.waiting("/first") as (first,):
        watching = Process(
            [
                *(kubernetes.kubectl_program, f"--kubeconfig={kubernetes.kubeconfig}"),
                *("get", "requests", shop.of, "--watch", "--output-watch-events"),
            ],
            log=log,
        )
        try:
            watching.wait_until(lambda: first in log.read_text(), deadline_s=WATCHED_DEADLINE_S)
            with ThreadPoolExecutor(1) as client:
                client.submit(shop.api.spanway.ask, "/second", host=shop.host)
                watching.wait_until(
                    lambda: "/second" in log.read_text(), deadline_s=WATCHED_DEADLINE_S
                )
                shop.pod.release()
            watching.wait_until(
                lambda: log.read_text().count("DELETED") == 2, deadline_s=WATCHED_DEADLINE_S
            )
        finally:
            watching.stop()

    assert len([line for line in log.read_text().splitlines() if "ADDED" in line]) == 2
    assert re.search(rf"^DELETED +{first} ", log.read_text(), re.MULTILINE)


def test_explain_says_what_fields_mean(api: Api) -> None:
    text = api.kubectl("explain", "request")
    field = api.kubectl("explain", "requests.status.phase")

    assert "KIND:       Request" in text
    assert "inside Spanway now" in text
    assert "What it waits for now: head, route, queue, connect, send, wait, stream," in field


def test_nodes_are_the_clusters_and_need_a_right_of_the_whole_cluster(shop: Shop) -> None:
    def shown() -> str:
        return shop.api.kubectl("get", "nodeperformances")

    text = wait_until(
        lambda: text if "node-a" in (text := shown()) else None,
        lambda: f"the node that answered is shown:\n{shown()}",
        deadline_s=DEADLINE_S,
    )

    assert columns(text)[:5] == ["NAME", "OUTLIER", "REQUESTS", "ERRORS", "P99"]
    assert re.search(r"^node-a +no +\d+ +0 +\d\S* ", text, re.MULTILINE)
    found = json.loads(shop.api.kubectl("get", "nodeperf", "node-a", "-o=json"))
    assert found["status"]["pods"] >= 1
    shop.api.kubectl("create", "rolebinding", "eve", "--clusterrole=view", "--user=eve", shop.of)
    with pytest.raises(SceneError, match=r'Forbidden.*"eve" cannot list resource "nodeperf'):
        shop.api.kubectl("get", "nodeperformances", "--as=eve")


def test_rights_are_those_that_rbac_gives(shop: Shop) -> None:
    of_alice = ("--as=alice", "--as-group=staff")
    shop.api.kubectl(
        "create", "rolebinding", "alice", "--clusterrole=view", "--user=alice", shop.of
    )
    with shop.waiting("/cart"):
        allowed = wait_until(
            lambda: text_or_none(shop.api, "get", "requests", shop.of, *of_alice),
            "alice may see her namespace",
            deadline_s=DEADLINE_S,
        )
        assert f"{shop.host}/cart" in allowed
        with pytest.raises(SceneError, match=r'Forbidden.*"alice" cannot list resource "requests"'):
            shop.api.kubectl("get", "requests", "-A", *of_alice)
        with pytest.raises(SceneError, match=r'Forbidden.*"bob" cannot list resource "requests"'):
            shop.api.kubectl("get", "requests", shop.of, "--as=bob")


def text_or_none(api: Api, *arguments: str) -> str | None:
    try:
        return api.kubectl(*arguments)
    except SceneError:
        return None


def test_spanway_asks_for_rights_itself(shop: Shop) -> None:
    front_proxy = shop.api.kubernetes.front_proxy
    client = (front_proxy.chain, front_proxy.private_key)
    path = f"/apis/live.spanway.io/v1/namespaces/{shop.namespace}/requests"

    with pytest.raises(HttpError, match=r'User \\"mallory\\" cannot list') as refused:
        shop.api.ask_directly(path, client, X_Remote_User="mallory")

    assert refused.value.status == 403
    masters = shop.api.ask_directly(
        path, client, X_Remote_User="root", X_Remote_Group="system:masters"
    )
    assert masters["kind"] == "RequestList"


def test_name_in_a_header_is_believed_from_the_front_proxy_only(api: Api) -> None:
    path = "/apis/live.spanway.io/v1/requests"
    forged = {"X_Remote_User": "root", "X_Remote_Group": "system:masters"}

    with pytest.raises(HttpError) as without:
        api.ask_directly(path, None, **forged)
    with pytest.raises(HttpError) as by_another:
        api.ask_directly(path, api.kubernetes.front_proxy.issue("kubelet"), **forged)

    assert (without.value.status, by_another.value.status) == (401, 401)
    assert api.ask_directly("/healthz", None) == "ok"


def test_requests_are_served_without_the_apiserver_and_shown_again_with_it(shop: Shop) -> None:
    kubernetes = shop.api.kubernetes
    kubernetes.kill_apiserver()
    try:
        assert shop.api.spanway.ask(host=shop.host).status == 200
        assert shop.api.ask_directly("/livez", None) == "ok"
    finally:
        kubernetes.start_apiserver()
    wait_until_available(shop.api)

    with shop.waiting("/cart"):
        assert f"{shop.host}/cart" in shop.api.kubectl("get", "requests", shop.of)


def test_requests_of_all_replicas_are_listed_described_and_watched(
    shop: Shop, tmp_path: Path
) -> None:
    kubernetes = shop.api.kubernetes
    shop.api.other.wait_for_answer(host=shop.host, status=200)
    paths = [f"/{index}" for index in range(5)]
    log = tmp_path / "watch.log"
    with shop.waiting(*paths, every_other=True) as ids:
        wide = shop.api.kubectl("get", "requests", shop.of, "-o=wide", "--no-headers")
        in_parts = shop.api.kubectl("get", "requests", shop.of, "--chunk-size=2", "-o=name")
        second = json.loads(shop.api.kubectl("get", "request", ids[1], shop.of, "-o=json"))
        watching = Process(
            [
                *(kubernetes.kubectl_program, f"--kubeconfig={kubernetes.kubeconfig}"),
                *("get", "requests", shop.of, "--watch", "--output-watch-events"),
            ],
            log=log,
        )
        watching.wait_until(lambda: ids[4] in log.read_text(), deadline_s=WATCHED_DEADLINE_S)
    watching.wait_until(
        lambda: log.read_text().count("DELETED") == len(ids), deadline_s=WATCHED_DEADLINE_S
    )
    watching.stop()

    lines = [line.split() for line in wide.splitlines()]
    assert [line[0] for line in lines] == ids
    assert [line[-1] for line in lines] == [POD, OTHER_POD, POD, OTHER_POD, POD]
    assert in_parts.split() == [f"request.live.spanway.io/{name}" for name in ids]
    assert (second["spec"]["path"], second["status"]["instance"]) == ("/1", OTHER_POD)


def test_kubectl_warns_of_a_replica_that_is_dead(shop: Shop) -> None:
    kubernetes = shop.api.kubernetes
    command_ = [str(kubernetes.kubectl_program), f"--kubeconfig={kubernetes.kubeconfig}", "get"]
    shop.api.kubectl("get", "requests", "-A")  # from now on its name is known
    shop.api.other.process.stop(signal.SIGKILL)
    warning = (
        f"Warning: What replica {OTHER_POD} ({shop.api.other.admin}) knows is missing:"
        " connection refused.\n"
    )

    with shop.waiting("/cart") as (name,):
        requests, nodes = [
            subprocess.run(command_ + of, capture_output=True, text=True, check=True)
            for of in (["requests", shop.of], ["nodeperformances"])
        ]

    assert name in requests.stdout
    assert (requests.stderr, nodes.stderr) == (warning, warning)
