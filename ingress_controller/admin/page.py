"""The web page: its files as they are in `ui/`, and what `/` answers.

Rules: no build step and nothing made here: the page is static and asks the same API as everybody.
Its addresses are relative, and what it shows is behind the `#`, so that it also works below a
path, as `kubectl proxy` has it.
"""

from pathlib import Path

from aiohttp import web

UI = Path(__file__).with_name("ui")
"""What is served below `/ui/`; `vendor/README.md` there says what of it is not ours."""


def add_page(app: web.Application, index: str) -> None:
    """`index` is what `/` says to who does not want a page."""

    async def root(request: web.Request) -> web.StreamResponse:
        headers = {"Cache-Control": "no-cache", "Vary": "Accept"}
        if "text/html" in request.headers.get("Accept", ""):
            return web.FileResponse(UI / "index.html", headers=headers)
        return web.Response(text=index, headers=headers)

    app.router.add_get("/", root)
    app.router.add_static("/ui/", UI)
    app.on_response_prepare.append(_revalidated)


async def _revalidated(request: web.Request, response: web.StreamResponse) -> None:
    """A new version of Spanway is a new page, at once; unchanged files cost a 304."""
    if request.path.startswith("/ui/"):
        response.headers["Cache-Control"] = "no-cache"
