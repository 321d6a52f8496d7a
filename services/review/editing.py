"""Carries out what people decide: one short transaction for each edit, no media touched.

An edit is two round trips: what it needs to know, and what it changes, which is committed with the last statement.

An edit's events wait in the outbox until the undo window is over. An undo inside the window takes them out again, so that the
world never hears of the edit; a later one lets compensating events follow. Either way the log keeps both. A redo makes an undone
edit again, as a new one with its own undo window.
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
from services.chassis.db import COMMIT, Step, run_together
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
from services.review.domain.marks import Refused, unknown
from services.review.domain.policy import UNTITLED
from services.review.handlers import open_clip_trace
from services.review.projection import ClipRow, Logged, fold_clips
from services.review.store import EditRow, LockedVideo

MOST_CLIPS = 5_000
"""Clips of one edit."""


@dataclass(frozen=True)
class Edited:
    """What became of a command. ``edit`` is absent and ``unchanged`` says why when there was nothing to do.

    ``after`` are the clips as this edit leaves them, in the order of their frames; empty where it changed nothing now.
    """

    video: LockedVideo
    clips: tuple[UUID, ...]
    after: tuple[ClipRow, ...] = ()
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
    named = [target.clip_id for target in targets_of(command)]
    video, made, rows = await store.open_board(ledger.session, video_id, named, key=idempotency_key)
    locked = _known(video, video_id)
    if made is not None:
        return _repeated(locked, made, body)
    edit_id = derived_id("edit", video_id, idempotency_key or uuid4())
    rows = await _with_groups(ledger, locked, rows)
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
    locked = _known(await store.find_video(ledger.session, video_id), video_id)
    asked = {"rest": kind.value, "expected": expected}
    if idempotency_key and (made := await store.find_edit_by_key(ledger.session, video_id, idempotency_key)):
        if {name: made.command.get(name) for name in asked} != asked:
            raise _key_reused()
        return Edited(locked, made.clips, edit=made, repeated=True)
    waiting = await store.pending_clips(ledger.session, video_id, MOST_CLIPS)
    if expected is not None and expected != len(waiting):
        raise Refused(
            f"{len(waiting)} clips wait for a decision, not {expected}; look at them and decide again.",
            code="review.rest_changed",
        )
    if not waiting:
        raise Refused("No clip of this video waits for a decision; look at those decided.", code="review.nothing_left")
    rows = await _with_groups(ledger, locked, await store.load_clips(ledger.session, video_id, waiting))
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
        raise unknown("edit", edit_id)
    if found.kind == EditKind.UNDO.value:
        raise Refused("An undo is not redone; undo the edit that it brought back.", code="review.undo_is_final")
    command = RedoEdit(edit_id, told(found.command))
    named = [target.clip_id for target in targets_of(command)]
    video, edit, rows = await store.open_board(ledger.session, found.video_id, named, edit_id=edit_id)
    locked = _known(video, found.video_id)
    edit = edit or found
    body = {**edit.command, "redo_of": str(edit_id)}
    if idempotency_key and (made := await store.find_edit_by_key(ledger.session, edit.video_id, idempotency_key)):
        return _repeated(locked, made, body)
    if edit.undone_by is None:
        raise Refused("That edit stands; only an undone edit is made again.", code="review.not_undone")
    rows = await _with_groups(ledger, locked, rows)
    new_id = derived_id("edit", edit.video_id, idempotency_key or uuid4())
    again = _new_edit(ledger, new_id, edit.video_id, EditKind(edit.kind), by, body, window, idempotency_key)
    marked = store.marking_redone(edit_id, new_id)
    return await _carry_out(ledger, locked, rows, command, replace(again, redo_of=edit_id), marked)


def told(body: Mapping[str, Any]) -> Direct:
    """The command that an edit's body spells, in a request or in the history. Versions left out are 1."""
    clips = [UUID(str(clip_id)) for clip_id in body["clips"]]
    versions = body.get("versions") or [1] * len(clips)
    targets = tuple(Target(clip_id, version) for clip_id, version in zip(clips, versions, strict=True))
    match EditKind(body["command"]):
        case EditKind.APPROVE:
            return ApproveClips(targets, tuple(dict.fromkeys(body.get("profiles") or ())))
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
            raise Refused("An undo is no edit of clips; undo an edit by its own address.", code="review.undo_is_final")


async def undo_edit(ledger: Ledger, edit_id: UUID, *, by: str) -> Edited:
    """Takes an edit back: silently inside its undo window, by compensating events after it.

    Raises:
        Refused: with the code of the broken rule; ``review.unknown_edit`` if there is no such edit.
    """
    found = await store.find_edit(ledger.session, edit_id)
    if found is None:
        raise unknown("edit", edit_id)
    video, edit, rows = await store.open_board(ledger.session, found.video_id, found.clips, edit_id=edit_id)
    locked = _known(video, found.video_id)
    edit = edit or found
    released = ledger.now >= edit.release_at
    command = UndoEdit(edit_id=edit.id, kind=EditKind(edit.kind), released=released)
    rows = await _with_groups(ledger, locked, rows)
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
    return await _carry_out(ledger, locked, rows, command, undo, store.marking_undone(edit_id, undo.id), silent=silent)


def _known(video: LockedVideo | None, video_id: UUID) -> LockedVideo:
    if video is None:
        raise unknown("video", video_id)
    return video


def _repeated(locked: LockedVideo, made: EditRow, body: Mapping[str, Any]) -> Edited:
    """What this idempotency key was answered before. Raises ``Refused`` if that was about something else."""
    if dict(made.command) != dict(body):
        raise _key_reused()
    return Edited(locked, made.clips, edit=made, repeated=True)


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


async def _with_groups(ledger: Ledger, locked: LockedVideo, rows: dict[UUID, ClipRow]) -> dict[UUID, ClipRow]:
    """The clips that a command may touch: those named and the members of their groups."""
    others = {member for row in rows.values() for member in row.facts.group if member not in rows}
    return rows | await store.load_clips(ledger.session, locked.id, others) if others else rows


async def _carry_out(
    ledger: Ledger,
    locked: LockedVideo,
    rows: Mapping[UUID, ClipRow],
    command: Command,
    edit: EditRow,
    *marks: Step,
    silent: bool = False,
) -> Edited:
    context = Context(
        edit_id=edit.id,
        by=edit.by,
        title=locked.title or UNTITLED,
        profiles=locked.profiles or Options().profiles,
    )
    board: dict[UUID, clip.Facts] = {clip_id: row.facts for clip_id, row in rows.items()}
    decision = decide(board, command, context)
    if isinstance(decision, Unchanged):
        return Edited(locked, tuple(rows), unchanged=decision)
    traces = {clip_id: row.traceparent for clip_id, row in rows.items()}
    for event in decision.events:
        if isinstance(event, ClipCreated):
            traces[event.clip_id] = open_clip_trace(ledger, event.video_id, event.clip_id)
    causes = [f"edit:{edit.id}:{position}" for position in range(len(decision.events))]
    sent = [(event, cause, traces[event.clip_id]) for event, cause in zip(decision.events, causes, strict=True)]
    ids, emitted = ledger.emitting(() if silent else sent, release_at=_release(edit))
    if silent:
        ids = [ledger.id_of(event, cause) for event, cause, _ in sent]
    entries = [
        Logged(event_id, event, traceparent, "decided", ledger.now, ledger.now)
        for event_id, (event, _, traceparent) in zip(ids, sent, strict=True)
    ]
    # The video is locked and its clips are at hand; a clip that this edit makes has never been heard of before.
    after = fold_clips(dict(rows), entries)
    made = replace(
        edit,
        clips=tuple(dict.fromkeys(_concerned(decision.events))),
        events=() if silent else tuple(entry.id for entry in entries),
    )
    await run_together(
        ledger.session,
        emitted,
        store.logging(entries),
        store.saving_clips(locked.ordinal, [row for clip_id, row in after.items() if rows.get(clip_id) != row]),
        store.saving_edits([made]),
        *marks,
        COMMIT,
    )
    concerned = [after[clip_id] for clip_id in made.clips if clip_id in after]
    return Edited(locked, made.clips, tuple(sorted(concerned, key=_place)), made)


def _place(row: ClipRow) -> tuple[int, UUID]:
    born = row.facts.born
    return born.frames.start if born else 0, row.facts.clip_id


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
