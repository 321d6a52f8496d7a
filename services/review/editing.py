"""Carries out what people decide: one short transaction for each edit, no media touched.

A redo makes an undone edit again, as a new one with its own undo window. An edit's events wait in the outbox until the undo window is over. An undo inside the window takes them out again, so that
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
from contracts.values import FrameRange, Options
from services.chassis.ledger import Ledger
from services.review import store
from services.review.domain import clip
from services.review.domain.edits import (
    ApproveClips,
    ArchiveClips,
    Command,
    Context,
    Direct,
    EditKind,
    GroupClips,
    MergeClips,
    NoteClips,
    RedoEdit,
    SkipClips,
    SplitClip,
    TagClips,
    Target,
    TrimClip,
    Unchanged,
    UndoEdit,
    UngroupClips,
    decide,
    kind_of,
    targets_of,
)
from services.review.domain.marks import Refused
from services.review.domain.policy import UNTITLED
from services.review.handlers import open_clip_trace
from services.review.projection import ClipRow, Logged, fold_clips
from services.review.store import EditRow, LockedVideo

MOST_CLIPS = 5_000
"""Clips of one edit."""


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
    command: Direct,
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
    locked = await _locked(ledger, video_id)
    if repeated := await _repeated(ledger, video_id, idempotency_key, body):
        return repeated
    edit_id = derived_id("edit", video_id, idempotency_key or uuid4())
    rows = await _board(ledger, locked, [target.clip_id for target in targets_of(command)])
    return await _carry_out(
        ledger,
        locked,
        rows,
        command,
        _new_edit(ledger, edit_id, video_id, kind_of(command), by, body, window, idempotency_key),
    )


async def edit_the_rest(
    ledger: Ledger,
    video_id: UUID,
    kind: EditKind,
    *,
    expected: int | None,
    by: str,
    window: timedelta,
    idempotency_key: str | None = None,
) -> Edited:
    """Approves, skips or archives every clip of a video that waits, if there are as many as the person expected.

    Raises:
        Refused: with the code of the broken rule; ``review.rest_changed`` when other clips wait than expected.
    """
    locked = await _locked(ledger, video_id)
    asked = {"rest": kind.value, "expected": expected}
    if idempotency_key and (made := await store.find_edit_by_key(ledger.session, video_id, idempotency_key)):
        if {name: made.command.get(name) for name in asked} != asked:
            raise _key_reused()
        return Edited(video_id, made.clips, edit=made, repeated=True)
    waiting = await store.pending_clips(ledger.session, video_id, MOST_CLIPS)
    if expected is not None and expected != len(waiting):
        raise Refused(
            f"{len(waiting)} clips wait for a decision, not {expected}; look at them and decide again.",
            code="review.rest_changed",
        )
    if not waiting:
        raise Refused("No clip of this video waits for a decision.", code="review.nothing_left")
    rows = await _board(ledger, locked, waiting)
    body = {
        "command": kind.value,
        **asked,
        "clips": [str(clip_id) for clip_id in waiting],
        "versions": [rows[clip_id].facts.version for clip_id in waiting],
    }
    edit_id = derived_id("edit", video_id, idempotency_key or uuid4())
    edit = _new_edit(ledger, edit_id, video_id, kind, by, body, window, idempotency_key)
    return await _carry_out(ledger, locked, rows, told(body), edit)


async def redo_edit(
    ledger: Ledger, edit_id: UUID, *, by: str, window: timedelta, idempotency_key: str | None = None
) -> Edited:
    """Makes an undone edit again, as a new one, if its clips stand as they stood before it.

    Raises:
        Refused: with the code of the broken rule; ``review.unknown_edit`` if there is no such edit.
    """
    found = await store.find_edit(ledger.session, edit_id)
    if found is None:
        raise Refused(f"There is no edit {edit_id}.", code="review.unknown_edit")
    locked = await _locked(ledger, found.video_id)
    edit = await store.find_edit(ledger.session, edit_id)
    if edit is None or edit.kind == EditKind.UNDO.value:
        raise Refused("An undo is not redone; undo the edit that it brought back.", code="review.undo_is_final")
    body = {**edit.command, "redo_of": str(edit_id)}
    if repeated := await _repeated(ledger, edit.video_id, idempotency_key, body):
        return repeated
    if edit.undone_by is None:
        raise Refused("That edit stands; only an undone edit is made again.", code="review.not_undone")
    command = RedoEdit(edit_id, told(edit.command))
    rows = await _board(ledger, locked, [target.clip_id for target in targets_of(command)])
    new_id = derived_id("edit", edit.video_id, idempotency_key or uuid4())
    made = _new_edit(ledger, new_id, edit.video_id, EditKind(edit.kind), by, body, window, idempotency_key)
    edited = await _carry_out(ledger, locked, rows, command, replace(made, redo_of=edit_id))
    if edited.edit is not None:
        await store.mark_redone(ledger.session, edit_id, edited.edit.id)
    return edited


def told(body: Mapping[str, Any]) -> Direct:
    """The command that an edit's body spells, in a request or in the history. Versions left out are 1."""
    clips = [UUID(str(clip_id)) for clip_id in body["clips"]]
    versions = body.get("versions") or [1] * len(clips)
    targets = tuple(Target(clip_id, version) for clip_id, version in zip(clips, versions, strict=True))
    match EditKind(body["command"]):
        case EditKind.APPROVE:
            return ApproveClips(targets)
        case EditKind.SKIP:
            return SkipClips(targets)
        case EditKind.ARCHIVE:
            return ArchiveClips(targets)
        case EditKind.GROUP:
            return GroupClips(targets)
        case EditKind.UNGROUP:
            return UngroupClips(targets)
        case EditKind.MERGE:
            return MergeClips(targets)
        case EditKind.SPLIT:
            return SplitClip(targets[0], body["at"])
        case EditKind.TRIM:
            return TrimClip(targets[0], FrameRange(start=body["start"], end=body["end"]))
        case EditKind.TAG:
            return TagClips(targets, tuple(body.get("add") or ()), tuple(body.get("remove") or ()))
        case EditKind.NOTE:
            return NoteClips(targets, body["note"])
        case EditKind.UNDO:
            raise Refused("An undo is no edit of clips.", code="review.undo_is_final")


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


async def _locked(ledger: Ledger, video_id: UUID) -> LockedVideo:
    locked = await store.find_video(ledger.session, video_id)
    if locked is None:
        raise Refused(f"There is no video {video_id}.", code="review.unknown_video")
    return locked


async def _repeated(ledger: Ledger, video_id: UUID, key: str | None, body: Mapping[str, Any]) -> Edited | None:
    """What this idempotency key was answered before, if it was. Raises ``Refused`` if that was about something else."""
    if key is None or (made := await store.find_edit_by_key(ledger.session, video_id, key)) is None:
        return None
    if dict(made.command) != dict(body):
        raise _key_reused()
    return Edited(video_id, made.clips, edit=made, repeated=True)


def _key_reused() -> Refused:
    return Refused(
        "That idempotency key belongs to another edit; use a new key for a new edit.", code="review.key_reused"
    )


def _new_edit(
    ledger: Ledger,
    edit_id: UUID,
    video_id: UUID,
    kind: EditKind,
    by: str,
    body: Mapping[str, Any],
    window: timedelta,
    key: str | None,
) -> EditRow:
    return EditRow(
        id=edit_id,
        video_id=video_id,
        kind=kind.value,
        by=by,
        command=body,
        clips=(),
        events=(),
        made_at=ledger.now,
        release_at=ledger.now + window,
        idempotency_key=key,
    )


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
    causes = [f"edit:{edit.id}:{position}" for position in range(len(decision.events))]
    sent = [(event, cause, traces[event.clip_id]) for event, cause in zip(decision.events, causes, strict=True)]
    if silent:
        ids = [ledger.id_of(event, cause) for event, cause, _ in sent]
    else:
        ids = await ledger.emit_all(sent, release_at=_release(edit))
    entries = [
        Logged(event_id, event, traceparent, "decided", ledger.now, ledger.now)
        for event_id, (event, _, traceparent) in zip(ids, sent, strict=True)
    ]
    await store.log_events(ledger.session, entries)
    # The video is locked and its clips are at hand; a clip that this edit makes has never been heard of before.
    after = fold_clips(dict(rows), entries)
    await store.save_clips(
        ledger.session, locked.ordinal, [row for clip_id, row in after.items() if rows.get(clip_id) != row]
    )
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
