"""What every request passes before the application sees it: bounds on its body, where it may come from, safe headers.

Without a token the API answers loopback names only, and writes only from its own pages: otherwise any web page that a
reviewer visits could edit, or read through a name of its own that points to 127.0.0.1.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.review.api.problems import problem

if TYPE_CHECKING:
    from services.review.settings import Settings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
_PART = re.compile(r"/api/uploads/[^/]+/parts/\d+")
"""Where parts of uploads are put: as large as parts are, and checked there against the part's own size."""
LARGEST_PART = 1 << 30

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Guard:
    """Refuses what must not come in, and adds the headers that keep pages safe."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._limit = settings.review_max_body_bytes
        self._is_open = not settings.http_token.get_secret_value()
        store = _origin(settings.s3_public_endpoint or settings.s3_endpoint)
        talk = f"'self' {store}" if settings.review_direct_uploads else "'self'"
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; "
                f"connect-src {talk}; "
                f"img-src 'self' {store}; media-src 'self' {store}; "
                "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
            ),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Opener-Policy": "same-origin",
            "Cross-Origin-Resource-Policy": "same-origin",
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, or answers it with a problem document."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        limit = LARGEST_PART if scope["method"] == "PUT" and _PART.fullmatch(scope["path"]) else self._limit
        if refusal := self._refusal(scope["method"], headers, limit):
            await problem(*refusal)(scope, receive, send)
            return
        taken = 0

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > limit:
                    status, _, detail = _too_large(limit)
                    raise HTTPException(status, detail)
            return message

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    fields.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    fields.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, bounded, dressed)

    def _refusal(self, method: str, headers: Headers, limit: int) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if self._is_open and _name(host) not in LOOPBACK_NAMES:
            return (
                421,
                "http.foreign_host",
                "Without a token the API answers to localhost only; set HEATERS_HTTP_TOKEN.",
            )
        origin = headers.get("origin")
        if method not in SAFE_METHODS and origin is not None and urlsplit(origin).netloc != host:
            return 403, "http.foreign_origin", "Only the service's own pages may change anything."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > limit:
            return _too_large(limit)
        return None


def _too_large(limit: int) -> tuple[int, str, str]:
    return 413, "http.too_large", f"A request's body has at most {limit} bytes; send less at a time."


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
