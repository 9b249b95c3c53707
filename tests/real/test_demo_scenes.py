"""The demo's scenes in a real browser: the page names what is wrong in each, and nothing else.

One run for each kind of nodes goes through all scenes, shorter than a person would like them; then
the page is asked about each by the address that the demo has printed.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from network.namespace import Namespace, NetworkError
from network.wire import Wire
from playwright.sync_api import Browser, Locator, Page, expect
from scene.browser import DEADLINE_S, chromium, new_page
from scene.namespace import free_port
from scene.parts import PartMissingError, skipped_without_part

DEMO = Path(__file__).parents[2] / "deploy" / "demo"
SCENE_S = 7
"""Some 28 requests of each service on each node, where reports want 20."""
SCENES = ("all is well", "a slow service", "a slow node", "a bad network path")

expect.set_options(timeout=DEADLINE_S * 1_000)


@dataclass(frozen=True)
class Played:
    """A demo that has played all scenes once. `windows` are their times, as addresses have them;
    `said` is what it printed."""

    admin: str
    is_simulated: bool
    windows: Mapping[str, str]
    said: str


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with skipped_without_part(), chromium() as started:
        yield started


@pytest.fixture(scope="module", params=["namespaces", "simulated"])
def played(request: pytest.FixtureRequest, browser: Browser) -> Iterator[Played]:  # noqa: ARG001
    """`browser` first: without one nothing has to be played."""
    if request.param == "namespaces":
        with skipped_without_part():
            require_namespaces()
    http, https, admin = (f"127.0.0.1:{free_port()}" for _ in range(3))
    argv = [sys.executable, str(DEMO), "--http", http, "--https", https, "--admin", admin]
    argv += ["--nodes", request.param, "--scene-seconds", str(SCENE_S)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        said = ""
        while said.count("Scene 1 of 4") < 2:
            line = demo.stdout.readline()
            assert line, said
            said += line
        found = re.findall(r"#/\w+\?(from=\d+&to=\d+)", said)
        windows = dict(zip(SCENES, found, strict=True))
        yield Played(admin, request.param == "simulated", windows, said)
        demo.terminate()
        demo.stdout.read()  # to its end: a full pipe would stop it
    assert demo.returncode == 0


def require_namespaces() -> None:
    try:
        with Namespace() as node, Wire("probe", "198.51.100.1", "198.51.100.2", node):
            pass
    except NetworkError as err:
        raise PartMissingError(f"nodes cannot be network namespaces here: {err}") from err


@pytest.fixture
def page(browser: Browser, played: Played) -> Iterator[Page]:
    with new_page(browser, played.admin) as opened:
        yield opened


def open_at(page: Page, name: str, played: Played, scene: str) -> None:
    page.goto(f"/#/{name}?{played.windows[scene]}")


def findings(page: Page) -> Locator:
    """The sentences about what stands out."""
    return page.locator(".findings li")


def test_where_all_is_well_no_node_stands_out(page: Page, played: Played) -> None:
    open_at(page, "nodes", played, "all is well")

    expect(page.get_by_text("No node stands out.")).to_be_visible()
    for node in ("node-1", "node-2", "node-3"):
        expect(page.locator("table.nodes").get_by_role("link", name=node)).to_be_visible()


def test_the_slow_service_is_found_from_the_first_page_by_one_click(
    page: Page, played: Played
) -> None:
    open_at(page, "overview", played, "a slow service")
    findings(page).get_by_role("link", name="recommend rank items takes").first.click()

    expect(page).to_have_url(re.compile("#/bottlenecks"))
    first = page.locator(".bottlenecks li").first
    expect(first).to_contain_text("recommend rank items")
    expect(first).to_contain_text("app")


def test_a_slow_service_makes_no_node_stand_out(page: Page, played: Played) -> None:
    open_at(page, "nodes", played, "a slow service")

    expect(page.get_by_text("No node stands out.")).to_be_visible()


def test_of_the_slow_node_the_apps_stand_out(page: Page, played: Played) -> None:
    open_at(page, "nodes", played, "a slow node")

    expect(findings(page)).to_have_count(1)
    expect(findings(page)).to_contain_text("On node-2 apps take")
    expect(page.locator("tr.is-outlier")).to_contain_text("node-2")


def test_of_the_node_behind_a_bad_path_the_network_stands_out(page: Page, played: Played) -> None:
    open_at(page, "nodes", played, "a bad network path")

    expect(findings(page)).to_have_count(1)
    sentence = (
        "On node-3 the network to its pods takes"
        if played.is_simulated
        else "The network to node-3 loses packets: for"
    )
    expect(findings(page)).to_contain_text(sentence)
    expect(page.locator("tr.is-outlier")).to_contain_text("node-3")


def test_a_bad_path_is_where_slow_requests_wait(page: Page, played: Played) -> None:
    open_at(page, "bottlenecks", played, "a bad network path")

    expect(page.locator(".bottlenecks li").first).to_contain_text("cluster-network")


def test_the_terminal_says_what_is_simulated(played: Played) -> None:
    assert ("simulated: no packet is lost" in played.said) is played.is_simulated
    assert ("--kernel-timestamps off" in played.said) is played.is_simulated
