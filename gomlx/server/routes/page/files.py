"""The page: its files as the package has them, with headers that let nothing else in.

It has no secrets: what it shows it reads as any client does, if need be with a token.
"""

import gzip
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import Any

import falcon.asgi

from gomlx.server.routes.response import MIN_GZIP_BYTES, accepts_gzip

_FOLDER = Path(__file__).parent / "static"
_PAGE = "/ui"
_SCRIPT = "text/javascript; charset=utf-8"
_FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
    "/uplot.js": ("uplot/uPlot.iife.min.js", _SCRIPT),
    "/uplot.css": ("uplot/uPlot.min.css", "text/css; charset=utf-8"),
}
# Scripts, styles, images and requests of this origin only; nothing inline. No text can
# become markup (trusted types), and no site can frame the page.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # kept, and compared by ETag each time
    "Vary": "Accept-Encoding",
}


def page_routes() -> dict[str, Any]:
    """Return the routes of the page, by path."""
    modules = {f"/{path.name}": (path.name, _SCRIPT) for path in _FOLDER.glob("*.js")}
    routes: dict[str, Any] = {
        f"{_PAGE}{path}": FileRoute(_FOLDER / name, kind)
        for path, (name, kind) in (_FILES | modules).items()
    }
    return routes | {f"{_PAGE}/": _Moved()}


class FileRoute:
    """Answers GET with a file of the package, which is read once."""

    def __init__(self, path: Path, content_type: str) -> None:
        self._path = path
        self._content_type = content_type

    async def on_get(
        self, request: falcon.asgi.Request, response: falcon.asgi.Response
    ) -> None:
        response.set_headers(_HEADERS)
        response.etag = self._tag
        if self._tag in (request.if_none_match or []):
            response.status = 304
            return
        response.content_type = self._content_type
        response.data = self._body
        if self._packed and accepts_gzip(request):
            response.set_header("Content-Encoding", "gzip")
            response.data = self._packed

    @cached_property
    def _body(self) -> bytes:
        return self._path.read_bytes()

    @cached_property
    def _packed(self) -> bytes:
        is_large = len(self._body) > MIN_GZIP_BYTES
        return gzip.compress(self._body, mtime=0) if is_large else b""

    @cached_property
    def _tag(self) -> str:
        return blake2b(self._body, digest_size=16).hexdigest()


class _Moved:
    """Sends those who add a slash to the page; its links are relative."""

    async def on_get(self, _: Any, response: falcon.asgi.Response) -> None:
        response.status = 308
        response.set_header("Location", f"..{_PAGE}")
