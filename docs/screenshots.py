"""docs/images/: the page as `make demo` shows it, drawn anew by `python docs/screenshots.py`.

Needs Debian's chromium and free ports, like the demo; takes about a minute.
"""

import asyncio
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

import aiohttp
from playwright.sync_api import Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
IMAGES = ROOT / "docs/images"
HTTP, HTTPS, ADMIN = "127.0.0.1:28080", "127.0.0.1:28443", "127.0.0.1:29901"
SIZE = ViewportSize(width=1180, height=740)
TRAFFIC_S = 60.0
CLIENTS = 6
READY = b"Ctrl-C ends everything"


@contextmanager
def demo() -> Iterator[None]:
    """The demo, once it runs."""
    argv = [sys.executable, str(ROOT / "deploy/demo")]
    argv += ["--http", HTTP, "--https", HTTPS, "--admin", ADMIN]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            while READY not in process.stdout.readline():
                assert process.poll() is None, "it says why above"
            Thread(target=process.stdout.read, daemon=True).start()  # a full pipe would stop it
            yield
        finally:
            process.terminate()


async def traffic(seconds: float) -> None:
    """A few people who click."""

    async def click(session: aiohttp.ClientSession) -> None:
        while time.monotonic() < end_s:
            path = random.choice(("/", "/", "/", "/items"))
            headers = {"Host": "shop.localhost"}
            async with session.get(f"http://{HTTP}{path}", headers=headers) as answer:
                await answer.read()
            await asyncio.sleep(random.uniform(0.05, 0.4))

    end_s = time.monotonic() + seconds
    async with aiohttp.ClientSession() as session:
        await asyncio.gather(*(click(session) for _ in range(CLIENTS)))


def draw(page: Page) -> None:
    """All of them."""

    def shoot(name: str) -> None:
        page.wait_for_timeout(1_500)  # for what moves to come to rest
        page.screenshot(path=IMAGES / f"{name}.png")

    page.goto(f"http://{ADMIN}/#/overview?since=5m")
    page.locator(".map").wait_for()
    shoot("overview")
    page.goto(f"http://{ADMIN}/#/live")
    page.locator(".dot").first.wait_for()
    shoot("live")
    page.goto(f"http://{ADMIN}/#/traces?since=5m&route=/&host=shop.localhost")
    page.locator("table.traces tbody tr a").first.click()
    page.get_by_role("tree").wait_for()
    page.locator(".step").first.wait_for()
    page.get_by_role("treeitem").last.scroll_into_view_if_needed()
    shoot("trace")
    page.goto(f"http://{ADMIN}/#/bottlenecks?since=5m")
    page.locator(".bottlenecks").first.wait_for()
    page.emulate_media(color_scheme="dark")
    shoot("bottlenecks")


def main() -> None:
    """Writes the images."""
    IMAGES.mkdir(exist_ok=True)
    program = shutil.which("chromium")
    assert program is not None, "apt-get install chromium"
    with demo(), ThreadPoolExecutor(1) as others, sync_playwright() as playwright:
        clicked = others.submit(lambda: asyncio.run(traffic(TRAFFIC_S)))
        time.sleep(TRAFFIC_S / 2)
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        draw(browser.new_page(viewport=SIZE, color_scheme="light"))
        browser.close()
        clicked.result()


if __name__ == "__main__":
    main()
