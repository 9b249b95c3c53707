"""The real Chromium, driven by Playwright: Debian's, since nothing is downloaded here."""

from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

from scene.parts import debian_part

DEADLINE_S = 15.0
"""For what a person would wait for; a loaded machine takes seconds to start a page."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A running one, without a window. Raises PartMissingError where there is none."""
    program = debian_part("chromium", "chromium")
    with sync_playwright() as playwright:
        # As root, and in a namespace, it has no sandbox of its own to make.
        browser = playwright.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser, address: str) -> Iterator[Page]:
    """A new window for `http://address`. Whatever a test does in it, no script fails and nothing
    foreign is asked for."""
    context = browser.new_context(base_url=f"http://{address}")
    opened = context.new_page()
    said = Said(opened)
    yield opened
    context.close()
    assert (said.errors, said.foreign) == ([], [])


class Said:
    """What a page complained of: errors of scripts, and what its security policy kept from it."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.foreign: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._note)
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith("http://127.0.0.1:")
                else self.foreign.append(request.url)
            ),
        )

    def _note(self, message: ConsoleMessage) -> None:
        # What the server refuses is said on the page, and by the browser here.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)
