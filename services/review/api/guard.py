"""What every request passes before the application sees it: who asks and what they may, bounds, where it may come from.

Bound to loopback and without a token in its settings the API answers loopback names only, and writes only from its own
pages: otherwise any web page that a reviewer visits could edit, or read through a name of its own that points to
127.0.0.1. Anywhere else every request to the API carries a token, as a header or in the session's cookie. Signed media
addresses open by themselves; the pages themselves hold no secret.
"""

from __future__ import annotations

import hashlib
import logging
import re
import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sqlalchemy import text
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from services.chassis.db import PASSING
from services.review.api.actors import OPEN, SCOPE, Actor, Role
from services.review.api.addresses import PATH as MEDIA
from services.review.api.door import MOST_CALLERS, Doorkeeper, Unknown
from services.review.api.problems import problem
from services.review.api.sessions import COOKIE, no_session

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
OPERATORS = ("/api/ops/", "/api/dead-letters/", "/api/profiles/", "/api/search/reembed")
OPERATORS_ALWAYS = ("/api/tokens", "/api/audit")
WITHOUT_TOKEN = frozenset({("POST", "/api/session"), ("DELETE", "/api/session")})
EDITS = re.compile(r"/api/(videos/[^/]+/(edits|rest)|edits/.+|batch|batch/undo)")
LARGEST_PICTURE = 20_000_000
LARGEST_PART = 1 << 30
_PART = re.compile(r"/api/uploads/[^/]+/parts/\d+")
"""Where parts of uploads are put: as large as parts are, and checked there against the part's own size."""
BURST_SECONDS = 5
MEDIA_COST = 0.1
_AUDIT = text("INSERT INTO audit (at, actor, role, action, status) VALUES (:at, :actor, :role, :action, :status)")


class Rates:
    """How often somebody may ask: a bucket each, refilled steadily."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, caller: str, cost: float, now: float) -> float:
        """Seconds to wait before asking; 0 if the request may go on."""
        most = self._rate * BURST_SECONDS
        left, at = self._buckets.get(caller, (most, now))
        left = min(most, left + (now - at) * self._rate)
        if left < cost:
            self._buckets[caller] = (left, now)
            return (cost - left) / self._rate
        if len(self._buckets) >= MOST_CALLERS and caller not in self._buckets:
            self._buckets.clear()
        self._buckets[caller] = (left - cost, now)
        return 0.0


class Guard:
    """Refuses what must not come in, and adds the headers that keep pages safe."""

    def __init__(self, app: ASGIApp, runtime: Runtime, door: Doorkeeper) -> None:
        settings = runtime.settings
        self._app = app
        self._runtime = runtime
        self._door = door
        self._limit: int = settings.review_max_body_bytes
        self._rates = Rates(settings.review_rate)
        store = _origin(settings.s3_public_endpoint or settings.s3_endpoint)
        talk = f"'self' {store}" if settings.review_direct_uploads else "'self'"
        self._headers = {
            "Content-Security-Policy": (
                "default-src 'none'; script-src 'self'; style-src 'self'; "
                f"connect-src {talk}; "
                "img-src 'self' blob: data:; media-src 'self' blob:; worker-src 'self'; manifest-src 'self'; "
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
        method, path = scope["method"], scope["path"]
        dressed = self._dressed(scope, headers, send)
        if refusal := self._refusal(method, path, headers):
            await problem(*refusal)(scope, receive, dressed)
            return
        caller = scope["client"][0] if scope.get("client") else "local"
        if path.startswith("/api/"):
            try:
                actor = await self._actor(method, path, headers)
            except PASSING as error:
                log.warning("A request met no database.", extra={"reason": repr(error)[:300]})
                detail = "The database does not answer; try again in a moment."
                await problem(503, "database.unavailable", detail)(scope, receive, dressed)
                return
            wait = self._rates.take(
                f"{caller} {actor.name if actor else ''}",
                MEDIA_COST if path.startswith(MEDIA) else 1.0,
                time.monotonic(),
            )
            if wait > 0:
                answer = problem(429, "http.too_many", f"Too many requests; ask again in {wait:.1f} s.")
                answer.headers["Retry-After"] = str(int(wait) + 1)
                await answer(scope, receive, dressed)
                return
            if actor is None:
                await no_session()(scope, receive, dressed)
                return
            if actor.role < (needed := _needed(method, path)):
                detail = f"That is for the role {needed.spelt}; this token's is {actor.role.spelt}."
                await problem(403, "http.forbidden", detail)(scope, receive, dressed)
                return
            scope[SCOPE] = actor
            if method not in SAFE_METHODS and not EDITS.fullmatch(path):
                dressed = self._audited(actor, method, path, dressed)
        await self._app(scope, self._bounded(method, path, receive), dressed)

    async def _actor(self, method: str, path: str, headers: Headers) -> Actor | None:
        if self._door.is_open or path.startswith(MEDIA) or (method, path) in WITHOUT_TOKEN:
            return OPEN
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not token:
            token = cookie_parser(headers.get("cookie", "")).get(COOKIE, "")
        if not token or len(token) > 200:
            return None
        try:
            return await self._door.bearer(token)
        except Unknown:
            return None

    def _limit_of(self, method: str, path: str) -> int:
        """The largest body that a path takes, in bytes."""
        if method == "PUT" and _PART.fullmatch(path):
            return LARGEST_PART
        return max(self._limit, LARGEST_PICTURE) if path == "/api/search/image" else self._limit

    def _bounded(self, method: str, path: str, receive: Receive) -> Receive:
        taken = 0
        limit = self._limit_of(method, path)

        async def bounded() -> Message:
            nonlocal taken
            message = await receive()
            if message["type"] == "http.request":
                taken += len(message.get("body", b""))
                if taken > limit:
                    status, _, detail = _too_large(limit)
                    raise HTTPException(status, detail)
            return message

        return bounded

    def _dressed(self, scope: Scope, headers: Headers, send: Send) -> Send:
        """Adds the safe headers; JSON that is read carries an ETag, and what the reader has already is not sent again."""
        has_tag = scope["method"] == "GET" and scope["path"].startswith("/api/")
        known = headers.get("if-none-match", "")
        held: Message | None = None

        async def dressed(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start":
                fields = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    fields.setdefault(name, value)
                if scope["path"].startswith("/api/"):
                    fields.setdefault("Cache-Control", "no-store")
                is_json = fields.get("content-type", "").startswith("application/json")
                if has_tag and message["status"] == 200 and is_json:
                    held = message
                    return
            elif held is not None:
                start, held = held, None
                if not message.get("more_body", False):
                    fields = MutableHeaders(scope=start)
                    tag = f'"{hashlib.sha256(message.get("body", b"")).hexdigest()[:32]}"'
                    fields["ETag"] = tag
                    if fields["Cache-Control"] == "no-store":
                        fields["Cache-Control"] = "private, no-cache"
                    if tag in known:
                        start["status"] = 304
                        del fields["content-length"]
                        message = {**message, "body": b""}
                await send(start)
            await send(message)

        return dressed

    def _audited(self, actor: Actor, method: str, path: str, send: Send) -> Send:
        """Keeps who did what once the answer is on its way; edits have a history of their own."""

        async def audited(message: Message) -> None:
            if message["type"] == "http.response.start":
                try:
                    async with self._runtime.transaction() as ledger:
                        await ledger.session.execute(
                            _AUDIT,
                            {
                                "at": ledger.now,
                                "actor": actor.name,
                                "role": actor.role.spelt,
                                "action": f"{method} {path[:500]}".replace("\x00", "\N{REPLACEMENT CHARACTER}"),
                                "status": message["status"],
                            },
                        )
                except PASSING as error:
                    log.warning("The audit met no database.", extra={"action": path, "reason": repr(error)[:200]})
            await send(message)

        return audited

    def _refusal(self, method: str, path: str, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if self._door.is_open and _name(host) not in LOOPBACK_NAMES:
            return (
                421,
                "http.foreign_host",
                "Without a token the API answers to localhost only; set HEATERS_HTTP_TOKEN.",
            )
        origin = headers.get("origin")
        if method not in SAFE_METHODS and origin is not None and _netloc(origin) != host:
            return 403, "http.foreign_origin", "Only the service's own pages may change anything."
        length = headers.get("content-length", "0")
        limit = self._limit_of(method, path)
        if not length.isdecimal() or len(length) > 18 or int(length) > limit:
            return _too_large(limit)
        return None


def _too_large(limit: int) -> tuple[int, str, str]:
    return 413, "http.too_large", f"A request's body has at most {limit} bytes; send less at a time."


def _needed(method: str, path: str) -> Role:
    """The least role that may do this."""
    if path.startswith(OPERATORS_ALWAYS):
        return Role.OPERATOR
    if method in SAFE_METHODS or path == "/api/session":
        return Role.VIEWER
    if path.startswith(OPERATORS):
        return Role.OPERATOR
    return Role.VIEWER if path.startswith(("/api/search/", MEDIA)) else Role.REVIEWER


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"


def _netloc(address: str) -> str:
    try:
        return urlsplit(address).netloc
    except ValueError:
        return ""


def _name(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
