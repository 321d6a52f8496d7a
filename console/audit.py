"""Holds the object store against the database: objects that no row knows, rows whose object is missing; and mends both.

What rows know: the results of finished work (every object that they name, and their markers), uploads, contents, vectors.
Guarantees: nothing is judged that work in progress may be writing or that is younger than a given age; an object is
deleted only if the database, asked again just before, still does not know it; a missing object is mended by doing the work
again that made it, and where that cannot help (its own source is gone) it is told as lost. Reading alone changes nothing.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from pydantic import ValidationError

from console.home import SERVICES
from console.ledger import Connection
from services.chassis.objects import ObjectStore

PREFIXES = ("clips/", "cleaned/", "uploads/", "videos/")
"""Where the house puts objects. What else lies in the bucket is somebody else's."""

GRACE = timedelta(hours=1)
_IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")

_WORK = """
    SELECT id, kind, state, video_id, clip_id, input, result, finished_at FROM {schema}.work
    WHERE state IN ('waiting', 'running', 'done') ORDER BY finished_at NULLS LAST, id
"""
_CLEANED = """
    SELECT clip_id, max(finished_at) AS at FROM {schema}.work
    WHERE kind = 'clean' AND state = 'done' AND clip_id IS NOT NULL GROUP BY clip_id
"""
_AGAIN = """
    UPDATE {schema}.work SET state = 'waiting', run = run + 1, attempts = 0, crashes = 0, error = NULL, result = NULL,
        finished_at = NULL, not_before = clock_timestamp()
    WHERE id = %(id)s AND state = 'done' RETURNING id
"""
_UPLOADS = "SELECT object_key, state FROM review.upload WHERE state <> 'aborted'"
_CONTENTS = "SELECT object_key FROM ingest.content"
_VECTORS = "SELECT DISTINCT object_key FROM embed.embedding WHERE object_key <> ''"


@dataclass(frozen=True)
class Maker:
    """The piece of work that made an object."""

    service: str
    work_id: UUID
    kind: str
    marker: str
    source: str = ""
    """What the keys of the object begin with that it was made from, where that came from outside."""


@dataclass(frozen=True)
class Missing:
    """A row that names an object which is not there."""

    key: str
    maker: Maker


@dataclass(frozen=True)
class Orphan:
    """An object that no row knows."""

    key: str
    size: int
    modified: datetime


@dataclass
class Known:
    """What the database knows: keys that may lie in the store, and of those that must, who made them."""

    keys: set[str] = field(default_factory=set)
    due: dict[str, Maker] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    """Ids of videos and clips on which work waits or runs."""


@dataclass(frozen=True)
class Findings:
    """What an audit found. ``objects`` and ``due`` say how much was looked at."""

    orphans: tuple[Orphan, ...]
    missing: tuple[Missing, ...]
    objects: int
    due: int


@dataclass(frozen=True)
class Mended:
    """What was done about it."""

    deleted: tuple[str, ...]
    redone: tuple[Missing, ...]
    lost: tuple[Missing, ...]


def examine(connection: Connection, objects: ObjectStore, *, grace: timedelta = GRACE) -> Findings:
    """Compares both sides. Objects younger than ``grace`` are not judged: their rows may not be committed yet."""
    listed = {entry.key: entry for prefix in PREFIXES for entry in objects.entries(prefix)}
    # The rows are read after the listing: what was made meanwhile is known, and what was listed is not newer than they.
    known = read_known(connection)
    before = datetime.now(UTC) - grace
    orphans = tuple(
        Orphan(entry.key, entry.size, entry.modified)
        for entry in sorted(listed.values(), key=lambda entry: entry.key)
        if entry.modified <= before and is_orphan(entry.key, known)
    )
    missing = tuple(
        Missing(key, maker)
        for key, maker in sorted(known.due.items())
        # A listing may leave out what is there; what it does not show is asked for by name.
        if key not in listed and objects.head(key) is None
    )
    return Findings(orphans, missing, len(listed), len(known.due))


def is_orphan(key: str, known: Known) -> bool:
    """Whether no row knows the object, and no work in progress could be writing it."""
    return key not in known.keys and not any(found in known.busy for found in _IDS.findall(key))


def mend(connection: Connection, objects: ObjectStore, findings: Findings) -> Mended:
    """Deletes orphans and has missing objects made again."""
    known = read_known(connection)
    orphans = [orphan.key for orphan in findings.orphans if is_orphan(orphan.key, known)]
    if orphans:
        objects.delete(orphans)
    redone: list[Missing] = []
    lost: list[Missing] = []
    asked: dict[UUID, bool] = {}
    for missing in findings.missing:
        maker = missing.maker
        if maker.work_id not in asked:
            asked[maker.work_id] = _made_again(connection, objects, maker)
        (redone if asked[maker.work_id] else lost).append(missing)
    return Mended(tuple(orphans), tuple(redone), tuple(lost))


def _made_again(connection: Connection, objects: ObjectStore, maker: Maker) -> bool:
    """Puts finished work back to be done once more; False if what it was made from is gone as well."""
    if maker.source and next(objects.list(maker.source), None) is None:
        return False
    # Without its marker the work is really done, not merely told again.
    if maker.marker:
        objects.delete([maker.marker])
    statement = sql.SQL(_AGAIN).format(schema=sql.Identifier(maker.service))
    return connection.execute(statement, {"id": maker.work_id}).fetchone() is not None


def read_known(connection: Connection) -> Known:
    """Everything that the rows of all services say about objects."""
    known = Known()
    cleaned = {
        (service, row["clip_id"]): row["at"] for service in SERVICES for row in _rows(connection, _CLEANED, service)
    }
    for service in SERVICES:
        for row in _rows(connection, _WORK, service):
            # Export's cleaning takes all that was made of a clip; another service's takes its own alone.
            times = [cleaned[by, row["clip_id"]] for by in {service, "export"} if (by, row["clip_id"]) in cleaned]
            _take(known, service, row, max(times, default=None))
    for statement in (_UPLOADS, _CONTENTS, _VECTORS):
        known.keys |= {row["object_key"] for row in _rows(connection, statement)}
    return known


def _take(known: Known, service: str, row: Mapping[str, Any], cleaned: datetime | None) -> None:
    marker = _marker(service, row["kind"], row["input"])
    if row["state"] == "done" and row["kind"] != "clean" and cleaned is not None and row["finished_at"] <= cleaned:
        # What the work made was deleted on purpose; should it lie there still, it is an orphan.
        return
    known.keys |= set(keys_in(row["input"]))
    if marker:
        known.keys.add(marker)
    if row["state"] != "done":
        # Unfinished cleaning must not hide what it is about to delete, but it needs no help either.
        known.busy |= {str(found) for found in (row["video_id"], row["clip_id"]) if found}
        return
    if row["kind"] == "clean":
        return
    maker = Maker(service, row["id"], row["kind"], marker, _source(row["input"]) if service == "ingest" else "")
    for key in keys_in(row["result"]):
        known.keys.add(key)
        known.due[key] = maker


def _source(order: Mapping[str, Any]) -> str:
    """Where the object lies that a source was taken from; nothing for an address, which can be asked again."""
    source = order.get("source") or {}
    if source.get("kind") == "upload":
        return f"uploads/{source['upload_id']}/"
    return str(source.get("key") or "")


def keys_in(value: Any) -> Iterator[str]:
    """The object keys that a stored value names, however deep."""
    if isinstance(value, dict):
        key = value.get("key")
        if isinstance(key, str) and key.startswith(PREFIXES):
            yield key
        for inner in value.values():
            yield from keys_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner)


def _marker(service: str, kind: str, order: Any) -> str:
    """Where the result of such work is kept; nothing for work that this version no longer knows."""
    stage = importlib.import_module(f"services.{service}.app").STAGE
    try:
        job = stage.job(kind)
        return str(job.marker(job.input.model_validate(order)))
    except (KeyError, ValidationError):
        return ""


def _rows(connection: Connection, statement: str, service: str = "") -> Sequence[dict[str, Any]]:
    """Rows of a statement, in a service's schema if one is given; a table that is not there has none."""
    spelt = sql.SQL(statement)
    query = spelt.format(schema=sql.Identifier(service)) if service else spelt
    try:
        return connection.execute(query).fetchall()
    except (psycopg.errors.UndefinedTable, psycopg.errors.InvalidSchemaName):
        return []
