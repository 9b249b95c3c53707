"""docs/images/: the page as `make demo` shows it, drawn anew by `python docs/screenshots.py`.

Needs Debian's chromium and free ports, like the demo; takes some three minutes.
"""

import asyncio
import random
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Thread

import aiohttp
from playwright.sync_api import Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
HTTP, HTTPS, ADMIN = "127.0.0.1:28080", "127.0.0.1:28443", "127.0.0.1:29901"
SIZE = ViewportSize(width=1180, height=740)
TALL = ViewportSize(width=1180, height=1000)  # all of a trace
SCENE_S = 40.0
CLIENTS = 6
POLL_S = 0.2


class Demo:
    """One that runs. A context manager."""

    def __enter__(self) -> "Demo":
        argv = [sys.executable, str(ROOT / "deploy/demo"), "--scene-seconds", f"{SCENE_S:g}"]
        argv += ["--http", HTTP, "--https", HTTPS, "--admin", ADMIN]
        self._process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
        self._said: list[str] = []
        Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait()

    def wait_for(self, scene: int) -> None:
        """Until that scene begins."""
        title = f"Scene {scene} of "
        while not any(line.startswith(title) for line in list(self._said)):
            assert self._process.poll() is None, "it says why above"
            time.sleep(POLL_S)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        self._said.extend(self._process.stdout)


async def traffic(is_over: Event) -> None:
    """A few people who click."""

    async def click(session: aiohttp.ClientSession) -> None:
        while not is_over.is_set():
            path = random.choice(("/", "/", "/", "/items"))
            headers = {"Host": "shop.localhost"}
            async with session.get(f"http://{HTTP}{path}", headers=headers) as answer:
                await answer.read()
            await asyncio.sleep(random.uniform(0.05, 0.4))

    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(click(session) for _ in range(CLIENTS)))


def shoot(page: Page, name: str) -> None:
    """Writes the image of that name."""
    page.wait_for_timeout(1_500)  # for what moves to come to rest
    page.screenshot(path=IMAGES / f"{name}.png")


def draw(page: Page, demo: Demo) -> None:
    """All of them."""
    demo.wait_for(3)  # a service was slow
    page.goto(f"http://{ADMIN}/#/overview?since=5m")
    page.locator(".map").wait_for()
    shoot(page, "overview")
    page.goto(f"http://{ADMIN}/#/live")
    page.locator(".dot").first.wait_for()
    shoot(page, "live")
    page.set_viewport_size(TALL)
    page.goto(f"http://{ADMIN}/#/traces?since=5m&route=/&host=shop.localhost")
    page.locator("table.traces tbody tr a").first.click()
    page.get_by_role("tree").wait_for()
    page.locator(".step").first.wait_for()
    page.get_by_role("treeitem").last.scroll_into_view_if_needed()
    page.get_by_role("tree").evaluate("tree => tree.scrollTo(0, 0)")
    shoot(page, "trace")
    page.set_viewport_size(SIZE)
    page.goto(f"http://{ADMIN}/#/bottlenecks?since=5m")
    page.locator(".bottlenecks").first.wait_for()
    page.emulate_media(color_scheme="dark")
    shoot(page, "bottlenecks")
    demo.wait_for(4)  # a node was slow
    page.emulate_media(color_scheme="light")
    page.goto(f"http://{ADMIN}/#/nodes?since=1m&of=app")
    page.locator(".heat canvas").first.wait_for()
    shoot(page, "nodes")


def main() -> None:
    """Writes the images."""
    IMAGES.mkdir(exist_ok=True)
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    is_over = Event()
    with Demo() as demo, ThreadPoolExecutor(1) as others, sync_playwright() as playwright:
        demo.wait_for(1)
        clicked = others.submit(lambda: asyncio.run(traffic(is_over)))
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        try:
            draw(browser.new_page(viewport=SIZE, color_scheme="light"), demo)
        finally:
            browser.close()
            is_over.set()
        clicked.result()


if __name__ == "__main__":
    main()
