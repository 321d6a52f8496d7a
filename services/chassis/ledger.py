"""The open transaction of one message, job or request: work to do and events to publish, committed together.

Nothing here talks to a broker. An event put into the outbox is published after the commit, and only then; work put into
the ledger is claimed after the commit, and only then. Both are idempotent on ids that follow from their cause.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from opentelemetry.trace import SpanKind
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.catalog import entry_of
from contracts.envelope import Envelope, derived_id, to_kafka, without_nul
from contracts.events.base import Event
from contracts.values import Value
from services.chassis.db import Step, run_together
from services.chassis.stage import Job
from services.chassis.telemetry import Telemetry, record_span, start_linked_trace, trace_id

_ENQUEUE = text("""
    INSERT INTO work (id, kind, dedupe_key, video_id, clip_id, batch, priority, input, traceparent, created_at, not_before)
    VALUES (:id, :kind, :key, :video_id, :clip_id, :batch, :priority, cast(:input AS jsonb), :traceparent, :now, :due)
    ON CONFLICT (dedupe_key) DO NOTHING
""")
_REVIVE = text("""
    UPDATE work SET state = 'waiting', run = run + 1, attempts = 0, crashes = 0, error = NULL, finished_at = NULL,
        input = cast(:input AS jsonb), traceparent = :traceparent, not_before = :due
    WHERE dedupe_key = :key AND state = 'cancelled'
""")
_EMIT = text("""
    INSERT INTO outbox (id, aggregatetype, aggregateid, type, payload, key, headers, created_at, release_at)
    VALUES (:id, :aggregatetype, :aggregateid, :type, :payload, :key, cast(:headers AS jsonb), :now, :release_at)
    ON CONFLICT (id) DO NOTHING
""")
_WITHDRAW = text("DELETE FROM outbox WHERE id = ANY(:ids) AND published_at IS NULL RETURNING id")
_KEYS_MADE = text("""
    SELECT DISTINCT ref #>> '{}' FROM work, jsonb_path_query(result, '$.**.key') AS ref
    WHERE clip_id = :clip_id AND kind = ANY(:kinds) AND result IS NOT NULL AND jsonb_typeof(ref) = 'string'
""")
_INPUTS = text("SELECT kind, input FROM work WHERE clip_id = :clip_id AND kind = ANY(:kinds)")
_CANCEL = text("""
    UPDATE work SET state = 'cancelled', lease_token = NULL, lease_until = NULL, lease_owner = NULL, finished_at = :now
    WHERE state IN ('waiting', 'running')
        AND (cast(:video_id AS uuid) IS NULL OR video_id = :video_id)
        AND (cast(:clip_id AS uuid) IS NULL OR clip_id = :clip_id)
        AND (:every_kind OR kind = ANY(:kinds))
    RETURNING id
""")


@dataclass
class Ledger:
    """One open transaction. ``cause`` names what opened it; event ids derive from it. ``settings`` are the stage's."""

    session: AsyncSession
    now: datetime
    source: str
    cause: str
    traceparent: str = ""
    event_id: UUID | None = None
    envelope: Envelope | None = None
    telemetry: Telemetry | None = None
    settings: Any = None

    @property
    def trace_id(self) -> str:
        """The trace at hand, in hex; empty outside any."""
        return trace_id(self.traceparent)

    async def enqueue(
        self,
        job: Job[Any, Any],
        order: Value,
        *,
        key: str,
        video_id: UUID,
        clip_id: UUID | None = None,
        batch: str | None = None,
        traceparent: str | None = None,
        delay: timedelta = timedelta(0),
    ) -> None:
        """Puts work into the ledger, once for each key, in the trace at hand or another one; nobody begins it before ``delay``.

        Work under that key that was cancelled is revived as a new run.
        """
        values = {
            "id": derived_id("work", self.source, key),
            "kind": job.kind,
            "key": key,
            "video_id": video_id,
            "clip_id": clip_id,
            "batch": batch,
            "priority": job.priority,
            "input": without_nul(order.model_dump_json().encode()).decode(),
            "traceparent": traceparent or self.traceparent,
            "now": self.now,
            "due": self.now + delay,
        }
        await self.session.execute(_ENQUEUE, values)
        await self.session.execute(_REVIVE, {name: values[name] for name in ("input", "traceparent", "due", "key")})

    async def keys_made(self, clip_id: UUID, *jobs: Job[Any, Any]) -> tuple[str, ...]:
        """Keys of all objects that finished work of some kinds on a clip made: those its results name, and its markers."""
        kinds = {job.kind: job for job in jobs}
        values = {"clip_id": clip_id, "kinds": list(kinds)}
        found = set((await self.session.execute(_KEYS_MADE, values)).scalars())
        for row in await self.session.execute(_INPUTS, values):
            with contextlib.suppress(ValidationError):
                # An order of a version that nobody reads any more has no marker that anybody knows.
                found.add(kinds[row.kind].marker(kinds[row.kind].input.model_validate(row.input)))
        return tuple(sorted(found))

    async def cancel(
        self, *, video_id: UUID | None = None, clip_id: UUID | None = None, kinds: Collection[str] = ()
    ) -> int:
        """Withdraws work that has not finished; a running child is killed when its lease is next renewed. How many."""
        if video_id is None and clip_id is None:
            raise ValueError("cancel() wants a video or a clip; it never withdraws everything.")
        result = await self.session.execute(
            _CANCEL,
            {
                "video_id": video_id,
                "clip_id": clip_id,
                "kinds": list(kinds),
                "every_kind": not kinds,
                "now": self.now,
            },
        )
        return len(result.all())

    def until_ended(self, withdrawn: int) -> timedelta:
        """How long so many withdrawn pieces of work may still write: each is ended when its lease is next renewed."""
        lease: timedelta = self.settings.worker_lease
        return lease if withdrawn else timedelta(0)

    async def emit(
        self,
        event: Event,
        *,
        cause: str | None = None,
        release_at: datetime | None = None,
        traceparent: str | None = None,
    ) -> UUID:
        """Puts an event into the outbox, not to be published before ``release_at``. Its id, the same for the same cause."""
        event_id, row = self._waiting(event, cause or self.cause, release_at, traceparent)
        await self.session.execute(_EMIT, row)
        return event_id

    async def emit_all(
        self, events: Sequence[tuple[Event, str, str]], *, release_at: datetime | None = None
    ) -> list[UUID]:
        """Puts several events into the outbox in one go, each with its cause and its ``traceparent``. Their ids."""
        ids, step = self.emitting(events, release_at=release_at)
        await run_together(self.session, step)
        return ids

    def emitting(
        self, events: Sequence[tuple[Event, str, str]], *, release_at: datetime | None = None
    ) -> tuple[list[UUID], Step]:
        """The events' ids, and the step that puts them into the outbox as ``emit_all`` does, to be run with others."""
        waiting = [self._waiting(event, cause, release_at, traceparent) for event, cause, traceparent in events]
        return [event_id for event_id, _ in waiting], Step(_EMIT, [row for _, row in waiting])

    def id_of(self, event: Event, cause: str) -> UUID:
        """The id under which an event of that cause goes out."""
        return derived_id("event", self.source, cause, event.TYPE, event.subject)

    def _waiting(
        self, event: Event, cause: str, release_at: datetime | None, traceparent: str | None
    ) -> tuple[UUID, dict[str, Any]]:
        event_id = self.id_of(event, cause)
        context = self._sent_from(event, event_id, self.traceparent if traceparent is None else traceparent)
        message = to_kafka(event, event_id=event_id, source=self.source, time=self.now, traceparent=context)
        aggregatetype, _, aggregateid = event.subject.partition("/")
        return event_id, {
            "id": event_id,
            "aggregatetype": aggregatetype,
            "aggregateid": aggregateid,
            "type": event.TYPE,
            "payload": message.value,
            "key": message.key,
            "headers": json.dumps([[name, base64.b64encode(raw).decode()] for name, raw in message.headers]),
            "now": self.now,
            "release_at": release_at,
        }

    def start_trace(self, name: str, chosen: str, attributes: Mapping[str, Any]) -> str:
        """Opens a trace of the given id, linked to the one at hand. Its ``traceparent``, to emit events under."""
        if self.telemetry is None:
            return ""
        return start_linked_trace(
            self.telemetry, name, chosen, linked=self.traceparent, at=self.now, attributes=attributes
        )

    def _sent_from(self, event: Event, event_id: UUID, context: str) -> str:
        """The creation context that the message carries: a producer span by the messaging conventions."""
        if self.telemetry is None:
            return context
        topic = entry_of(event).topic.name
        return record_span(
            self.telemetry,
            f"create {event.TYPE}",
            parent=context,
            started_at=self.now,
            ended_at=self.now,
            kind=SpanKind.PRODUCER,
            attributes={
                "messaging.system": "kafka",
                "messaging.operation.type": "create",
                "messaging.operation.name": "create",
                "messaging.destination.name": topic,
                "messaging.message.id": str(event_id),
                "heaters.event_type": event.TYPE,
            },
        )

    async def withdraw(self, event_ids: Collection[UUID]) -> int:
        """Takes back events that were not yet published. How many were."""
        result = await self.session.execute(_WITHDRAW, {"ids": list(event_ids)})
        return len(result.all())
