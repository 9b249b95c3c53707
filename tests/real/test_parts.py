"""The real parts themselves work: what the other real-part tests take for granted."""

import json
import secrets
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from scene.hotrod import Hotrod
from scene.http import HttpError
from scene.jaeger import Jaeger
from scene.kubernetes import Kubernetes
from scene.pods import add_ready_pod, bind_pod, remove_pod, set_pod_status, wait_for_addresses
from scene.process import SceneError, wait_until

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: 8080}]
"""

BY_HAND = """
apiVersion: v1
kind: Service
metadata: {name: by-hand}
spec:
  ports: [{name: http, port: 80}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: by-hand-1
  labels: {kubernetes.io/service-name: by-hand}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}]
endpoints: [{addresses: [192.0.2.10], conditions: {ready: true}}]
"""


def test_kubectl_reads_the_version_of_the_real_apiserver(kubernetes: Kubernetes) -> None:
    assert "Server Version: v1." in kubernetes.kubectl("version")


def test_kubectl_says_what_the_apiserver_refused(kubernetes: Kubernetes) -> None:
    with pytest.raises(SceneError, match=r'namespaces "missing" not found'):
        kubernetes.kubectl("get", "namespace", "missing")


def test_endpoint_slice_written_by_hand_may_have_a_pod_address(
    kubernetes: Kubernetes, namespace: str
) -> None:
    kubernetes.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=BY_HAND)
    wait_for_addresses(kubernetes, "by-hand", {"192.0.2.10"}, namespace=namespace)


def test_endpoint_slice_with_a_loopback_address_is_refused(
    kubernetes: Kubernetes, namespace: str
) -> None:
    loopback = BY_HAND.replace("192.0.2.10", "127.0.0.1")
    with pytest.raises(SceneError, match="loopback"):
        kubernetes.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=loopback)


def test_real_controller_publishes_ready_pods_as_they_come_and_go(
    kubernetes: Kubernetes, namespace: str
) -> None:
    kubernetes.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=SERVICE)

    for number in (1, 2):
        add_ready_pod(
            kubernetes, f"web-{number}", f"192.0.2.{number + 10}",
            labels={"app": "web"}, namespace=namespace,
        )  # fmt: skip
    wait_for_addresses(kubernetes, "web", {"192.0.2.11", "192.0.2.12"}, namespace=namespace)

    set_pod_status(kubernetes, "web-1", "192.0.2.11", namespace=namespace, ready="False")
    wait_for_addresses(kubernetes, "web", {"192.0.2.12"}, namespace=namespace)

    remove_pod(kubernetes, "web-2", namespace=namespace)
    wait_for_addresses(kubernetes, "web", set(), namespace=namespace)


def test_pods_of_a_real_deployment_can_be_made_ready(
    kubernetes: Kubernetes, namespace: str
) -> None:
    kubernetes.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=SERVICE)
    kubernetes.kubectl(
        "create", "deployment", "web", "--image=none", "--replicas=2", f"--namespace={namespace}"
    )

    pods = wait_until(
        lambda: names if len(names := pod_names(kubernetes, namespace)) == 2 else None,
        "the Deployment has its two pods",
        deadline_s=10,
    )
    for pod, address in zip(pods, ("192.0.2.21", "192.0.2.22"), strict=True):
        bind_pod(kubernetes, pod, namespace=namespace)
        set_pod_status(kubernetes, pod, address, namespace=namespace)

    wait_for_addresses(kubernetes, "web", {"192.0.2.21", "192.0.2.22"}, namespace=namespace)


def test_terminating_pod_is_not_ready_and_still_published(
    kubernetes: Kubernetes, namespace: str
) -> None:
    kubernetes.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=SERVICE)
    add_ready_pod(kubernetes, "web-1", "192.0.2.31", labels={"app": "web"}, namespace=namespace)
    wait_for_addresses(kubernetes, "web", {"192.0.2.31"}, namespace=namespace)

    remove_pod(kubernetes, "web-1", namespace=namespace, grace_s=30)

    wait_for_addresses(kubernetes, "web", set(), namespace=namespace)
    conditions = kubernetes.kubectl(
        "get", "endpointslices", f"--namespace={namespace}",
        "-o=jsonpath={.items[*].endpoints[*].conditions}",
    )  # fmt: skip
    assert json.loads(conditions) == {"ready": False, "serving": True, "terminating": True}


def test_service_account_token_is_accepted_for_that_account(
    kubernetes: Kubernetes, namespace: str, tmp_path: Path
) -> None:
    kubernetes.kubectl("create", "serviceaccount", "spanway", f"--namespace={namespace}")
    kubeconfig = tmp_path / "spanway.kubeconfig"
    token = kubernetes.service_account_token(namespace, "spanway")

    kubernetes.write_kubeconfig(kubeconfig, token=token)

    account = kubernetes.kubectl("auth", "whoami", f"--kubeconfig={kubeconfig}")
    assert f"system:serviceaccount:{namespace}:spanway" in account


def test_objects_outlive_a_crash_of_the_apiserver(kubernetes: Kubernetes, namespace: str) -> None:
    kubernetes.kill_apiserver()
    with pytest.raises(HttpError):
        kubernetes.request("GET", "/readyz")

    kubernetes.start_apiserver()

    assert namespace in kubernetes.kubectl("get", "namespaces")


def test_objects_outlive_a_restart_of_the_apiserver(kubernetes: Kubernetes, namespace: str) -> None:
    kubernetes.kubectl("apply", f"--namespace={namespace}", "-f", "-", stdin=SERVICE)
    read = ("get", "service", "web", f"--namespace={namespace}", "-o=jsonpath={.metadata.uid}")
    uid_before = kubernetes.kubectl(*read)

    kubernetes.restart_apiserver()

    assert kubernetes.kubectl(*read) == uid_before
    add_ready_pod(kubernetes, "web-1", "192.0.2.13", labels={"app": "web"}, namespace=namespace)
    wait_for_addresses(kubernetes, "web", {"192.0.2.13"}, namespace=namespace)


def pod_names(kubernetes: Kubernetes, namespace: str) -> Sequence[str]:
    pods = kubernetes.request("GET", f"/api/v1/namespaces/{namespace}/pods")
    return [pod["metadata"]["name"] for pod in pods["items"]]


def test_span_sent_by_otlp_is_found_by_the_query_api(jaeger: Jaeger) -> None:
    trace_id, span_id = secrets.token_hex(16), secrets.token_hex(8)
    start_unix_ns = time.time_ns()
    jaeger.send_otlp(
        {
            "traceId": trace_id,
            "spanId": span_id,
            "name": "GET /shop",
            "kind": 2,
            "startTimeUnixNano": str(start_unix_ns),
            "endTimeUnixNano": str(start_unix_ns + 1234567),
            "attributes": [{"key": "http.response.status_code", "value": {"intValue": "200"}}],
        },
        service="parts-test",
    )

    trace = jaeger.wait_for_trace(trace_id, until=lambda trace: len(trace.spans) == 1)

    (span,) = trace.spans
    assert (span.trace_id, span.span_id, span.parent_id) == (trace_id, span_id, "")
    assert (span.name, span.kind, span.service) == ("GET /shop", "SERVER", "parts-test")
    assert (span.start_unix_ns, span.duration_ns) == (start_unix_ns, 1234567)
    assert span.attributes["http.response.status_code"] == 200
    assert jaeger.find_traces(service="parts-test") == [trace]


def test_unknown_trace_is_none(jaeger: Jaeger) -> None:
    assert jaeger.trace(secrets.token_hex(16)) is None


def test_one_click_of_hotrod_is_one_trace_of_its_services(hotrod: Hotrod, jaeger: Jaeger) -> None:
    trace_id = secrets.token_hex(16)
    traceparent = f"00-{trace_id}-{secrets.token_hex(8)}-01"

    answer = hotrod.dispatch(123, headers={"traceparent": traceparent})

    assert answer["ETA"] > 0
    services = {"frontend", "customer", "mysql", "driver", "redis-manual", "route"}
    trace = jaeger.wait_for_trace(
        trace_id, until=lambda trace: services <= {span.service for span in trace.spans}
    )
    assert [root.service for root in trace.roots] == ["frontend"], str(trace)
