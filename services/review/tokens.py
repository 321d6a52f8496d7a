"""Tokens by which people and programs prove who they are. Only digests are kept: a lost token is replaced, not looked up.

A token is 256 bits of chance, so that one SHA-256 of it is as good as a slow hash.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.review.domain.marks import Refused

PREFIX = "heaters_"
MOST = 1_000

_COLUMNS = "id, name, role, created_at, created_by, expires_at, revoked_at"
_INSERT = text("""
    INSERT INTO token (id, name, role, digest, created_at, created_by, expires_at)
    VALUES (:id, :name, :role, :digest, :now, :by, :expires_at)
""")
_BY_DIGEST = text("""
    SELECT name, role, expires_at FROM token
    WHERE digest = :digest AND revoked_at IS NULL AND (expires_at IS NULL OR expires_at > :now)
""")
_LIST = text(f"SELECT {_COLUMNS} FROM token ORDER BY created_at DESC, id DESC LIMIT {MOST}")  # noqa: S608 - constants.
_REVOKE = text("UPDATE token SET revoked_at = coalesce(revoked_at, :now) WHERE id = :id RETURNING id")


@dataclass(frozen=True)
class Bearer:
    """Whose a token is."""

    name: str
    role: str


def digest_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


async def create(
    session: AsyncSession, *, name: str, role: str, by: str, now: datetime, expires_at: datetime | None
) -> tuple[UUID, str]:
    """A new token: its id, and itself, which is told this once."""
    token_id, token = uuid4(), PREFIX + secrets.token_urlsafe(32)
    await session.execute(
        _INSERT,
        {
            "id": token_id,
            "name": name,
            "role": role,
            "digest": digest_of(token),
            "now": now,
            "by": by,
            "expires_at": expires_at,
        },
    )
    return token_id, token


async def find(session: AsyncSession, digest: bytes, now: datetime) -> Bearer | None:
    """Whose the token of this digest is, if it is good now."""
    row = (await session.execute(_BY_DIGEST, {"digest": digest, "now": now})).first()
    return Bearer(row.name, row.role) if row else None


async def listed(session: AsyncSession) -> list[dict[str, Any]]:
    """All tokens, newest first, without what would open anything."""
    return [dict(row) for row in (await session.execute(_LIST)).mappings()]


async def revoke(session: AsyncSession, token_id: UUID, now: datetime) -> None:
    """Makes a token worthless. Raises ``Refused`` if there is none."""
    if (await session.execute(_REVOKE, {"id": token_id, "now": now})).first() is None:
        raise Refused(f"There is no token {token_id}; list them first.", code="review.unknown_token")
