"""The web page in a real browser: what a person sees and does, page by page."""

import os
import re
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Literal
from urllib.parse import quote

import pytest
import trustme
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, Route, expect
from scene import hostile_traces, large_trace
from scene.backend import Backend
from scene.browser import DEADLINE_S, Said, chromium, new_page
from scene.client import ask
from scene.http import request
from scene.objects import endpoint_slice, ingress, service, write_manifests
from scene.parts import skipped_without_part
from scene.process import wait_until
from scene.spanway import Spanway

HOST = "shop.example"
MARKUP = "<img src=x onerror=alert(1)>'\"&amp;${7*7}"
"""What would like to be a part of the page."""
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
REQUESTS = 60
TOKEN = "f3a1c5d7e9b2046885a7c9e1d3f50627"

PAGES = {
    "overview": ".map",
    "live": "table.requests tbody tr",
    "traces": "table.traces tbody tr",
    f"traces/{TRACE_ID}": ".step",
    "nodes": ".heat canvas",
    "bottlenecks": ".bottlenecks li",
    "routes": ".problems li",
    "routes?url=http://shop.example/cart": ".explanation",
    "config": "table.settings",
}
"""With what is there once a page has its answers."""

expect.set_options(timeout=DEADLINE_S * 1_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with skipped_without_part(), chromium() as started:
        yield started


@pytest.fixture(scope="module")
def api() -> Iterator[Backend]:
    with Backend("api") as backend:
        yield backend


@pytest.fixture(scope="module")
def spanway(tmp_path_factory: pytest.TempPathFactory, api: Backend) -> Iterator[Spanway]:
    """A ready one with a good route and one to a Service that does not exist."""
    directory = tmp_path_factory.mktemp("page")
    broken = ingress("broken.example", "nowhere", name="broken")
    broken["metadata"]["annotations"] = {"spanway.io/read-timeout": MARKUP}
    objects = [
        service("api"),
        endpoint_slice("api", "127.0.0.1", port=api.port),
        ingress(HOST, "api"),
        broken,
    ]
    write_manifests(directory / "manifests/shop.yaml", objects)
    large_trace.fill(directory / "store")
    flags = [
        f"--store={directory / 'store'}",
        "--capture-request-header=X-Note",
        "--trace-link=http://jaeger.test/trace/{trace_id}",
    ]
    with Spanway(directory, "--manifests", directory / "manifests", *flags) as running:
        yield running.wait_until_ready()


@pytest.fixture(scope="module")
def answered(spanway: Spanway) -> str:
    """Three requests that were answered, one that was not; the trace id of the third."""
    for path in ("/cart", "/cart", "/note"):
        headers = {"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01", "X-Note": MARKUP}
        spanway.ask(path, host=HOST, headers=headers if path == "/note" else None)
    assert spanway.ask("/", host="broken.example").status == 503
    return TRACE_ID


@pytest.fixture(scope="module")
def measured(spanway: Spanway) -> None:
    """As many requests as reports want before they say anything."""
    for number in range(REQUESTS):
        spanway.ask("/cart" if number % 2 else "/", host=HOST)


@pytest.fixture
def page(browser: Browser, spanway: Spanway) -> Iterator[Page]:
    with new_page(browser, spanway.admin) as opened:
        yield opened


@pytest.fixture
def held(api: Backend, spanway: Spanway) -> Iterator[None]:
    """Three requests wait for the app, one of them with a path that would like to be markup."""
    paths = ["/cart", "/cart/2", f"/{MARKUP}"]
    with ThreadPoolExecutor(len(paths)) as clients, api.held():
        count = len(api.received) + len(paths)
        for path in paths:
            clients.submit(ask, spanway.http, path.replace(" ", "%20"), host=HOST)
        wait_until(
            lambda: len(api.received) >= count, lambda: f"{paths} arrive", deadline_s=DEADLINE_S
        )
        yield


def test_the_first_page_is_reached_by_keyboard_and_says_what_is_wrong(page: Page) -> None:
    page.goto("/")

    expect(page.get_by_role("status").filter(has_text="2 problems")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_text("To the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.usefixtures("held")
def test_live_shows_requests_that_wait_and_opens_one(page: Page) -> None:
    page.goto("/#/live")

    rows = page.locator("table.requests tbody tr")
    expect(rows).to_have_count(3)
    expect(page.locator(".phases").get_by_role("listitem").filter(has_text="wait")).to_contain_text(
        "3"
    )
    expect(page.locator(".dot.is-wait")).to_have_count(3)
    rows.filter(has_text="/cart/2").press("Enter")
    opened = page.get_by_label("One request", exact=True)
    expect(opened).to_contain_text("waits for the app: the first byte of the response")
    expect(opened).to_contain_text("spec.rules[0].http.paths[0]")
    assert "open=" in page.url
    page.keyboard.press("Escape")
    expect(opened).to_have_count(0)


@pytest.mark.parametrize(
    "address",
    [
        "#/routes",
        f"#/routes?url={quote(MARKUP)}",
        f"#/routes?text={quote(MARKUP)}",
        f"#/live?host={quote(MARKUP)}",
        f"#/live?age_min={quote(MARKUP)}",
        f"#/{quote(MARKUP, safe='')}",
    ],
)
def test_markup_in_objects_and_addresses_is_shown_as_text(page: Page, address: str) -> None:
    page.goto(f"/{address}")

    expect(page.locator("main")).to_contain_text(re.compile(r"<img src=x|Conditions"))
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


@pytest.fixture(scope="module")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Spanway]:
    """One that was sent spans whose every name would like to be markup, and nothing else."""
    directory = tmp_path_factory.mktemp("strange")
    write_manifests(directory / "manifests/shop.yaml", [ingress(HOST, "api")])
    with Spanway(directory, "--manifests", directory / "manifests") as running:
        url = f"http://{running.wait_until_ready().admin}"
        request("POST", f"{url}/v1/traces", hostile_traces.export(MARKUP))
        yield running


@pytest.mark.parametrize(
    ("address", "where"),
    [
        ("#/overview", ".map"),
        ("#/overview", "table"),
        ("#/traces", "table.traces"),
        (f"#/traces/{hostile_traces.trace_id(0)}", "main"),
        ("#/nodes", "main"),
        ("#/bottlenecks", ".bottlenecks"),
    ],
)
def test_markup_in_any_name_of_a_span_is_shown_as_text(
    browser: Browser, strange: Spanway, address: str, where: str
) -> None:
    with browser.new_context(base_url=f"http://{strange.admin}") as context:
        opened = context.new_page()
        said = Said(opened)
        opened.goto(f"/{address}")

        expect(opened.locator(where).first).to_contain_text("<img src=x onerror=alert(1)>")
        assert opened.locator("img[src=x]").count() == 0
        assert (said.errors, said.foreign) == ([], [])


@pytest.mark.usefixtures("held")
def test_a_path_that_would_be_markup_is_shown_as_it_is_routed(page: Page) -> None:
    page.goto("/#/live")

    expect(page.locator("table.requests")).to_contain_text("/%3Cimg%20src=x%20onerror=alert(1)%3E")


@pytest.mark.usefixtures("held")
def test_conditions_are_in_the_address_and_come_from_it(page: Page) -> None:
    page.goto("/#/live?host=other.example")
    expect(page.get_by_text("No request is like that now")).to_be_visible()
    expect(page.get_by_label("host")).to_have_value("other.example")

    page.get_by_label("host").fill(HOST)
    page.get_by_label("host").press("Enter")

    expect(page.locator("table.requests tbody tr")).to_have_count(3)
    assert page.url.endswith(f"host={HOST}")
    page.go_back()
    expect(page.get_by_text("No request is like that now")).to_be_visible()


def test_a_wrong_condition_is_answered_by_the_servers_sentence(page: Page) -> None:
    page.goto("/#/live?age_min=soon")

    expect(page.get_by_role("alert")).to_have_text(
        'age_min: "soon" is no duration; write 500ms, 2s or 1m.'
    )


def test_requests_that_end_leave_the_picture(page: Page, api: Backend, spanway: Spanway) -> None:
    page.goto("/#/live")
    with ThreadPoolExecutor(1) as clients, api.held():
        clients.submit(ask, spanway.http, "/", host=HOST)
        expect(page.locator("table.requests tbody tr")).to_have_count(1)

    expect(page.get_by_text("Nothing is inside now")).to_be_visible()


def test_live_goes_back_to_who_was_inside_at_a_moment(
    page: Page, api: Backend, spanway: Spanway
) -> None:
    with ThreadPoolExecutor(1) as clients, api.held():
        count = len(api.received) + 1
        clients.submit(ask, spanway.http, "/past", host=HOST)
        wait_until(lambda: len(api.received) >= count, "/past arrives", deadline_s=DEADLINE_S)
        page.goto("/#/live")
        expect(page.locator("table.requests")).to_contain_text("/past")
        unix_ms = page.evaluate("Date.now()")
    page.goto(f"/#/live?at={unix_ms}")

    expect(page.locator("table.requests")).to_contain_text("/past")
    expect(page.locator(".big")).to_contain_text("inside at")
    page.get_by_label("at which moment").fill("-300")
    expect(
        page.get_by_text(re.compile("Nothing (like that was inside|is kept of) then"))
    ).to_be_visible()
    page.get_by_role("button", name="Now").click()
    expect(page.locator(".big")).to_contain_text("inside now")
    assert "at=" not in page.url


@pytest.mark.usefixtures("answered")
def test_before_all_that_is_kept_the_page_leads_to_where_that_begins(page: Page) -> None:
    page.goto("/#/live?at=2001-09-09T01:46:40Z")
    title = page.get_by_text("Nothing is kept of then")
    expect(title).to_be_visible()

    page.get_by_role("button", name="Go there").click()

    expect(page.locator(".big")).to_contain_text("inside at")
    expect(title).to_be_hidden()


@pytest.mark.usefixtures("answered")
def test_traces_are_found_by_what_they_have_in_common(page: Page) -> None:
    page.goto("/#/traces")
    rows = page.locator("table.traces tbody tr")
    expect(rows.filter(has_text=HOST)).not_to_have_count(0)

    page.get_by_label("outcome").select_option("failed")

    expect(rows.filter(has_text=HOST)).to_have_count(0)
    expect(rows.filter(has_text="broken.example")).to_contain_text("no_backend")
    assert "error=true" in page.url
    rows.filter(has_text="broken.example").press("Enter")
    expect(page.get_by_role("heading", name="GET broken.example/")).to_be_visible()


@pytest.mark.usefixtures("answered")
def test_fields_suggest_what_there_is(page: Page) -> None:
    page.goto("/#/traces")
    page.get_by_label("host", exact=True).focus()

    expect(page.locator(f"datalist option[value='{HOST}']")).to_have_count(1)


def test_a_trace_shows_its_spans_and_what_is_on_them(page: Page, answered: str) -> None:
    page.goto(f"/#/traces/{answered}")
    expect(page.get_by_role("heading", name=f"GET {HOST}/note")).to_be_visible()
    spans = page.get_by_role("tree")
    expect(spans.get_by_role("treeitem")).to_have_count(6)  # three are what the kernel saw

    spans.press("ArrowDown")
    spans.press("ArrowDown")
    expect(page.get_by_label("One span")).to_contain_text("spanway.lb.endpoints_ready")
    spans.press("ArrowLeft")
    expect(spans.get_by_role("treeitem")).to_have_count(2)
    spans.press("ArrowRight")
    assert "span=" in page.url
    page.reload()
    expect(page.get_by_label("One span")).to_contain_text("spanway.lb.endpoints_ready")
    spans.press("Escape")
    expect(page.get_by_label("One span")).to_have_count(0)


def test_a_call_is_shown_with_whom_it_is_to(page: Page, spanway: Spanway) -> None:
    trace_id = "5bf92f3577b34da6a3ce929d0e0e4736"
    shop, database = "00f067aa0ba902b8", "00f067aa0ba902b9"
    begin_ns = time.time_ns()
    spans = [
        {
            "traceId": trace_id,
            "spanId": span_id,
            "name": "call",
            "kind": 3,
            "startTimeUnixNano": begin_ns,
            "endTimeUnixNano": begin_ns + 1_000_000_000,
            "attributes": [
                {"key": "server.address", "value": {"stringValue": address}},
                {"key": "server.port", "value": {"intValue": 5432}},
            ],
        }
        for span_id, address in ((shop, HOST), (database, "db.example"))
    ]
    sent = {"resourceSpans": [{"scopeSpans": [{"spans": spans}]}]}
    request("POST", f"http://{spanway.admin}/v1/traces", sent)
    spanway.ask("/cart", host=HOST, headers={"traceparent": f"00-{trace_id}-{shop}-01"})
    found = f"http://{spanway.admin}/api/traces/{trace_id}"
    wait_until(
        lambda: len(request("GET", found)["spans"]) >= 5,
        lambda: "the request's spans are there",
        deadline_s=DEADLINE_S,
    )

    page.goto(f"/#/traces/{trace_id}")

    calls = page.get_by_role("treeitem").filter(has_text="call")
    expect(calls.filter(has_text="call → default/api")).to_have_count(1)
    expect(calls.filter(has_text="call → db.example:5432")).to_have_count(1)


def test_the_verdict_of_a_trace_is_of_the_hop_that_knows_best(page: Page, spanway: Spanway) -> None:
    """To the edge a service that waits for another one is the app, and so is what is behind it."""
    trace_id = "5bf92f3577b34da6a3ce929d0e0e4737"
    begin_ns = time.time_ns()

    def span(number: int, kind: int, **attributes: str | int) -> dict[str, object]:
        named = {name.replace("__", "."): value for name, value in attributes.items()}
        return {
            "traceId": trace_id,
            "spanId": f"{number:016x}",
            "parentSpanId": f"{number - 1:016x}" if number > 1 else "",
            "name": "GET",
            "kind": kind,
            "startTimeUnixNano": begin_ns + number,
            "endTimeUnixNano": begin_ns + 500_000_000 - number,
            "attributes": [
                {
                    "key": name,
                    "value": {"intValue" if isinstance(value, int) else "stringValue": value},
                }
                for name, value in named.items()
            ],
        }

    excess = "spanway.verdict.excess_us"
    spans = [
        span(1, 2, spanway__verdict="app", **{excess: 400_000}),
        span(2, 3),
        span(3, 2, spanway__verdict="cluster-network", **{excess: 380_000}),
        span(4, 1, k8s__namespace__name="shop", k8s__service__name="recommend"),
        span(5, 2, spanway__verdict="proxy", **{excess: 90_000}),
    ]
    sent = {"resourceSpans": [{"scopeSpans": [{"scope": {"name": "spanway"}, "spans": spans}]}]}
    request("POST", f"http://{spanway.admin}/v1/traces", sent)

    page.goto(f"/#/traces/{trace_id}")

    expect(page.locator(".whose p").first).to_have_text(
        "cluster-network: 380 ms slower than usual in a call to shop/recommend, most of it by the"
        " network between Spanway and the endpoint."
    )


def test_a_header_that_would_be_markup_is_shown_as_text(page: Page, answered: str) -> None:
    page.goto(f"/#/traces/{answered}")
    page.get_by_role("treeitem").first.click()

    attributes = page.get_by_label("One span").locator(".attributes").first
    expect(attributes).to_contain_text("<img src=x onerror=alert(1)>")
    assert page.locator("img[src=x]").count() == 0


def test_a_trace_is_linked_to_where_else_it_can_be_seen(page: Page, answered: str) -> None:
    page.goto(f"/#/traces/{answered}")

    expect(page.get_by_role("link", name="Open in jaeger.test")).to_have_attribute(
        "href", f"http://jaeger.test/trace/{answered}"
    )
    expect(page.get_by_role("link", name="JSON")).to_have_attribute(
        "href", re.compile(f"/api/traces/{answered}$")
    )


def test_fifty_thousand_spans_are_scrolled_through_and_few_of_them_drawn(page: Page) -> None:
    page.goto(f"/#/traces/{large_trace.TRACE_ID}")
    spans = page.get_by_role("tree")
    rows = spans.get_by_role("treeitem")
    expect(rows.first).to_contain_text("work 1", timeout=60_000)

    spans.press("End")
    last = rows.filter(has_text=f"work {large_trace.LAST}")
    expect(last).to_be_in_viewport()
    spans.evaluate("list => { list.scrollTop = list.scrollHeight / 2; }")
    expect(last).to_have_count(0)
    expect(rows.nth(20)).to_be_in_viewport()
    assert rows.count() < 100


def test_a_trace_id_is_found_in_a_whole_traceparent(page: Page, answered: str) -> None:
    page.goto("/#/traces")
    page.get_by_label("trace id").fill(f"00-{answered}-00f067aa0ba902b7-01")
    page.get_by_label("trace id").press("Enter")

    expect(page.get_by_role("heading", name=f"GET {HOST}/note")).to_be_visible()
    page.goto(f"/#/traces/{'0' * 31}1")
    expect(page.get_by_role("alert")).to_contain_text("not recorded, or too old")


def test_two_traces_are_compared_by_who_worked(page: Page, answered: str, spanway: Spanway) -> None:
    other = f"{answered[:-1]}7"
    spanway.ask("/", host=HOST, headers={"traceparent": f"00-{other}-00f067aa0ba902b7-01"})
    page.goto(f"/#/traces/{answered}")
    page.get_by_text("Compare with another trace").click()
    page.get_by_label("the other trace").fill(other)
    page.get_by_role("button", name="Compare").click()

    compared = page.locator(".compared")
    expect(compared.get_by_role("row").filter(has_text="default/api").first).to_be_visible()
    assert f"with={other}" in page.url


def test_what_is_being_typed_stays_when_the_page_changes(page: Page, answered: str) -> None:
    page.goto(f"/#/traces/{answered}")
    page.get_by_text("Compare with another trace").click()
    typed = page.get_by_label("the other trace’s id")
    typed.fill("4bf9")
    page.get_by_role("treeitem").first.click()
    expect(page).to_have_url(re.compile("span="))

    expect(typed).to_have_value("4bf9")


@pytest.mark.usefixtures("answered")
def test_dragging_over_dots_narrows_time_and_duration(page: Page) -> None:
    page.goto("/#/traces")
    over = page.locator(".u-over")
    expect(over).to_be_visible()
    box = over.bounding_box()
    assert box is not None

    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] - 2, box["y"] + box["height"] - 2, steps=5)
    page.mouse.up()

    page.wait_for_url(re.compile("from=[0-9]+&to=[0-9]+"))
    expect(page.locator("table.traces tbody tr")).not_to_have_count(0)
    assert "min_duration=" in page.url


@pytest.mark.usefixtures("measured")
def test_the_overview_says_how_many_how_long_and_who_calls_whom(page: Page) -> None:
    page.goto("/")

    expect(page.locator(".tile").filter(has_text="Requests")).to_contain_text("in all")
    expect(page.locator(".map")).to_have_accessible_name(
        re.compile("client calls edge.*edge calls default/api")
    )
    services = page.get_by_role("row").filter(has_text="default/api")
    expect(services).to_contain_text(re.compile("[µm]s"))
    services.get_by_role("link", name="default/api").click()
    expect(page.get_by_role("heading", name="Traces")).to_be_visible()
    expect(page.get_by_label("service")).to_have_value("default/api")


@pytest.mark.usefixtures("measured")
def test_nothing_on_the_overview_is_moved_by_what_comes_later(page: Page) -> None:
    """The last report to come stands above the map and the links."""
    held: list[Route] = []

    def hold(route: Route) -> None:
        held.append(route)

    page.route("**/api/analysis/bottlenecks*", hold)
    come = {"graph", "nodes", "compare"}
    page.on("requestfinished", lambda done: come.discard(done.url.partition("?")[0].split("/")[-1]))
    page.goto("/")
    expect(page.locator(".tile").filter(has_text="Requests")).to_contain_text("in all")
    while come or not held:
        page.wait_for_event("requestfinished")
    page.evaluate("() => new Promise(done => setTimeout(() => requestAnimationFrame(done)))")

    assert page.locator(".map, table").count() == 0

    held.pop().continue_()
    expect(page.locator(".map")).to_be_visible()
    expect(page.get_by_label("What stands out")).to_be_visible()
    expect(page.get_by_role("row").filter(has_text="default/api")).to_be_visible()


@pytest.mark.usefixtures("measured")
def test_nodes_are_rows_whose_cells_open_their_traces(page: Page) -> None:
    page.goto("/#/nodes")
    row = page.get_by_role("row").filter(has=page.get_by_role("link", name="node-a"))
    expect(row).to_be_visible()
    expect(page.get_by_text("There is one node, and none to compare it with.")).to_be_visible()

    page.get_by_label("time").select_option("15m")
    expect(page.get_by_role("link", name="node-a")).to_have_attribute(
        "href", "#/traces?since=15m&node=node-a"
    )
    page.get_by_label("colour is").select_option("app")
    assert "of=app" in page.url
    box = row.locator("canvas").bounding_box()
    assert box is not None
    row.locator("canvas").click(position={"x": box["width"] - 2, "y": 5})

    page.wait_for_url(re.compile("traces.*node=node-a"))


@pytest.mark.usefixtures("measured")
def test_bottlenecks_say_what_slow_requests_wait_for(page: Page) -> None:
    page.goto("/#/bottlenecks")

    found = page.locator(".bottlenecks li").first
    expect(found).to_contain_text("default/api")
    expect(page.get_by_text("How this is told.")).to_be_visible()
    page.locator(".trace-link").first.click()
    expect(page.get_by_role("tree")).to_be_visible()


@pytest.mark.usefixtures("answered")
def test_a_window_without_requests_says_what_to_do(page: Page) -> None:
    for name, text in [
        ("overview", "No request in this time"),
        ("nodes", "No node is known yet"),
        ("bottlenecks", "Too few requests to tell"),
        ("traces", "No trace in this time"),
    ]:
        page.goto(f"/#/{name}?from=1000000000000&to=1000000001000")
        expect(page.get_by_role("heading", name=text)).to_be_visible()


def test_routes_show_rules_endpoints_and_problems(page: Page, api: Backend) -> None:
    page.goto("/#/routes")

    row = page.get_by_role("row").filter(has_text=f"{HOST}/")
    expect(row).to_contain_text(f"127.0.0.1:{api.port}")
    problems = page.get_by_label("Problems")
    expect(problems).to_contain_text("Service default/nowhere does not exist.")
    expect(page.get_by_role("row").filter(has_text="broken.example")).to_contain_text("none, 503.")


def test_explain_says_which_route_answers_and_why(page: Page) -> None:
    page.goto("/#/routes")
    page.get_by_role("textbox", name="URL").fill(f"http://{HOST}/cart")
    page.get_by_role("button", name="Explain").click()

    told = page.get_by_label("What answers a URL?")
    expect(told).to_contain_text("One of 1 endpoint of default/api:80 answers.")
    expect(told).to_contain_text("/ is the only prefix that matches.")
    assert "url=" in page.url
    page.goto("/#/routes?url=nobody.example")
    expect(told).to_contain_text("The answer is 404")


def row_of(page: Page, flag: str) -> Locator:
    return page.get_by_role("row").filter(has=page.get_by_role("rowheader", name=flag, exact=True))


def test_config_shows_settings_in_force_and_what_was_set(page: Page, spanway: Spanway) -> None:
    page.goto("/#/config")

    row = row_of(page, "--http")
    expect(row).to_contain_text(spanway.http)
    expect(row).to_contain_text("set")
    expect(row_of(page, "--sample-ratio")).not_to_contain_text("set")


def test_the_theme_is_the_systems_until_another_is_chosen(page: Page) -> None:
    def ground() -> str:
        return str(page.evaluate("getComputedStyle(document.body).color"))

    page.emulate_media(color_scheme="light")
    page.goto("/#/config")
    light = ground()
    page.emulate_media(color_scheme="dark")
    dark = ground()
    assert dark != light
    page.get_by_label("Theme").select_option("light")
    assert ground() == light
    page.reload()
    assert ground() == light


@pytest.mark.parametrize("name", PAGES)
def test_a_narrow_screen_scrolls_down_only(page: Page, name: str) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    page.goto(f"/#/{name}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()

    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.usefixtures("answered", "measured", "held")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
def test_every_page_is_as_accessible_as_wcag_aa_wants(
    page: Page, scheme: Literal["light", "dark"], width: int
) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 900})
    found = {}
    for name, seen in PAGES.items():
        page.goto(f"/#/{name}")
        expect(page.locator(seen).first).to_be_visible()
        result = Axe().run(page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"]})
        if result.violations_count:
            found[name] = result.generate_report()

    assert found == {}


def test_an_address_of_no_page_says_so(page: Page) -> None:
    page.goto("/#/nowhere")

    expect(page.get_by_text("There is no page “nowhere”")).to_be_visible()


def test_the_page_says_when_nobody_answers_any_more(browser: Browser, tmp_path: Path) -> None:
    write_manifests(tmp_path / "manifests/shop.yaml", [ingress(HOST, "api")])
    with Spanway(tmp_path, "--manifests", tmp_path / "manifests") as running:
        page = browser.new_page(base_url=f"http://{running.wait_until_ready().admin}")
        page.goto("/#/live")
        expect(page.get_by_text("Nothing is inside now")).to_be_visible()

    expect(page.get_by_role("alert")).to_contain_text("Spanway does not answer. Is it running?")
    page.close()


def test_the_page_says_so_when_the_process_stands_still_with_its_connections_open(
    browser: Browser, tmp_path: Path
) -> None:
    write_manifests(tmp_path / "manifests/shop.yaml", [ingress(HOST, "api")])
    with Spanway(tmp_path, "--manifests", tmp_path / "manifests") as running:
        page = browser.new_page(base_url=f"http://{running.wait_until_ready().admin}")
        page.goto("/#/live")
        expect(page.get_by_text("Nothing is inside now")).to_be_visible()

        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            alert = page.get_by_role("alert")
            expect(alert).to_contain_text("Spanway does not answer. Is it running?")
            expect(page.get_by_text("No answer")).to_be_visible()
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        expect(alert).to_have_count(0)
        page.close()


def test_a_replica_that_is_dead_is_named_on_the_page_and_the_others_are_shown(
    browser: Browser, api: Backend, tmp_path: Path
) -> None:
    names = ("one", "two")
    manifests = tmp_path / "manifests/shop.yaml"
    objects = [service("api"), endpoint_slice("api", "127.0.0.1", port=api.port)]
    write_manifests(manifests, [*objects, ingress(HOST, "api")])
    with ExitStack() as running:
        replicas = [Spanway(tmp_path / name, "--manifests", manifests.parent) for name in names]
        peers = ",".join(replica.admin for replica in replicas)
        for name, replica in zip(names, replicas, strict=True):
            replica.add(f"--peers={peers}", POD_NAME=name)
            running.enter_context(replica).wait_until_ready()
        one, two = replicas
        page = browser.new_page(base_url=f"http://{one.admin}")
        with ThreadPoolExecutor(2) as clients, api.held():
            count = len(api.received) + 2
            for replica in replicas:
                clients.submit(ask, replica.http, "/cart", host=HOST)
            wait_until(lambda: len(api.received) >= count, "both wait", deadline_s=DEADLINE_S)
            page.goto("/#/live")
            rows = page.locator("table.requests tbody tr")
            expect(rows).to_have_count(2)
            expect(page.get_by_label("Replicas")).to_have_count(0)

            two.process.stop(signal.SIGKILL)

            expect(page.get_by_label("Replicas")).to_have_text(
                f"What replica two ({two.admin}) knows is missing: connection refused."
            )
            expect(rows).to_have_count(1)
            rows.click()
            expect(page.get_by_label("One request", exact=True)).to_contain_text("replicaone")
        page.close()


def test_with_a_token_the_page_asks_for_it_and_remembers(browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    write_manifests(tmp_path / "manifests/shop.yaml", [ingress(HOST, "api")])
    manifests, token = tmp_path / "manifests", tmp_path / "token"
    with Spanway(tmp_path, "--manifests", manifests, "--admin-token-file", token) as running:
        page = browser.new_page(base_url=f"http://{running.wait_until_ready().admin}")
        page.goto("/#/config")
        page.get_by_label("Token").fill("wrong")
        page.get_by_role("button", name="Open").click()
        expect(page.get_by_role("alert")).to_contain_text("nobody here knows it")
        page.get_by_label("Token").fill(TOKEN)
        page.get_by_role("button", name="Open").click()
        row = row_of(page, "--admin-token-file")
        expect(row).to_contain_text("given")
        expect(page.locator("body")).not_to_contain_text(TOKEN)
        page.reload()
        expect(row).to_contain_text("given")
        page.close()


def test_with_certificates_wanted_the_page_opens_for_who_has_one_and_says_so_to_others(
    browser: Browser, tmp_path: Path
) -> None:
    authority, of_clients = trustme.CA(), trustme.CA()
    of_clients.cert_pem.write_to_path(tmp_path / "clients.crt")
    for name, issuer in (("127.0.0.1", authority), ("ann.example", of_clients)):
        issued = issuer.issue_cert(name)
        issued.cert_chain_pems[0].write_to_path(tmp_path / f"{name}.crt")
        issued.private_key_pem.write_to_path(tmp_path / f"{name}.key")
    write_manifests(tmp_path / "manifests/shop.yaml", [ingress(HOST, "api")])
    flags = [f"--admin-cert={tmp_path / '127.0.0.1.crt'}"]
    flags += [f"--admin-key={tmp_path / '127.0.0.1.key'}"]
    flags += [f"--admin-client-ca={tmp_path / 'clients.crt'}"]
    with Spanway(tmp_path, "--manifests", tmp_path / "manifests", *flags) as running:
        wait_until(lambda: running.ready_line, "it is ready", deadline_s=DEADLINE_S)
        url = f"https://{running.admin}"
        known = browser.new_page(
            ignore_https_errors=True,
            client_certificates=[
                {
                    "origin": url,
                    "certPath": tmp_path / "ann.example.crt",
                    "keyPath": tmp_path / "ann.example.key",
                }
            ],
        )
        known.goto(f"{url}/#/config")
        expect(row_of(known, "--admin-client-ca")).to_contain_text("clients.crt")
        unknown = browser.new_page(ignore_https_errors=True)
        unknown.goto(f"{url}/#/config")
        expect(unknown.locator("main")).to_contain_text("a certificate of the authority in")
        expect(unknown.get_by_role("button", name="Open")).to_have_count(0)
        for page in (known, unknown):
            page.close()
