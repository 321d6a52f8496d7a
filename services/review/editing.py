"""Carries out what people decide: one short transaction for each edit, no media touched.

An edit's events wait in the outbox until the undo window is over. An undo inside the window takes them out again, so that
the world never hears of the edit; a later one lets compensating events follow. Either way the log keeps both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from contracts.envelope import derived_id
from contracts.events.base import ClipEvent
from contracts.events.v1.clip import ClipCreated, ClipGrouped, ClipSuperseded, ClipUngrouped
from contracts.values import Options
from services.chassis.ledger import Ledger
from services.review import store
from services.review.domain import clip
from services.review.domain.edits import (
    Command,
    Context,
    EditKind,
    Unchanged,
    UndoEdit,
    decide,
    kind_of,
    targets_of,
)
from services.review.domain.marks import Refused
from services.review.domain.policy import UNTITLED
from services.review.handlers import open_clip_trace, project_clips
from services.review.projection import ClipRow, Logged
from services.review.store import EditRow, LockedVideo


@dataclass(frozen=True)
class Edited:
    """What became of a command. ``edit`` is absent and ``unchanged`` says why when there was nothing to do."""

    video_id: UUID
    clips: tuple[UUID, ...]
    edit: EditRow | None = None
    unchanged: Unchanged | None = None
    repeated: bool = False


async def make_edit(
    ledger: Ledger,
    video_id: UUID,
    command: Command,
    *,
    by: str,
    window: timedelta,
    body: Mapping[str, Any],
    idempotency_key: str | None = None,
) -> Edited:
    """Carries out a command on a video's clips. The same idempotency key gives the first one's result again.

    Raises:
        Refused: with the code of the broken rule; ``review.unknown_video`` if there is no such video.
    """
    locked = await store.find_video(ledger.session, video_id)
    if locked is None:
        raise Refused(f"There is no video {video_id}.", code="review.unknown_video")
    if idempotency_key and (made := await store.find_edit_by_key(ledger.session, video_id, idempotency_key)):
        if dict(made.command) != dict(body):
            raise Refused(
                "That idempotency key belongs to another edit; use a new key for a new edit.",
                code="review.key_reused",
            )
        return Edited(video_id, made.clips, edit=made, repeated=True)
    edit_id = derived_id("edit", video_id, idempotency_key or uuid4())
    rows = await _board(ledger, locked, [target.clip_id for target in targets_of(command)])
    return await _carry_out(
        ledger,
        locked,
        rows,
        command,
        EditRow(
            id=edit_id,
            video_id=video_id,
            kind=kind_of(command).value,
            by=by,
            command=body,
            clips=(),
            events=(),
            made_at=ledger.now,
            release_at=ledger.now + window,
            idempotency_key=idempotency_key,
        ),
    )


async def undo_edit(ledger: Ledger, edit_id: UUID, *, by: str) -> Edited:
    """Takes an edit back: silently inside its undo window, by compensating events after it.

    Raises:
        Refused: with the code of the broken rule; ``review.unknown_edit`` if there is no such edit.
    """
    found = await store.find_edit(ledger.session, edit_id)
    if found is None:
        raise Refused(f"There is no edit {edit_id}.", code="review.unknown_edit")
    locked = await store.find_video(ledger.session, found.video_id)
    edit = await store.find_edit(ledger.session, edit_id)
    if locked is None or edit is None:
        raise Refused(f"There is no edit {edit_id}.", code="review.unknown_edit")
    released = ledger.now >= edit.release_at
    command = UndoEdit(edit_id=edit.id, kind=EditKind(edit.kind), released=released)
    rows = await _board(ledger, locked, edit.clips)
    undo = EditRow(
        id=derived_id("edit", "undo", edit_id),
        video_id=edit.video_id,
        kind=EditKind.UNDO.value,
        by=by,
        command={"command": "undo", "edit_id": str(edit_id)},
        clips=(),
        events=(),
        made_at=ledger.now,
        release_at=ledger.now,
    )
    # Only before its release is an unpublished event certainly unknown to the world: after a broker has lost its log, rows
    # that were public once wait again.
    silent = not released and edit.undone_by is None and await ledger.withdraw(edit.events) == len(edit.events)
    edited = await _carry_out(ledger, locked, rows, command, undo, silent=silent)
    if edited.edit is not None:
        await store.mark_undone(ledger.session, edit_id, undo.id)
    return edited


async def _board(ledger: Ledger, locked: LockedVideo, clip_ids: Sequence[UUID]) -> dict[UUID, ClipRow]:
    """The clips that a command may touch: those named and the members of their groups."""
    rows = await store.load_clips(ledger.session, locked.id, clip_ids)
    others = {member for row in rows.values() for member in row.facts.group if member not in rows}
    return rows | await store.load_clips(ledger.session, locked.id, others) if others else rows


async def _carry_out(
    ledger: Ledger,
    locked: LockedVideo,
    rows: Mapping[UUID, ClipRow],
    command: Command,
    edit: EditRow,
    *,
    silent: bool = False,
) -> Edited:
    facts = locked.row.facts
    context = Context(
        edit_id=edit.id,
        by=edit.by,
        title=facts.title or UNTITLED,
        profiles=(facts.options or Options()).profiles,
    )
    board: dict[UUID, clip.Facts] = {clip_id: row.facts for clip_id, row in rows.items()}
    decision = decide(board, command, context)
    if isinstance(decision, Unchanged):
        return Edited(locked.id, tuple(rows), unchanged=decision)
    traces = {clip_id: row.traceparent for clip_id, row in rows.items()}
    for event in decision.events:
        if isinstance(event, ClipCreated):
            traces[event.clip_id] = open_clip_trace(ledger, event.video_id, event.clip_id)
    entries = []
    for position, event in enumerate(decision.events):
        cause = f"edit:{edit.id}:{position}"
        traceparent = traces[event.clip_id]
        if silent:
            event_id = derived_id("event", ledger.source, cause, event.TYPE, event.subject)
        else:
            event_id = await ledger.emit(event, cause=cause, release_at=_release(edit), traceparent=traceparent)
        entries.append(Logged(event_id, event, traceparent, "decided", ledger.now, ledger.now))
    await store.log_events(ledger.session, entries)
    await project_clips(ledger, locked, entries)
    made = replace(
        edit,
        clips=tuple(dict.fromkeys(_concerned(decision.events))),
        events=() if silent else tuple(entry.id for entry in entries),
    )
    await store.save_edits(ledger.session, [made])
    return Edited(locked.id, made.clips, edit=made)


def _release(edit: EditRow) -> Any:
    return edit.release_at if edit.release_at > edit.made_at else None


def _concerned(events: Sequence[ClipEvent]) -> list[UUID]:
    """Every clip that the events are about or name, so that an undo finds them all."""
    named = []
    for event in events:
        named.append(event.clip_id)
        if isinstance(event, ClipSuperseded):
            named.extend(event.children)
        elif isinstance(event, ClipGrouped | ClipUngrouped):
            named.extend(event.group)
    return named
