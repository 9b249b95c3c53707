"""The real Prometheus reads what Spanway tells it, and the rules that are shipped."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from scene.backend import Backend
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.prometheus import Prometheus, promtool
from scene.spanway import Spanway

HOST = "shop.example"
RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yaml"


@pytest.fixture
def spanway(tmp_path: Path) -> Iterator[Spanway]:
    """A ready one that has answered some requests."""
    with Backend("api") as api:
        write_manifests(
            tmp_path / "manifests/shop.yaml",
            [
                service("api"),
                endpoint_slice("api", "127.0.0.1", port=api.port),
                ingress(HOST, "api"),
            ],
        )
        with Spanway(tmp_path, "--manifests", tmp_path / "manifests") as running:
            running.wait_until_ready()
            assert running.ask(host=HOST).text == "api"
            yield running


def test_the_rules_are_ones_that_promtool_takes() -> None:
    with skipped_without_part():
        checked = promtool("check", "rules", RULES)

    assert checked.returncode == 0, checked.stderr
    assert "SUCCESS" in checked.stdout


def test_the_names_are_ones_that_promtool_recommends(spanway: Spanway) -> None:
    page = spanway.admin_answer("/metrics")
    own = "".join(f"{line}\n" for line in page.splitlines() if "nginx_ingress" not in line)
    with skipped_without_part():
        checked = promtool("check", "metrics", stdin=own)

    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_prometheus_scrapes_it_with_exemplars_and_evaluates_the_rules(
    spanway: Spanway, tmp_path: Path
) -> None:
    with skipped_without_part():
        prometheus = Prometheus(tmp_path, target=spanway.admin, rules=RULES)
    with prometheus:
        prometheus.wait_for('up{job="spanway"} == 1')
        (requests,) = prometheus.wait_for("spanway_requests_total")
        assert requests["metric"]["namespace"] == "default"
        assert requests["value"][1] == "1"
        name = "nginx_ingress_controller_requests"
        assert prometheus.wait_for(name)[0]["value"][1] == "1"
        (series,) = prometheus.wait_for_exemplars("spanway_request_duration_seconds_bucket")
        assert len(series["exemplars"][0]["labels"]["trace_id"]) == 32
        prometheus.wait_for("spanway:requests:rate5m")
        groups = prometheus.ask("rules")["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == 16
        assert {rule["health"] for rule in rules} <= {"ok", "unknown"}
        (target,) = prometheus.ask("targets")["activeTargets"]
        assert (target["health"], target["lastError"]) == ("up", "")
