"""deploy/kubernetes, as docs/DEPLOY.md applies it, on a real Kubernetes API."""

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from scene.kubernetes import Kubernetes
from scene.objects import ingress
from scene.process import wait_until
from scene.spanway import Spanway

from ingress_controller.settings import read_settings
from ingress_controller.settings.values import KubernetesSource, Settings

ROOT = Path(__file__).parents[2]
MANIFESTS = ROOT / "deploy" / "kubernetes"
DEADLINE_S = 20.0
IMAGE = "registry.example/spanway:1.2.3"


@pytest.fixture(scope="module")
def applied(kubernetes: Kubernetes, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """By a kustomization with an image of one's own; what `kubectl` said."""
    own = tmp_path_factory.mktemp("checkout")
    for name in ("deploy", "crds"):
        (own / name).symlink_to(ROOT / name)  # beside it, as in a checkout
    mine = own / "mine"
    mine.mkdir()
    name, tag = IMAGE.rsplit(":", 1)
    image = {"name": "spanway", "newName": name, "newTag": tag}
    kustomization = {"resources": ["../deploy/kubernetes"], "images": [image]}
    (mine / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    kubernetes.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "spanway"}})
    warn = "pod-security.kubernetes.io/warn=restricted"
    kubernetes.kubectl("label", "namespace", "spanway", warn)
    yield kubernetes.kubectl("apply", "--warnings-as-errors", "-k", str(mine))
    kubernetes.kubectl("delete", "deployment", "spanway", "--namespace=spanway")


def arguments() -> list[str]:
    documents = yaml.safe_load_all((MANIFESTS / "deployment.yaml").read_text())
    [deployment] = [one for one in documents if one["kind"] == "Deployment"]
    [container] = deployment["spec"]["template"]["spec"]["containers"]
    return list(container["args"])


def test_two_pods_are_made_of_what_is_applied(kubernetes: Kubernetes, applied: str) -> None:
    """With no warning: the pods are as the Pod Security Standard `restricted` wants."""
    assert "deployment.apps/spanway created" in applied

    def pods() -> list[dict[str, object]]:
        found = kubernetes.kubectl("get", "pods", "--namespace=spanway", "-o=json")
        return list(json.loads(found)["items"])

    wait_until(lambda: len(pods()) == 2, lambda: f"two pods: {pods()}", deadline_s=DEADLINE_S)
    images = {pod["spec"]["containers"][0]["image"] for pod in pods()}  # type: ignore[index]
    assert images == {IMAGE}


def test_the_arguments_are_understood_in_a_pod(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(secrets.token_hex(32))
    given = [text.replace("/admin/token", str(tmp_path / "token")) for text in arguments()]

    settings = read_settings(given, {"KUBERNETES_SERVICE_HOST": "10.96.0.1"})

    assert isinstance(settings, Settings)
    assert settings.source == KubernetesSource()
    assert settings.peers == ("spanway-peers.spanway:9901",)


@pytest.mark.usefixtures("applied")
def test_its_account_and_class_serve_an_ingress(
    kubernetes: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    token = kubernetes.service_account_token("spanway", "spanway")
    kubernetes.write_kubeconfig(kubeconfig, token=token)
    flags = ["--lease-namespace", "spanway", "--publish-service", "spanway/spanway"]
    with Spanway(tmp_path, "--kubeconfig", kubeconfig, *flags) as running:
        running.wait_until_ready()
        kubernetes.apply(ingress("deployed.example", "nowhere", namespace=namespace))

        running.wait_for_answer("/", host="deployed.example", status=503)
        log = running.log.read_text()
    assert "Forbidden" not in log
