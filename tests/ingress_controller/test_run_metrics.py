"""What `spanway run` tells Prometheus, and what deploy/ and docs/ make of it."""

import gzip
import json
import re
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pem
import promql_parser
import pytest
import yaml
from eventually import until
from k8s_objects import endpoint_slice, ingress, path, secret, service
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as openmetrics_families,
)
from prometheus_client.parser import text_string_to_metric_families
from spanway_process import answering, free_address, spanway, write

ROOT = Path(__file__).parents[2]
DASHBOARD = ROOT / "deploy/grafana/spanway.json"
RULES = ROOT / "deploy/prometheus/rules.yaml"
PAGE = ROOT / "docs/METRICS.md"
OPENMETRICS = {"Accept": "application/openmetrics-text;version=1.0.0"}

# What Prometheus and Kubernetes add to what is scraped.
TARGET_LABELS = {"job", "instance", "le"}


class Scrape(NamedTuple):
    text: str
    openmetrics: str
    labels: dict[str, set[str]]
    """Of every sample, by its name."""


@pytest.fixture
async def scrape(tmp_path: Path) -> AsyncIterator[Scrape]:
    """Of a process that has served requests of all kinds."""
    http, https, admin = free_address(), free_address(), free_address()
    flags = ["--manifests", str(tmp_path), "--http", http, "--https", https, "--admin", admin]
    async with answering("hello") as port, aiohttp.ClientSession() as client:
        write(
            tmp_path,
            ingress(path("/"), path("/gone", "gone"), tls=[{"secretName": "cert"}]),
            ingress(path("/"), host="plain.example", name="plain"),
            secret(pem.pair("shop.example")),
            service(),
            endpoint_slice("api", "127.0.0.1", ports=[{"port": port}]),
        )
        async with spanway(*flags, "--otlp-endpoint", f"http://127.0.0.1:{port}") as process:
            assert process.stdout is not None
            await process.stdout.readline()
            for host, target in (("plain.example", "/"), ("plain.example", "/x"), ("none", "/")):
                async with client.get(f"http://{http}{target}", headers={"Host": host}):
                    pass
            ssl = {"ssl": False, "server_hostname": "shop.example"}
            for target in ("/", "/gone"):
                url = f"https://{https}{target}"
                async with client.get(url, headers={"Host": "shop.example"}, **ssl):
                    pass

            async def text(headers: dict[str, str]) -> str:
                async with client.get(f"http://{admin}/metrics", headers=headers) as answer:
                    assert answer.status == 200
                    return await answer.text()

            plain = await text({})
            yield Scrape(plain, await text(OPENMETRICS), _labels(plain))
            process.send_signal(signal.SIGTERM)
            await process.wait()


def _labels(text: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in text.splitlines():
        if not line.startswith("#"):
            name = re.match(r"\w+", line)
            assert name is not None
            labels = re.findall(r'(\w+)="', line.split("} ")[0]) if "{" in line else ()
            found.setdefault(name[0], set()).update(labels)
    return found


async def test_both_formats_have_the_same_families(scrape: Scrape) -> None:
    text = [family.name for family in text_string_to_metric_families(scrape.text)]
    openmetrics = [family.name for family in openmetrics_families(scrape.openmetrics)]

    assert len(text) == len(set(text)) == len(set(openmetrics)) == len(openmetrics)
    assert scrape.labels.keys() == _labels(scrape.openmetrics).keys()
    assert scrape.openmetrics.count("# EOF") == 1
    assert "trace_id=" in scrape.openmetrics
    assert "trace_id=" not in scrape.text
    assert {"process_resident_memory_bytes", "spanway_requests", "spanway_build_info"} <= {*text}


async def test_page_lists_every_family_and_label_and_no_other(scrape: Scrape) -> None:
    rows = re.findall(r"^\| `(\w+)` \|(?: [^|]+\|)? ?([^|]*)\|", PAGE.read_text(), re.MULTILINE)
    listed = {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows}
    families = {
        re.sub(r"_(bucket|sum|count)$", "", name): labels - {"le"}
        for name, labels in scrape.labels.items()
        if name.startswith(("spanway_", "nginx_"))
    }

    constant = {"controller_class", "controller_namespace", "controller_pod"}
    by_route = {"namespace", "ingress", "service", "host", "path"}
    for name, labels in families.items():
        told = labels - constant if name.startswith("nginx_") else labels
        expected = listed.pop(name, None)
        assert expected is not None, f"{name} is not in docs/METRICS.md"
        if "route" in expected:
            expected = expected - {"route"} | by_route
        assert told == expected, name
    # A cluster alone has these.
    assert set(listed) <= {"spanway_leader", "nginx_ingress_controller_leader_election_status"}


def queries() -> Iterator[tuple[str, str]]:
    """Where each is, and the query."""
    dashboard = json.loads(DASHBOARD.read_text())
    for panel in dashboard["panels"]:
        for target in panel.get("targets", ()):
            yield panel["title"], target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"])
            assert found is not None
            yield variable["name"], f"sum by ({found[2]}) ({found[1]})"
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            yield rule.get("alert") or rule["record"], rule["expr"]


def _expanded(query: str) -> str:
    return query.replace("$__rate_interval", "5m").replace('"$', '"')


@pytest.mark.parametrize(("where", "query"), [pytest.param(*q, id=q[0]) for q in queries()])
def test_queries_are_promql(where: str, query: str) -> None:
    assert promql_parser.parse(_expanded(query)) is not None, where


async def test_queries_ask_for_what_there_is(scrape: Scrape) -> None:
    recorded = {
        rule["record"]: re.findall(r"sum by \(([^)]*)\)", rule["expr"])
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    asked = 0
    for where, query in queries():
        names = set(re.findall(r"\b(?:spanway|process|nginx)_\w+", query))
        known = set().union(*(scrape.labels.get(name, set()) for name in names))
        for name in names:
            assert name in scrape.labels, f"{where}: {name}"
            asked += 1
        for name, by in recorded.items():
            if name in query:
                known |= {label.strip() for label in ",".join(by).split(",")}
        wanted = {
            label.strip()
            for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", query)
            for label in labels.split(",")
        }
        wanted |= set(re.findall(r'(\w+)(?:=~|!=|!~|=)"', query))
        assert wanted <= known | TARGET_LABELS, f"{where}: {wanted - known}"
    assert asked > 50


def test_every_alert_says_what_is_the_matter() -> None:
    alerts = [
        rule
        for group in yaml.safe_load(RULES.read_text())["groups"]
        for rule in group["rules"]
        if "alert" in rule
    ]

    assert len(alerts) == len({alert["alert"] for alert in alerts}) >= 8
    for alert in alerts:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert alert["annotations"]["summary"]


async def test_a_scrape_is_compressed_for_who_takes_that(tmp_path: Path) -> None:
    admin = free_address()
    write(tmp_path, service())
    flags = ["--manifests", str(tmp_path), "--http", free_address(), "--admin", admin]
    async with spanway(*flags) as process, aiohttp.ClientSession(auto_decompress=False) as client:
        assert process.stdout is not None
        await process.stdout.readline()
        encodings = {"Accept-Encoding": "gzip"}
        async with client.get(f"http://{admin}/metrics", headers=encodings) as answer:
            assert answer.headers["Content-Encoding"] == "gzip"
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            assert b"spanway_ready 1.0" in gzip.decompress(await answer.read())


async def test_names_of_ingress_nginx_can_be_left_out(tmp_path: Path) -> None:
    admin = free_address()
    write(tmp_path, service())
    flags = ["--manifests", str(tmp_path), "--http", free_address(), "--admin", admin]
    async with spanway(*flags, "--nginx-metrics", "false") as process:
        assert process.stdout is not None
        await process.stdout.readline()
        async with (
            aiohttp.ClientSession() as client,
            client.get(f"http://{admin}/metrics") as answer,
        ):
            text = await answer.text()
    assert "spanway_" in text
    assert "nginx_" not in text


async def test_a_line_per_request_and_a_new_file_after_sigusr1(tmp_path: Path) -> None:
    http, log = free_address(), tmp_path / "access.log"
    manifests = tmp_path / "manifests"
    manifests.mkdir()
    write(manifests, ingress(path("/")), service())
    flags = ["--manifests", str(manifests), "--http", http, "--admin", free_address()]
    flags += ["--access-log", str(log), "--access-log-format", "json"]
    async with spanway(*flags) as process, aiohttp.ClientSession() as client:
        assert process.stdout is not None
        await process.stdout.readline()

        async def ask(target: str) -> None:
            async with client.get(f"http://{http}{target}", headers={"Host": "shop.example"}):
                pass

        def logged(file: Path) -> list[Any]:
            return [json.loads(line)["path"] for line in file.read_text().splitlines()]

        await ask("/one?token=secret")
        await until(lambda: logged(log) == ["/one"])
        old = log.rename(tmp_path / "access.log.1")
        process.send_signal(signal.SIGUSR1)
        await until(log.exists)
        await ask("/two")
        await until(lambda: logged(log) == ["/two"])
        assert "secret" not in old.read_text()


async def test_a_log_that_cannot_be_written_ends_the_start(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch(mode=0o600)
    write(tmp_path, service())
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    flags = ["--manifests", str(tmp_path), "--http", free_address(), "--admin", free_address()]
    async with spanway(*flags, "--access-log", str(loop)) as process:
        _, said = await process.communicate()
    assert process.returncode == 1
    assert b"--access-log" in said
    assert b"cannot be opened: too many levels of symbolic links; name another." in said
