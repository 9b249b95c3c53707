"""What the web page's files are; that it works, tests/real/test_page.py says in a browser."""

import hashlib
import re
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from ingress_controller.admin.page import UI, add_page
from ingress_controller.admin.vendored import FILES, VENDOR

OWN = sorted(
    path for path in UI.rglob("*") if path.suffix in (".js", ".html") and VENDOR not in path.parents
)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("text/html,*/*;q=0.8", "text/html"), ("*/*", "text/plain"), (None, "text/plain")],
)
async def test_a_browser_gets_the_page_and_curl_the_index(accept: str | None, kind: str) -> None:
    app = web.Application()
    add_page(app, "index")
    headers = {} if accept is None else {"Accept": accept}
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/", headers=headers)
        assert (answer.status, answer.content_type) == (200, kind)


async def test_files_are_asked_for_anew_and_nothing_above_them_is_served() -> None:
    app = web.Application()
    add_page(app, "index")
    async with TestClient(TestServer(app)) as client:
        answer = await client.get("/ui/app.js")
        assert answer.content_type.endswith("/javascript")
        assert answer.headers["Cache-Control"] == "no-cache"
        again = await client.get("/ui/app.js", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        assert (await client.get("/ui/%2e%2e/server.py")).status in (403, 404)


@pytest.mark.parametrize("wanted", FILES, ids=lambda file: file.name)
def test_a_library_is_as_it_was_published(wanted: tuple[str, ...]) -> None:
    *_, name, sha256 = wanted
    assert hashlib.sha256((VENDOR / name).read_bytes()).hexdigest() == sha256


def test_every_library_has_its_licence_beside_it() -> None:
    assert {path.name for path in VENDOR.iterdir()} == {file.name for file in FILES}
    packages = {file.package.lower() for file in FILES}
    assert {
        file.name.removeprefix("LICENSE-").lower() for file in FILES if "LICENSE" in file.name
    } == packages


@pytest.mark.parametrize("path", OWN, ids=lambda path: path.name)
def test_the_page_takes_nothing_from_elsewhere_and_sets_no_markup(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"(src|href|from|import)\s*=?\s*['\"(]+(https?:)?//", text)
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|dangerously|\beval\(|new Function", text
    )
    assert not re.search(r"<script(?![^>]*src=)|\son\w+=\"|\sstyle=\"", text)
