"""The operator's view of the work ledgers and spans, straight from Postgres: what waits, runs and failed, and resuming it.

Each service keeps its ledger in a schema of its own; a schema that is not there yet is an empty one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from console.home import SERVICES

Connection = psycopg.Connection[dict[str, Any]]

_COUNTS = """
    SELECT state, kind, count(*) AS pieces, min(created_at) AS oldest,
        max(extract(epoch FROM clock_timestamp() - created_at))::float AS age_seconds
    FROM {schema}.work WHERE state <> 'done' GROUP BY state, kind ORDER BY state, kind
"""
_OUTBOX = "SELECT count(*) AS pieces FROM {schema}.outbox WHERE published_at IS NULL AND (release_at IS NULL OR release_at <= now())"
_FAILED = """
    SELECT id, kind, state, attempts, run, video_id, clip_id, error, finished_at
    FROM {schema}.work WHERE state = 'failed' ORDER BY finished_at DESC NULLS LAST LIMIT %(limit)s
"""
_RUNNING = """
    SELECT id, kind, state, attempts, run, video_id, clip_id, progress, started_at,
        extract(epoch FROM clock_timestamp() - started_at)::float AS run_seconds
    FROM {schema}.work WHERE state = 'running' ORDER BY started_at LIMIT %(limit)s
"""
_RETRY = """
    UPDATE {schema}.work SET state = 'waiting', run = run + 1, attempts = 0, crashes = 0, error = NULL, finished_at = NULL,
        not_before = clock_timestamp()
    WHERE state = 'failed' AND (%(everything)s OR id = %(id)s OR video_id = %(id)s OR clip_id = %(id)s)
    RETURNING id, kind, video_id, clip_id
"""
_TRACE = "SELECT * FROM telemetry.span WHERE trace_id = ANY(%(ids)s) ORDER BY started_at, span_id"


class LedgerError(Exception):
    """The database does not answer; the message says what to do."""


@contextmanager
def connect(database_url: str) -> Iterator[Connection]:
    """A connection on which every statement is its own transaction. Raises ``LedgerError``."""
    try:
        with psycopg.connect(
            database_url,
            autocommit=True,
            row_factory=dict_row,
            connect_timeout=5,
            application_name="heaters-console",
            options="-c statement_timeout=15s",
        ) as connection:
            yield connection
    except psycopg.OperationalError as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else "no reason given"
        message = f"the database does not answer: {first}; see: heaters status"
        raise LedgerError(message) from error


def _each(connection: Connection, statement: str, **values: Any) -> Iterator[dict[str, Any]]:
    """The rows of a statement over every service's schema, each with its service."""
    for service in SERVICES:
        try:
            rows = connection.execute(sql.SQL(statement).format(schema=sql.Identifier(service)), values).fetchall()
        except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
            continue
        for row in rows:
            yield {"service": service, **row}


def counts(connection: Connection) -> list[dict[str, Any]]:
    """Unfinished work: service, state, kind, pieces, age_seconds of the oldest."""
    return list(_each(connection, _COUNTS))


def unpublished(connection: Connection) -> dict[str, int]:
    """Events that wait to be published, by service."""
    return {row["service"]: row["pieces"] for row in _each(connection, _OUTBOX)}


def failed(connection: Connection, limit: int = 50) -> list[dict[str, Any]]:
    """The newest failed work of every service."""
    return list(_each(connection, _FAILED, limit=limit))


def running(connection: Connection, limit: int = 50) -> list[dict[str, Any]]:
    """What runs now, with its progress."""
    return list(_each(connection, _RUNNING, limit=limit))


def retry(connection: Connection, target: UUID | None) -> list[dict[str, Any]]:
    """Resumes failed work as a new run: one piece, one video's or one clip's by id, or all of it (None)."""
    return list(_each(connection, _RETRY, id=target, everything=target is None))


def spans(connection: Connection, trace_ids: Sequence[str]) -> list[dict[str, Any]]:
    """The finished spans of some traces."""
    try:
        return connection.execute(_TRACE, {"ids": list(trace_ids)}).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return []
