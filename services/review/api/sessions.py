"""Routes about who one is: a session for pages, which cannot send a token with every picture; tokens; and the audit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, Field
from sqlalchemy import text

from services.review import tokens
from services.review.api import cursors
from services.review.api.actors import RoleName, Who
from services.review.api.problems import problem
from services.review.api.requests import Cursor, Limit
from services.review.api.shapes import Body, Name

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime
    from services.review.api.door import Doorkeeper

COOKIE = "heaters_session"
SESSION = timedelta(days=30)
_AUDIT = "SELECT seq, at, actor, role, action, status FROM audit WHERE seq < :before ORDER BY seq DESC LIMIT :limit"


class SessionOut(BaseModel):
    """Who asks. ``auth`` is ``open`` where no token is asked for."""

    auth: Literal["open", "token"]
    name: str
    role: RoleName


class SessionBody(Body):
    """A token, to be kept in a cookie that no script can read."""

    token: Annotated[str, Field(min_length=1, max_length=200)]


class TokenBody(Body):
    """A token to be made. Without ``days`` it lasts until it is revoked."""

    name: Name
    role: RoleName
    days: Annotated[int | None, Field(ge=1, le=3650)] = None


class TokenOut(BaseModel):
    """A token, without what would open anything."""

    id: UUID
    name: str
    role: RoleName
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    revoked_at: datetime | None


class TokenMade(BaseModel):
    """A new token. It is told this once."""

    id: UUID
    name: str
    role: RoleName
    expires_at: datetime | None
    token: str


class TokenList(BaseModel):
    """All tokens, newest first."""

    tokens: list[TokenOut]


class AuditEntry(BaseModel):
    """Something that somebody changed or tried to change. Edits are in the history of their videos."""

    at: datetime
    actor: str
    role: str
    action: str
    status: int


class AuditPage(BaseModel):
    """Some of the audit, newest first."""

    entries: list[AuditEntry]
    next: str | None


def add_sessions(app: FastAPI, runtime: Runtime, door: Doorkeeper) -> None:
    """Adds the routes."""

    @app.get("/api/session", tags=["session"])
    async def show_session(who: Who) -> SessionOut:
        """Who one is, and what one may do."""
        return SessionOut(auth="token" if who.is_known else "open", name=who.name, role=who.role.spelt)

    @app.post("/api/session", tags=["session"])
    async def open_session(body: SessionBody, request: Request, response: Response) -> SessionOut:
        """Keeps a token in a cookie, so that a page's pictures, players and live events carry it."""
        who = await door.bearer(body.token)
        if who.is_known:
            response.set_cookie(
                COOKIE,
                body.token,
                max_age=int(SESSION.total_seconds()),
                httponly=True,
                samesite="strict",
                secure=request.url.scheme == "https",
            )
        return SessionOut(auth="token" if who.is_known else "open", name=who.name, role=who.role.spelt)

    @app.delete("/api/session", tags=["session"], status_code=204)
    async def close_session() -> Response:
        """Forgets the cookie."""
        response = Response(status_code=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return response

    @app.get("/api/tokens", tags=["session"])
    async def list_tokens() -> TokenList:
        """All tokens, newest first."""
        async with runtime.transaction() as ledger:
            return TokenList(tokens=[TokenOut(**row) for row in await tokens.listed(ledger.session)])

    @app.post("/api/tokens", tags=["session"], status_code=201)
    async def make_token(body: TokenBody, who: Who) -> TokenMade:
        """Makes a token and tells it, this once."""
        async with runtime.transaction() as ledger:
            expires_at = ledger.now + timedelta(days=body.days) if body.days else None
            token_id, token = await tokens.create(
                ledger.session, name=body.name, role=body.role, by=who.name, now=ledger.now, expires_at=expires_at
            )
        return TokenMade(id=token_id, name=body.name, role=body.role, expires_at=expires_at, token=token)

    @app.delete("/api/tokens/{token_id}", tags=["session"], status_code=204)
    async def revoke_token(token_id: UUID) -> Response:
        """Makes a token worthless, within seconds on every replica."""
        async with runtime.transaction() as ledger:
            await tokens.revoke(ledger.session, token_id, ledger.now)
        door.forget()
        return Response(status_code=204)

    @app.get("/api/audit", tags=["session"])
    async def list_audit(limit: Limit = 100, cursor: Cursor = None) -> AuditPage:
        """Who changed what beside edits, newest first."""
        place = cursors.read(cursor, cursors.serial)
        before = place[0] if place else 2**63 - 1
        async with runtime.transaction() as ledger:
            found = await ledger.session.execute(text(_AUDIT), {"before": before, "limit": limit + 1})
            rows = found.mappings().all()
        shown, following = cursors.page(rows, limit, "seq")
        return AuditPage(entries=[AuditEntry(**row) for row in shown], next=following)


def no_session() -> JSONResponse:
    """The answer to a page without a session, which then asks for a token."""
    answer = problem(
        401, "http.unauthorized", "Send the token as 'Authorization: Bearer …', or open a session with it."
    )
    answer.headers["WWW-Authenticate"] = "Bearer"
    return answer
