"""`spanway run` on a real Kubernetes API, with no rights but those of deploy/kubernetes/rbac.yaml.

The apiserver is real, and so is the controller that makes EndpointSlices of pods. The pods are
small backends that listen on their addresses.
"""

import json
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import trustme
from scene.backend import Backend
from scene.client import Traffic
from scene.kubernetes import Kubernetes
from scene.namespace import free_port
from scene.objects import ingress, ingress_class, service
from scene.pods import add_ready_pod, remove_pod, set_pod_status
from scene.process import SceneError, wait_until
from scene.spanway import Spanway

RBAC = Path(__file__).parents[2] / "deploy" / "kubernetes" / "rbac.yaml"
PUBLISHED = "198.51.100.7"
OTHER_PORT = 9090
STATUS_DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def account(kubernetes: Kubernetes) -> str:
    """The token of the documented service account; its rights and the class are there, too."""
    kubernetes.apply(RBAC.read_text(), ingress_class())
    return kubernetes.service_account_token("spanway", "spanway")


@pytest.fixture(scope="module")
def spanway(
    kubernetes: Kubernetes, account: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Spanway]:
    """One that follows the whole cluster, for all tests here; each has a host of its own."""
    directory = tmp_path_factory.mktemp("spanway")
    kubeconfig = directory / "kubeconfig"
    kubernetes.write_kubeconfig(kubeconfig, token=account)
    flags = ["--lease-namespace", "spanway", "--publish-address", PUBLISHED]
    with Spanway(directory, "--kubeconfig", kubeconfig, *flags) as running:
        yield running.wait_until_ready()


class Shop:
    """One namespace with a Service `web`, and its pods. `host` is only this shop's."""

    def __init__(self, kubernetes: Kubernetes, namespace: str, running: ExitStack) -> None:
        self.kubernetes = kubernetes
        self.namespace = namespace
        self.host = f"{namespace}.example"
        self.backend = f"{namespace}/web:80"
        self._running = running

    def open(self) -> None:
        """`web` behind an Ingress at `host`, with one pod, `web-1`."""
        self.apply(service("web", namespace=self.namespace), self.ingress())
        self.add_pod("web-1", "192.0.2.11")

    def ingress(self, **fields: object) -> dict[str, object]:
        of = {"name": "web", "namespace": self.namespace, **fields}
        return ingress(self.host, "web", **of)  # type: ignore[arg-type, no-any-return]

    def apply(self, *objects: object) -> None:
        self.kubernetes.apply(*objects)

    def add_pod(self, name: str, address: str, port: int = 8080) -> Backend:
        """A ready pod of `web` that answers with its name."""
        pod = self._running.enter_context(Backend(name, address, port))
        add_ready_pod(
            self.kubernetes, name, address, labels={"app": "web"}, namespace=self.namespace
        )
        return pod

    def remove_pod(self, name: str) -> None:
        remove_pod(self.kubernetes, name, namespace=self.namespace)

    def set_ready(self, name: str, address: str, *, ready: bool) -> None:
        set_pod_status(
            self.kubernetes, name, address,
            namespace=self.namespace, ready="True" if ready else "False",
        )  # fmt: skip

    def kubectl(self, *arguments: str) -> str:
        return self.kubernetes.kubectl(*arguments, f"--namespace={self.namespace}")

    def shown_addresses(self) -> list[dict[str, str]]:
        """`status.loadBalancer.ingress` of the Ingress."""
        found = json.loads(self.kubectl("get", "ingress", "web", "-o=json"))
        return found["status"]["loadBalancer"].get("ingress", [])  # type: ignore[no-any-return]


@pytest.fixture
def shop(kubernetes: Kubernetes, namespace: str) -> Iterator[Shop]:
    """Nothing in it is there yet. Its namespace is deleted afterwards."""
    with ExitStack() as running:
        yield Shop(kubernetes, namespace, running)
        kubernetes.kubectl("delete", "namespace", namespace, "--wait=false")


def test_request_reaches_the_pod_behind_the_ingress(spanway: Spanway, shop: Shop) -> None:
    shop.open()

    answer = spanway.wait_for_answer("/any", host=shop.host, status=200)

    assert answer.text == "web-1"
    assert spanway.ask(host="elsewhere.example").status == 404


def test_object_that_is_nested_deeply_keeps_no_other_from_being_served(
    spanway: Spanway, shop: Shop, tmp_path: Path
) -> None:
    """The API server takes 10,000 levels, from everybody who may write an Ingress."""
    deep = shop.ingress(name="deep", path="/deep")
    fields = {"manager": "test", "operation": "Update", "apiVersion": deep["apiVersion"]}
    fields |= {"fieldsType": "FieldsV1", "fieldsV1": "<nested>"}
    deep["metadata"]["managedFields"] = [fields]  # type: ignore[index]
    nested = '{"f:a":' * 4_900 + "{}" + "}" * 4_900
    written = tmp_path / "deep.json"
    written.write_text(json.dumps(deep).replace('"<nested>"', nested))
    path = f"/apis/networking.k8s.io/v1/namespaces/{shop.namespace}/ingresses"

    stored = shop.kubernetes.kubectl("create", "--raw", path, "-f", str(written))
    shop.open()

    assert stored.count("f:a") > 4_000
    assert spanway.wait_for_answer("/deep", host=shop.host, status=200).text == "web-1"


def test_scaling_is_followed(spanway: Spanway, shop: Shop) -> None:
    shop.open()
    shop.add_pod("web-2", "192.0.2.12")
    shop.add_pod("web-3", "192.0.2.13")
    spanway.wait_for_endpoints(shop.backend, {"192.0.2.11", "192.0.2.12", "192.0.2.13"})
    assert {spanway.ask(host=shop.host).text for _ in range(40)} == {"web-1", "web-2", "web-3"}

    shop.remove_pod("web-1")
    shop.remove_pod("web-3")

    spanway.wait_for_endpoints(shop.backend, {"192.0.2.12"})
    assert {spanway.ask(host=shop.host).text for _ in range(10)} == {"web-2"}


def test_service_without_a_ready_pod_is_503_until_one_is(spanway: Spanway, shop: Shop) -> None:
    shop.open()
    spanway.wait_for_answer(host=shop.host, status=200)

    shop.set_ready("web-1", "192.0.2.11", ready=False)
    answer = spanway.wait_for_answer(host=shop.host, status=503)
    assert "trace-id: " in answer.text

    shop.set_ready("web-1", "192.0.2.11", ready=True)
    spanway.wait_for_answer(host=shop.host, status=200)


def test_changed_path_and_host_are_followed(spanway: Spanway, shop: Shop) -> None:
    shop.open()
    spanway.wait_for_answer(host=shop.host, status=200)

    shop.apply(shop.ingress(path="/cart"))
    spanway.wait_for_answer(host=shop.host, status=404)
    assert spanway.ask("/cart/1", host=shop.host).text == "web-1"

    moved = f"moved.{shop.host}"
    shop.apply(ingress(moved, "web", namespace=shop.namespace))
    spanway.wait_for_answer(host=moved, status=200)
    assert spanway.ask("/cart/1", host=shop.host).status == 404


def test_deleted_ingress_is_followed(spanway: Spanway, shop: Shop) -> None:
    shop.open()
    spanway.wait_for_answer(host=shop.host, status=200)

    shop.kubectl("delete", "ingress", "web")

    spanway.wait_for_answer(host=shop.host, status=404)


def test_port_may_be_named(spanway: Spanway, shop: Shop) -> None:
    ports = {"metrics": (80, OTHER_PORT), "http": (8000, 8080)}
    shop.apply(service("web", namespace=shop.namespace, ports=ports), shop.ingress(port="metrics"))
    with Backend("metrics", "192.0.2.11", OTHER_PORT):
        shop.add_pod("web-1", "192.0.2.11")
        assert spanway.wait_for_answer(host=shop.host, status=200).text == "metrics"

        shop.apply(shop.ingress(port="http"))
        spanway.wait_for_answer(host=shop.host, status=200, text="web-1")


def test_ingress_without_class_is_served_while_ours_is_the_default(
    spanway: Spanway, shop: Shop
) -> None:
    default = "ingressclass.kubernetes.io/is-default-class"
    shop.open()
    shop.kubectl("delete", "ingress", "web")
    # The admission plugin would write the default class into a new Ingress, so that it is no
    # Ingress without class: this one is older than the default.
    shop.apply(shop.ingress(class_name=None))
    spanway.wait_for_endpoints(shop.backend, set())
    assert spanway.ask(host=shop.host).status == 404

    shop.kubernetes.kubectl("annotate", "ingressclass", "spanway", f"{default}=true")
    try:
        spanway.wait_for_answer(host=shop.host, status=200)
    finally:
        shop.kubernetes.kubectl("annotate", "ingressclass", "spanway", f"{default}-")

    spanway.wait_for_answer(host=shop.host, status=404)


def test_new_ingress_without_class_gets_the_default_class(spanway: Spanway, shop: Shop) -> None:
    default = "ingressclass.kubernetes.io/is-default-class"
    shop.kubernetes.kubectl("annotate", "ingressclass", "spanway", f"{default}=true")
    try:
        shop.apply(service("web", namespace=shop.namespace), shop.ingress(class_name=None))
    finally:
        shop.kubernetes.kubectl("annotate", "ingressclass", "spanway", f"{default}-")
    shop.add_pod("web-1", "192.0.2.11")

    spanway.wait_for_answer(host=shop.host, status=200, text="web-1")


def test_ingress_of_another_class_is_left_alone(spanway: Spanway, shop: Shop) -> None:
    other = ingress_class("other", controller="example.com/other")
    shop.apply(other, service("web", namespace=shop.namespace), shop.ingress(class_name="other"))
    shop.add_pod("web-1", "192.0.2.11")
    ours = ingress(f"ours.{shop.host}", "web", name="ours", namespace=shop.namespace)
    shop.apply(ours)
    spanway.wait_for_answer(host=f"ours.{shop.host}", status=200)

    assert spanway.ask(host=shop.host).status == 404
    assert shop.shown_addresses() == []


def test_status_shows_the_published_address_while_the_ingress_is_ours(
    spanway: Spanway, shop: Shop
) -> None:
    shop.open()
    wait_until(
        lambda: shop.shown_addresses() == [{"ip": PUBLISHED}],
        lambda: f"the status shows {PUBLISHED}: {shop.shown_addresses()}\n{spanway.tail()}",
        deadline_s=STATUS_DEADLINE_S,
    )
    assert PUBLISHED in shop.kubectl("get", "ingress", "web")

    shop.apply(
        ingress_class("other", controller="example.com/other"), shop.ingress(class_name="other")
    )

    wait_until(
        lambda: shop.shown_addresses() == [],
        lambda: f"the status shows nothing: {shop.shown_addresses()}\n{spanway.tail()}",
        deadline_s=STATUS_DEADLINE_S,
    )


def test_problem_is_shown_by_kubectl_describe(spanway: Spanway, shop: Shop) -> None:
    shop.apply(shop.ingress())

    described = wait_until(
        lambda: text if "NotServed" in (text := shop.kubectl("describe", "ingress", "web")) else "",
        lambda: f"there is an Event\n{spanway.tail()}",
        deadline_s=STATUS_DEADLINE_S,
    )

    field = "spec.rules[0].http.paths[0].backend.service.name"
    missing = f"Service {shop.namespace}/web does not exist."
    assert f"{field}: {missing} Create it, or correct the name." in described
    assert spanway.wait_for_problem(missing)["field"] == field


def test_pod_that_leaves_first_and_closes_then_costs_no_request(
    spanway: Spanway, shop: Shop
) -> None:
    shop.open()
    leaving = shop.add_pod("web-2", "192.0.2.12")
    spanway.wait_for_endpoints(shop.backend, {"192.0.2.11", "192.0.2.12"})
    with Traffic(spanway.http, host=shop.host) as traffic:
        traffic.wait_for_more()

        shop.remove_pod("web-2")
        spanway.wait_for_endpoints(shop.backend, {"192.0.2.11"})
        traffic.wait_for_more()  # what had been picked for it before is answered by now
        leaving.close()
        traffic.wait_for_more()

    assert traffic.failures == []
    assert set(traffic.answered_by) == {"web-1", "web-2"}
    assert set(traffic.answered_by[-20:]) == {"web-1"}


def test_pod_that_is_killed_costs_no_request_before_kubernetes_knows(
    spanway: Spanway, shop: Shop
) -> None:
    shop.open()
    killed = shop.add_pod("web-2", "192.0.2.12")
    spanway.wait_for_endpoints(shop.backend, {"192.0.2.11", "192.0.2.12"})
    with Traffic(spanway.http, host=shop.host) as traffic:
        traffic.wait_for_more()

        killed.close()
        traffic.wait_for_more()
        shop.remove_pod("web-2")
        spanway.wait_for_endpoints(shop.backend, {"192.0.2.11"})
        traffic.wait_for_more()

    assert traffic.failures == []
    assert set(traffic.answered_by) == {"web-1", "web-2"}


@pytest.mark.parametrize(
    "end", [Kubernetes.stop_apiserver, Kubernetes.kill_apiserver], ids=["stopped", "killed"]
)
def test_requests_are_served_while_the_apiserver_is_away_and_changes_followed_after(
    spanway: Spanway, shop: Shop, end: Callable[[Kubernetes], None]
) -> None:
    shop.open()
    spanway.wait_for_answer(host=shop.host, status=200)
    with ExitStack() as away, Traffic(spanway.http, host=shop.host) as traffic:
        traffic.wait_for_more()

        away.callback(shop.kubernetes.start_apiserver)
        end(shop.kubernetes)
        traffic.wait_for_more()
        assert spanway.readiness == (200, "ok\n")
        away.close()

        shop.add_pod("web-2", "192.0.2.12")
        spanway.wait_for_endpoints(shop.backend, {"192.0.2.11", "192.0.2.12"})
        shop.remove_pod("web-1")
        spanway.wait_for_endpoints(shop.backend, {"192.0.2.12"})
        traffic.wait_for_more()
    assert traffic.failures == []
    assert set(traffic.answered_by) == {"web-1", "web-2"}
    later = ingress(f"later.{shop.host}", "web", name="later", namespace=shop.namespace)
    shop.apply(later)
    spanway.wait_for_answer(host=f"later.{shop.host}", status=200, text="web-2")


def test_documented_rights_are_enough(
    kubernetes: Kubernetes, account: str, shop: Shop, tmp_path: Path
) -> None:
    kubernetes.write_kubeconfig(tmp_path / "kubeconfig", token=account)
    flags = ["--lease-namespace", "spanway", "--publish-address", PUBLISHED]
    # A class of its own is a Lease of its own: it writes to Kubernetes whoever else does.
    flags += ["--ingress-class", shop.namespace]
    shop.apply(ingress_class(shop.namespace), shop.ingress(class_name=shop.namespace))
    with Spanway(tmp_path, "--kubeconfig", tmp_path / "kubeconfig", *flags) as spanway:
        spanway.wait_until_ready()

        wait_until(shop.shown_addresses, "the status is written", deadline_s=STATUS_DEADLINE_S)
        wait_until(
            lambda: "NotServed" in shop.kubectl("describe", "ingress", "web"),
            "an Event is written",
            deadline_s=STATUS_DEADLINE_S,
        )
        assert spanway.stop() == 0

        assert "denied" not in spanway.said
        assert "forbidden" not in spanway.said
    with pytest.raises(SceneError):  # which exit code 1 becomes
        kubernetes.kubectl(
            "auth", "can-i", "list", "pods", "--as=system:serviceaccount:spanway:spanway"
        )
    kubernetes.kubectl("delete", "ingressclass", shop.namespace)


@pytest.mark.usefixtures("account")
def test_certificate_of_a_secret_is_shown_and_so_is_its_successor(
    kubernetes: Kubernetes, account: str, shop: Shop, tmp_path: Path
) -> None:
    kubeconfig, https = tmp_path / "kubeconfig", f"127.0.0.1:{free_port()}"
    kubernetes.write_kubeconfig(kubeconfig, token=account)
    shop.open()
    tls = {"tls": [{"hosts": [shop.host], "secretName": "cert"}]}
    with Spanway(tmp_path, "--kubeconfig", kubeconfig, "--https", https) as spanway:
        spanway.wait_until_ready()
        for _ in ("first", "renewed"):
            leaf = trustme.CA().issue_cert(shop.host)
            shop.apply(tls_secret("cert", shop.namespace, leaf))
            shop.apply(shop.ingress() | {"spec": shop.ingress()["spec"] | tls})  # type: ignore[operator]
            chain = leaf.cert_chain_pems[0].bytes().decode()

            spanway.process.wait_until(partial(shows, https, shop.host, chain))
        assert spanway.ask(host=shop.host).status == 308


def tls_secret(name: str, namespace: str, leaf: trustme.LeafCert) -> dict[str, object]:
    chain, key = leaf.cert_chain_pems[0].bytes(), leaf.private_key_pem.bytes()
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": name, "namespace": namespace},
        "stringData": {"tls.crt": chain.decode(), "tls.key": key.decode()},
    }


def shows(address: str, host: str, chain: str) -> bool:
    """Whether a client who asks for `host` is shown this certificate, PEM."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    ip, _, port = address.rpartition(":")
    connecting = socket.create_connection((ip, int(port)), timeout=5)
    with connecting, context.wrap_socket(connecting, server_hostname=host) as stream:
        return ssl.DER_cert_to_PEM_cert(stream.getpeercert(binary_form=True) or b"") == chain


def test_missing_right_is_named_until_it_is_granted(
    kubernetes: Kubernetes, shop: Shop, tmp_path: Path
) -> None:
    shop.kubectl("create", "serviceaccount", "poor")
    kubeconfig = tmp_path / "kubeconfig"
    token = kubernetes.service_account_token(shop.namespace, "poor")
    kubernetes.write_kubeconfig(kubeconfig, token=token)
    flags = ("--kubeconfig", kubeconfig, "--lease-namespace", shop.namespace)
    with Spanway(tmp_path, *flags) as spanway:
        status, text = spanway.process.wait_until(
            lambda: found if (found := spanway.readiness)[1].count("403") == 5 else None
        )
        assert status == 503
        rule = "apiGroups: ['discovery.k8s.io'], resources: [endpointslices], verbs: [list, watch]"
        assert f"access is denied (403): a ClusterRole needs the rule {rule}" in text
        assert spanway.ready_line == ""

        binding = f"clusterrolebinding/{shop.namespace}"
        kubernetes.kubectl(
            "create", "clusterrolebinding", shop.namespace, "--clusterrole=spanway",
            f"--serviceaccount={shop.namespace}:poor",
        )  # fmt: skip
        try:
            spanway.wait_until_ready()
        finally:
            kubernetes.kubectl("delete", binding)


def test_apiserver_that_is_away_at_the_start_is_waited_for_by_name(
    kubernetes: Kubernetes, tmp_path: Path
) -> None:
    with ExitStack() as away:
        away.callback(kubernetes.start_apiserver)
        kubernetes.stop_apiserver()
        with Spanway(tmp_path, "--kubeconfig", kubernetes.kubeconfig) as spanway:
            _, text = spanway.process.wait_until(
                lambda: found if (found := spanway.readiness)[0] == 503 else None
            )
            assert f"of {kubernetes.url}" in text

            away.close()

            spanway.wait_until_ready()
