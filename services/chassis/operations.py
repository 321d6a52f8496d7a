"""The work ledgers of every service, for whoever watches the whole: what waits, runs, failed and was done.

The ledger's tables are the chassis's own and the same in every service's schema; no table of a service's own is read here.
A schema that is not there yet is an empty one. Every query walks an index and is bounded.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

MOST_FINISHED = 5_000
"""Finished pieces of an hour that figures are made from, the latest ones."""

_SERVICES = text("""
    SELECT work.schemaname AS name FROM pg_tables AS work JOIN pg_tables AS outbox USING (schemaname)
    WHERE work.tablename = 'work' AND outbox.tablename = 'outbox' ORDER BY work.schemaname
""")
_WAITING = """
    SELECT kind, count(*) AS pieces, min(created_at) AS oldest FROM (
        SELECT kind, created_at FROM {schema}.work WHERE state = 'waiting'
        ORDER BY priority DESC, created_at, id LIMIT 100000
    ) AS line GROUP BY kind
"""
_RUNNING_COUNTS = "SELECT kind, count(*) AS pieces FROM {schema}.work WHERE state = 'running' GROUP BY kind"
_FAILED_COUNTS = """
    SELECT kind, count(*) AS pieces, count(*) FILTER (WHERE finished_at > :since) AS lately FROM (
        SELECT kind, finished_at FROM {schema}.work WHERE state = 'failed' ORDER BY finished_at DESC LIMIT 100000
    ) AS line GROUP BY kind
"""
_DONE = """
    SELECT kind, count(*) AS pieces,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)) AS p50,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM finished_at - started_at)) AS p95
    FROM (
        SELECT kind, started_at, finished_at FROM {schema}.work
        WHERE state = 'done' AND finished_at > :since ORDER BY finished_at DESC LIMIT :most
    ) AS line GROUP BY kind
"""
_UNPUBLISHED = """
    SELECT count(*) AS pieces FROM (
        SELECT FROM {schema}.outbox WHERE published_at IS NULL AND (release_at IS NULL OR release_at <= :now) LIMIT 100000
    ) AS line
"""
_FAILED = """
    SELECT id AS work_id, '{schema}' AS service, kind, video_id, clip_id, run, attempts, error, finished_at
    FROM {schema}.work WHERE state = 'failed' AND (finished_at, id) < (:at, :id) ORDER BY finished_at DESC, id DESC LIMIT :limit
"""
_RUNNING = """
    SELECT id AS work_id, '{schema}' AS service, kind, video_id, clip_id, started_at, progress
    FROM {schema}.work WHERE state = 'running' ORDER BY lease_until LIMIT :limit
"""
_RETRY_ONE = """
    UPDATE {schema}.work SET state = 'waiting', run = run + 1, attempts = 0, crashes = 0, error = NULL, finished_at = NULL,
        not_before = :now
    WHERE state = 'failed' AND id = :id
"""
_RETRY_ALL = """
    UPDATE {schema}.work SET state = 'waiting', run = run + 1, attempts = 0, crashes = 0, error = NULL, finished_at = NULL,
        not_before = :now
    WHERE state = 'failed'
"""
_DISCARD = "UPDATE {schema}.work SET state = 'cancelled', finished_at = :now WHERE state = 'failed' AND id = :id"
_SPANS = text("""
    SELECT trace_id, span_id, parent_id, links, service, name, started_at, ended_at, status, attributes
    FROM telemetry.span WHERE trace_id = ANY(:ids) ORDER BY started_at, span_id LIMIT 5000
""")


@dataclass
class Line:
    """One kind of work of one service. Ages in seconds; ``done`` and ``lately_failed`` are of the last hour."""

    service: str
    kind: str
    waiting: int = 0
    oldest_seconds: float | None = None
    running: int = 0
    failed: int = 0
    lately_failed: int = 0
    done: int = 0
    p50: float | None = None
    p95: float | None = None


async def services(session: AsyncSession) -> list[str]:
    """The services that keep a ledger in this database."""
    return [name for name in (await session.execute(_SERVICES)).scalars() if _is_plain(name)]


async def lines(session: AsyncSession, now: datetime, since: datetime) -> tuple[list[Line], dict[str, int]]:
    """How every kind of work stands, and how many events each service has yet to publish."""
    found: dict[tuple[str, str], Line] = {}
    unpublished = {}
    for service in await services(session):

        def line(row: Mapping[Any, Any], service: str = service) -> Line:
            return found.setdefault((service, row["kind"]), Line(service, row["kind"]))

        for row in await _rows(session, _WAITING, service):
            line(row).waiting = row["pieces"]
            line(row).oldest_seconds = max(0.0, (now - row["oldest"]).total_seconds())
        for row in await _rows(session, _RUNNING_COUNTS, service):
            line(row).running = row["pieces"]
        for row in await _rows(session, _FAILED_COUNTS, service, since=since):
            line(row).failed, line(row).lately_failed = row["pieces"], row["lately"]
        for row in await _rows(session, _DONE, service, since=since, most=MOST_FINISHED):
            line(row).done, line(row).p50, line(row).p95 = row["pieces"], float(row["p50"]), float(row["p95"])
        (row,) = await _rows(session, _UNPUBLISHED, service, now=now)
        unpublished[service] = row["pieces"]
    return list(found.values()), unpublished


async def failed(session: AsyncSession, before: tuple[datetime, UUID], limit: int) -> list[Mapping[Any, Any]]:
    """Failed work of every service, the latest first, that failed before a place."""
    rows: list[Mapping[Any, Any]] = []
    for service in await services(session):
        rows += await _rows(session, _FAILED, service, at=before[0], id=before[1], limit=limit)
    return sorted(rows, key=lambda row: (row["finished_at"], row["work_id"]), reverse=True)[:limit]


async def running(session: AsyncSession, limit: int) -> list[Mapping[Any, Any]]:
    """What runs now."""
    rows: list[Mapping[Any, Any]] = []
    for service in await services(session):
        rows += await _rows(session, _RUNNING, service, limit=limit)
    return rows[:limit]


async def retry(session: AsyncSession, service: str, work_id: UUID | None, now: datetime) -> int:
    """Resumes one failed piece of work, or all of a service, as new runs. How many."""
    values: dict[str, Any] = {"now": now} if work_id is None else {"now": now, "id": work_id}
    return await _changed(session, _RETRY_ALL if work_id is None else _RETRY_ONE, service, **values)


async def discard(session: AsyncSession, service: str, work_id: UUID, now: datetime) -> int:
    """Gives up one failed piece of work; it stays on record. How many."""
    return await _changed(session, _DISCARD, service, now=now, id=work_id)


async def spans(session: AsyncSession, trace_ids: Collection[str]) -> list[Mapping[Any, Any]]:
    """The finished spans of some traces."""
    return list((await session.execute(_SPANS, {"ids": list(trace_ids)})).mappings())


async def _rows(session: AsyncSession, statement: str, service: str, **values: Any) -> list[Mapping[Any, Any]]:
    return list((await session.execute(text(statement.replace("{schema}", service)), values)).mappings())


async def _changed(session: AsyncSession, statement: str, service: str, **values: Any) -> int:
    if service not in await services(session):
        return 0
    result = await session.execute(text(statement.replace("{schema}", service) + " RETURNING id"), values)
    return len(result.all())


def _is_plain(name: str) -> bool:
    """Whether a schema's name may stand in a statement as it is."""
    return name.isascii() and name.isidentifier() and name == name.lower()
