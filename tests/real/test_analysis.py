"""The reports about the real HotROD: all its spans, and Spanway's, are in Spanway's own store.

HotROD's database lets one query in at a time. Clicked alone a ride is there in 0.7 s; with many at
once most of the time is spent waiting for the database, and that is what the report has to say.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from scene.hotrod import Address, Addresses, Hotrod, free_address
from scene.http import HttpError
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.process import wait_until
from scene.spanway import Spanway, command

HOST = "hotrod.example"
CUSTOMERS = (123, 392, 731, 567)
CLICKS_ALONE = 20
CLICKS_AT_ONCE = 30
CLICKS = CLICKS_ALONE + CLICKS_AT_ONCE
SPANS_DEADLINE_S = 30.0
"""HotROD's exporters wait for 5 s (OTEL_BSP_SCHEDULE_DELAY)."""


@pytest.fixture(scope="module")
def spanway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spanway]:
    """After a few clicks alone and many at once, with all spans in its store."""
    with clicked(tmp_path_factory.mktemp("hotrod-analysed")) as running:
        yield running


@pytest.fixture(scope="module")
def unlocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spanway]:
    """The same with a database that lets all queries in."""
    directory = tmp_path_factory.mktemp("hotrod-unlocked")
    with clicked(directory, "--fix-disable-db-conn-mutex") as running:
        yield running


@contextmanager
def clicked(directory: Path, *hotrod_flags: str) -> Iterator[Spanway]:
    """Spanway before HotROD, after the clicks."""
    own, customer, route = Addresses(), free_address(), free_address()
    write_manifests(
        directory / "manifests" / "hotrod.yaml",
        [
            ingress(HOST, "frontend", namespace="hotrod"),
            *served("frontend", own.frontend),
            *served("customer", own.customer),
            *served("route", own.route),
        ],
    )
    # HotROD's OpenTelemetry would else begin traces of its own (docs/SPANS.md).
    flags: list[str | Path] = ["--manifests", directory / "manifests", "--random-flag", "false"]
    for name, address in (("customer", customer), ("route", route)):
        flags += ["--service", f"hotrod/{name}:http={address}"]
    with Spanway(directory, *flags) as running:
        running.wait_until_ready()
        with skipped_without_part():
            hotrod = Hotrod(
                directory,
                own,
                otlp_url=f"http://{running.admin}",
                jaeger_url="http://127.0.0.1",
                flags=hotrod_flags,
            )
        hotrod.start(customer=customer, route=route)
        try:

            def click(number: int) -> None:
                try:
                    url = f"http://{running.http}"
                    hotrod.dispatch(CUSTOMERS[number % 4], url=url, headers={"Host": HOST})
                except HttpError as err:
                    # Its make-believe Redis fails now and then; such a click has spans, too.
                    if "redis timeout" not in str(err):
                        raise

            for number in range(CLICKS_ALONE):
                click(number)
            with ThreadPoolExecutor(CLICKS_AT_ONCE) as pool:
                list(pool.map(click, range(CLICKS_AT_ONCE)))
            wait_until(
                lambda: arrived(running) >= {"mysql": CLICKS, "frontend": CLICKS}.items(),
                lambda: f"spans of {CLICKS} clicks, but {arrived(running)}",
                deadline_s=SPANS_DEADLINE_S,
            )
            yield running
        finally:
            hotrod.stop()


def served(name: str, address: Address) -> list[object]:
    return [
        service(name, namespace="hotrod"),
        endpoint_slice(name, address.host, port=address.port, namespace="hotrod"),
    ]


def report(spanway: Spanway, name: str, *question: str) -> Any:
    ended = command("report", name, "--json", "--admin", spanway.admin, *question)
    assert ended.code == 0, ended.errors
    return msgspec.json.decode(ended.output)


def arrived(spanway: Spanway) -> Any:
    """How many clicks each service has told of its own part in them."""
    rows = report(spanway, "latency", "by=operation", "limit=100")["rows"]
    wanted = {("mysql", "SQL SELECT"), ("frontend", "/dispatch")}
    labels = [(row["labels"]["service"], row["labels"]["operation"], row["count"]) for row in rows]
    return {name: count for name, operation, count in labels if (name, operation) in wanted}.items()


def test_the_database_is_named_and_that_it_grows_with_concurrency(spanway: Spanway) -> None:
    [clicks] = report(spanway, "bottlenecks")["requests"]

    assert (clicks["operation"], clicks["count"]) == (f"{HOST}/", CLICKS)
    first = clicks["bottlenecks"][0]
    assert (first["service"], first["operation"], first["part"]) == ("mysql", "SQL SELECT", "app")
    growth = first["growth"]
    assert growth["grows"], growth
    assert growth["count"] == CLICKS
    assert growth["levels"][-1]["in_flight_max"] >= CLICKS_AT_ONCE / 2
    # HotROD's query sleeps for some 300 ms, one at a time.
    assert growth["per_request_us"] > 100_000
    assert "It grows with concurrency: " in first["text"]


def named(spanway: Spanway) -> dict[tuple[str, str], Any]:
    """Who takes part in what clicks take, by service and operation."""
    [clicks] = report(spanway, "bottlenecks")["requests"]
    shown = (*clicks["bottlenecks"], *clicks["contenders"])
    return {(one["service"], one["operation"]): one for one in shown}


def test_lookups_of_drivers_are_named_beside_the_database_that_holds_them_back(
    spanway: Spanway,
) -> None:
    lookups = named(spanway)["redis-manual", "GetDriver"]

    assert lookups["part"] == "app"
    # The database lets one click after the other come to them.
    assert not lookups["growth"]["grows"]
    assert lookups["growth"]["levels"][-1]["in_flight_max"] < CLICKS_AT_ONCE / 2


def test_without_the_databases_lock_the_report_tells_who_is_busy_from_who_is_contended(
    unlocked: Spanway,
) -> None:
    found = named(unlocked)

    for contender in (("mysql", "SQL SELECT"), ("redis-manual", "GetDriver")):
        growth = found[contender]["growth"]
        assert growth["levels"][0]["in_flight_min"] == 1
        assert growth["levels"][-1]["in_flight_max"] >= CLICKS_AT_ONCE / 3, growth
    assert not found["mysql", "SQL SELECT"]["growth"]["grows"]
    assert "It does not grow with concurrency: " in found["mysql", "SQL SELECT"]["text"]
    # What clicks wait for now: the frontend asks for three routes at once, for all of them.
    assert found["frontend", "/dispatch"]["growth"]["grows"]


def test_the_terminal_says_so(spanway: Spanway) -> None:
    ended = command("report", "bottlenecks", "--admin", spanway.admin)

    assert ended.code == 0
    assert "mysql SQL SELECT ← grows" in ended.output, ended.output
    assert "redis-manual GetDriver takes " in ended.output


def test_the_map_has_both_paths_of_spanway_and_the_calls_without_it(spanway: Spanway) -> None:
    found = report(spanway, "graph")

    arrows = {(arrow["source"], arrow["target"], arrow["via"]): arrow for arrow in found["arrows"]}
    assert arrows["client", "edge", "spanway"]["count"] == CLICKS
    assert arrows["edge", "service:hotrod/frontend", "spanway"]["count"] == CLICKS
    between = arrows["service:hotrod/frontend", "service:hotrod/customer", "spanway"]
    assert between["count"] == CLICKS
    assert arrows["service:hotrod/customer", "app:mysql", ""]["count"] == CLICKS
    assert ("service:hotrod/frontend", "app:driver", "") in arrows


def test_where_a_clicks_time_went_sums_to_it(spanway: Spanway) -> None:
    [clicks] = report(spanway, "bottlenecks")["requests"]
    slowest = clicks["slow_trace_ids"][0]

    path = report(spanway, "path", f"trace={slowest}")

    steps_ns = sum(step["duration_ns"] for step in path["steps"])
    assert steps_ns // 1_000 == path["duration_us"]
    assert path["parts"][0]["service"] == "mysql"
    assert sum(part["share"] for part in path["parts"]) == pytest.approx(1)
