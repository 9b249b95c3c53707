"""TracingPolicy in a real Kubernetes API: its CRD, what the API refuses, how it is followed."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from scene.http import Json
from scene.kubernetes import Kubernetes
from scene.objects import ingress, ingress_class, service
from scene.process import SceneError, wait_until
from scene.spanway import Spanway

from ingress_controller.status.leader import LEASE_S

ROOT = Path(__file__).parents[2]
CRD = (ROOT / "crds" / "tracingpolicies.yaml").read_text()
NAME = "tracingpolicies.spanway.io"
HOST = "traced.example"
DEADLINE_S = 15.0


@pytest.fixture(scope="module")
def account(kubernetes: Kubernetes) -> str:
    """The token of the documented service account."""
    kubernetes.apply((ROOT / "deploy" / "kubernetes" / "rbac.yaml").read_text(), ingress_class())
    return kubernetes.service_account_token("spanway", "spanway")


@pytest.fixture
def crd(kubernetes: Kubernetes) -> Iterator[None]:
    """It is installed, for one test."""
    kubernetes.apply(CRD)
    kubernetes.kubectl("wait", "--for=condition=Established", f"crd/{NAME}", "--timeout=15s")
    yield
    kubernetes.kubectl("delete", "crd", NAME)


def spanway(kubernetes: Kubernetes, token: str, directory: Path) -> Spanway:
    kubeconfig = directory / "kubeconfig"
    kubernetes.write_kubeconfig(kubeconfig, token=token)
    return Spanway(directory, "--kubeconfig", kubeconfig, "--lease-namespace", "spanway")


def policy(namespace: str, ratio: float) -> Json:
    return {
        "apiVersion": "spanway.io/v1alpha1",
        "kind": "TracingPolicy",
        "metadata": {"name": "quiet", "namespace": namespace},
        "spec": {"sampling": {"ratio": ratio, "rules": [{"ratio": 1, "header": {"name": "x-a"}}]}},
    }


def traced_ingress(namespace: str) -> Json:
    web = ingress(HOST, "web", namespace=namespace)
    web["metadata"]["annotations"] = {"spanway.io/tracing-policy": "quiet"}
    return web


def wait_for_ratio(running: Spanway, namespace: str, ratio: float | None) -> None:
    """Returns when the routes of the Ingress have it; None for the table's policy."""

    def now() -> float | None:
        own = running.admin_answer("/api/routes")["policies"].get(f"{namespace}/web")
        return own["tracing"]["ratio"] if own else None

    wait_until(
        lambda: now() == ratio, lambda: f"the ratio is {ratio}; it is {now()}",
        deadline_s=DEADLINE_S,
    )  # fmt: skip


def test_a_cluster_without_the_kind_is_served_without_a_word(
    kubernetes: Kubernetes, account: str, tmp_path: Path
) -> None:
    with spanway(kubernetes, account, tmp_path) as running:
        running.wait_until_ready()

        assert "tracingpolicies" not in running.said


@pytest.mark.usefixtures("crd")
def test_a_policy_is_followed_and_a_missing_one_is_an_event(
    kubernetes: Kubernetes, account: str, namespace: str, tmp_path: Path
) -> None:
    with spanway(kubernetes, account, tmp_path) as running:
        running.wait_until_ready()
        kubernetes.apply(service("web", namespace=namespace), traced_ingress(namespace))

        problem = running.wait_for_problem('no usable TracingPolicy "quiet"')
        assert problem["field"] == "metadata.annotations[spanway.io/tracing-policy]"
        wait_until(
            lambda: (
                'no usable TracingPolicy "quiet"'
                in kubernetes.kubectl("describe", "ingress", "web", f"--namespace={namespace}")
            ),
            lambda: f"kubectl describe shows the Problem\n{running.tail()}",
            deadline_s=DEADLINE_S + LEASE_S,  # whoever led before may have ended without a word
        )

        for ratio in (0.25, 0.75):
            kubernetes.apply(policy(namespace, ratio))
            wait_for_ratio(running, namespace, ratio)
        assert 'no usable TracingPolicy "quiet"' not in str(running.problems())
        shown = kubernetes.kubectl("get", "tracingpolicies", f"--namespace={namespace}")
        assert shown.split()[:7] == ["NAME", "RATIO", "MAX/S", "TAIL/S", "ACCEPTED", "AGE", "quiet"]

        kubernetes.kubectl("delete", "tracingpolicy", "quiet", f"--namespace={namespace}")
        wait_for_ratio(running, namespace, None)


@pytest.mark.usefixtures("crd")
def test_a_policy_says_that_it_is_accepted_and_which_generation_of_it(
    kubernetes: Kubernetes, account: str, namespace: str, tmp_path: Path
) -> None:
    def get(path: str) -> str:
        return kubernetes.kubectl(
            "get", "tracingpolicy", "quiet", f"--namespace={namespace}", f"--output=jsonpath={path}"
        )

    def accepted(field: str) -> str:
        return get(f'{{.status.conditions[?(@.type=="Accepted")].{field}}}')

    with spanway(kubernetes, account, tmp_path) as running:
        running.wait_until_ready()
        for ratio in (0.25, 0.75):
            kubernetes.apply(policy(namespace, ratio))
            wait_until(
                lambda: accepted("observedGeneration") == get("{.metadata.generation}"),
                lambda: f"it is accepted\n{running.tail()}",
                deadline_s=DEADLINE_S + LEASE_S,  # whoever led before may have ended without a word
            )
            assert (accepted("status"), accepted("reason")) == ("True", "Accepted")
        assert get("{.metadata.generation}") == "2", "a status is no new generation"
        table = kubernetes.kubectl("get", "tracingpolicies", f"--namespace={namespace}")
        assert table.split()[-3:-1] == ["0.75", "True"]
        assert "StatusUnwritten" not in running.said, "the documented rules suffice"


@pytest.mark.usefixtures("crd")
@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"sampling": {"ratio": 1.5}}, "spec.sampling.ratio"),
        ({"sampling": {"rules": [{}]}}, "spec.sampling.rules[0].ratio"),
        ({"sampling": {"rules": [{"ratio": 1, "route": "x"}]}}, "spec.sampling.rules[0].route"),
        ({"tail": {"spansPerSecond": -1}}, "spec.tail.spansPerSecond"),
        ({"sampling": {"share": 1}}, "spec.sampling.share"),
        ({"inject": ["w3c"]}, "spec.inject[0]"),
        ({"serverTiming": "off"}, "spec.serverTiming"),
        ({"detail": {}}, "spec.detail.phaseSpans"),
    ],
    ids=["ratio", "no_ratio", "route", "tail", "unknown", "inject", "timing", "no_phases"],
)
def test_the_api_refuses_what_makes_no_sense_and_names_the_field(
    spec: Json, field: str, kubernetes: Kubernetes, namespace: str
) -> None:
    wrong = policy(namespace, 0.5) | {"spec": spec}

    with pytest.raises(SceneError) as refused:
        kubernetes.apply(wrong)

    assert field in str(refused.value)


@pytest.mark.usefixtures("crd")
def test_kubectl_explains_every_field(kubernetes: Kubernetes) -> None:
    def said() -> str:
        """What it explains; the API publishes the schema some time after it serves the kind."""
        with suppress(SceneError):
            return kubernetes.kubectl("explain", "tracingpolicy.spec", "--recursive")
        return ""

    words = wait_until(said, lambda: "the schema is published", deadline_s=DEADLINE_S).split()

    fields = {"ratio", "parentBased", "maxTracesPerSecond", "spansPerSecond", "phaseSpans"}
    assert fields | {"inject", "serverTiming"} <= set(words)
