"""What people may do with clips, as pure decisions: (clips, command) to new events, a named no-op or a refusal.

``decide`` changes nothing. Its events, folded by ``clip.evolve``, are the whole change: rows are written from the folded
facts, and the same events go to the outbox. A command is taken as a whole or refused as a whole.

The rules: approve, skip, split, merge and trim start from ``pending_review``; archive from every state but the replaced and
the deleted; group from pending or approved clips, which it approves; tags and notes go with every clip that is still there.
Undo takes back the latest edit of all clips it touched, where tags, notes and the clip's fate each count for themselves.
Redo makes an undone edit again, as a new one, when its clips stand as they stood before it. A clip's live range is never
lost: what a trim cuts off becomes clips of its own, skipped; parts inherit tags and notes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise
from typing import Any, Literal, TypeVar
from uuid import UUID

from contracts.events.base import ClipEvent
from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipCreated,
    ClipEditUndone,
    ClipGrouped,
    ClipNoted,
    ClipSkipped,
    ClipSuperseded,
    ClipTagged,
    ClipUngrouped,
)
from contracts.values import FrameRange, Tag
from services.review.domain import clip
from services.review.domain.clip import APPROVED_STATES, ClipState, Verb, status
from services.review.domain.marks import Refused
from services.review.domain.video import clip_id_of

MAX_TAGS = 100
MAX_NOTE = 4_000
"""Characters."""

EventT = TypeVar("EventT", bound=ClipEvent)

Board = Mapping[UUID, clip.Facts]
"""The clips of one video that a command may touch, by id."""


class EditKind(StrEnum):
    """The edits by name, as the API and the edit history spell them."""

    APPROVE = "approve"
    SKIP = "skip"
    ARCHIVE = "archive"
    GROUP = "group"
    UNGROUP = "ungroup"
    SPLIT = "split"
    MERGE = "merge"
    TRIM = "trim"
    TAG = "tag"
    NOTE = "note"
    UNDO = "undo"


class Unchanged(StrEnum):
    """Why a command did nothing: what it wants is already so."""

    ALREADY_APPROVED = "already_approved"
    ALREADY_SKIPPED = "already_skipped"
    ALREADY_ARCHIVED = "already_archived"
    ALREADY_GROUPED = "already_grouped"
    NOT_GROUPED = "not_grouped"
    SAME_RANGE = "same_range"
    SAME_TAGS = "same_tags"
    SAME_NOTE = "same_note"
    ALREADY_UNDONE = "already_undone"


@dataclass(frozen=True)
class Target:
    """A clip as the person saw it: the edit is refused when the clip has moved on since."""

    clip_id: UUID
    version: int


@dataclass(frozen=True)
class ApproveClips:
    """Have these clips delivered: in ``profiles``, or in those that the video's request asked for."""

    targets: tuple[Target, ...]
    profiles: tuple[str, ...] = ()


@dataclass(frozen=True)
class SkipClips:
    """Do not deliver these clips."""

    targets: tuple[Target, ...]


@dataclass(frozen=True)
class ArchiveClips:
    """Delete these clips and everything made from them."""

    targets: tuple[Target, ...]


@dataclass(frozen=True)
class GroupClips:
    """Approve these clips and link them with each other."""

    targets: tuple[Target, ...]


@dataclass(frozen=True)
class UngroupClips:
    """Take these clips out of their groups."""

    targets: tuple[Target, ...]


@dataclass(frozen=True)
class SplitClip:
    """Replace a clip by two; ``at`` is the first frame of the second."""

    target: Target
    at: int


@dataclass(frozen=True)
class MergeClips:
    """Replace neighbouring clips by one."""

    targets: tuple[Target, ...]


@dataclass(frozen=True)
class TrimClip:
    """Keep a part of a clip and set the rest aside."""

    target: Target
    frames: FrameRange


@dataclass(frozen=True)
class TagClips:
    """Give these clips some tags and take others away."""

    targets: tuple[Target, ...]
    add: tuple[Tag, ...] = ()
    remove: tuple[Tag, ...] = ()


@dataclass(frozen=True)
class NoteClips:
    """Note something about these clips; an empty note takes the old one away."""

    targets: tuple[Target, ...]
    note: str


@dataclass(frozen=True)
class UndoEdit:
    """Take an edit back. ``released`` tells whether its events have already left the outbox."""

    edit_id: UUID
    kind: EditKind
    released: bool = False


Direct = (
    ApproveClips
    | SkipClips
    | ArchiveClips
    | GroupClips
    | UngroupClips
    | SplitClip
    | MergeClips
    | TrimClip
    | TagClips
    | NoteClips
)
"""What a person does to clips that they name."""


@dataclass(frozen=True)
class RedoEdit:
    """Make an undone edit again. ``command`` is what it was; the versions it names do not count."""

    edit_id: UUID
    command: Direct


Command = Direct | UndoEdit | RedoEdit


@dataclass(frozen=True)
class Context:
    """What a decision needs besides the clips: who makes it, its id, and what an approval must carry."""

    edit_id: UUID
    by: str
    title: str
    profiles: tuple[str, ...]


@dataclass(frozen=True)
class Decided:
    """The events that carry the command out, in the order in which they should be published."""

    events: tuple[ClipEvent, ...]


class Stale(Refused):
    """The clips have moved on since the person saw them; ``clips`` names those."""

    code = "review.stale_version"

    def __init__(self, clips: tuple[UUID, ...]) -> None:
        super().__init__("Somebody else has edited these clips; look at their present state and decide again.")
        self.clips = clips


def decide(board: Board, command: Command, context: Context) -> Decided | Unchanged:
    """The command's events. Raises ``Refused`` with the broken rule's code, ``Stale`` if versions differ."""
    if isinstance(command, UndoEdit):
        return _undo(board, command, context)
    if isinstance(command, RedoEdit):
        return decide(board, _as_it_was(board, command), context)
    chosen = _chosen(board, command)
    match command:
        case ApproveClips():
            return _approve(chosen, replace(context, profiles=command.profiles or context.profiles))
        case SkipClips():
            return _skip(chosen, context)
        case ArchiveClips():
            return _archive(chosen, context)
        case GroupClips():
            return _group(chosen, context)
        case UngroupClips():
            return _ungroup(board, chosen, context)
        case SplitClip():
            return _split(chosen[0], command.at, context)
        case MergeClips():
            return _merge(chosen, context)
        case TrimClip():
            return _trim(chosen[0], command.frames, context)
        case TagClips():
            return _tag(chosen, command, context)
        case NoteClips():
            return _note(chosen, command.note, context)


def targets_of(command: Command) -> tuple[Target, ...]:
    """The clips that a command names; none for an undo."""
    match command:
        case SplitClip() | TrimClip():
            return (command.target,)
        case UndoEdit():
            return ()
        case RedoEdit():
            return targets_of(command.command)
        case _:
            return command.targets


def kind_of(command: Command) -> EditKind:
    """The command's name in the edit history; a redo has that of the edit it makes again."""
    if isinstance(command, RedoEdit):
        return kind_of(command.command)
    return {
        ApproveClips: EditKind.APPROVE,
        SkipClips: EditKind.SKIP,
        ArchiveClips: EditKind.ARCHIVE,
        GroupClips: EditKind.GROUP,
        UngroupClips: EditKind.UNGROUP,
        SplitClip: EditKind.SPLIT,
        MergeClips: EditKind.MERGE,
        TrimClip: EditKind.TRIM,
        TagClips: EditKind.TAG,
        NoteClips: EditKind.NOTE,
        UndoEdit: EditKind.UNDO,
    }[type(command)]


def _chosen(board: Board, command: Command) -> list[clip.Facts]:
    targets = targets_of(command)
    if not targets:
        raise Refused("The edit names no clip; choose at least one.", code="review.no_clips")
    if len({target.clip_id for target in targets}) != len(targets):
        raise Refused("The edit names a clip twice; name each once.", code="review.repeated_clip")
    unknown = [target.clip_id for target in targets if target.clip_id not in board]
    if unknown:
        raise Refused(f"This video has no clip {unknown[0]}; reload its clips.", code="review.unknown_clip")
    stale = tuple(target.clip_id for target in targets if board[target.clip_id].version != target.version)
    if stale:
        raise Stale(stale)
    return [board[target.clip_id] for target in targets]


def _approve(chosen: list[clip.Facts], context: Context) -> Decided | Unchanged:
    fresh = [facts for facts in chosen if status(facts) not in APPROVED_STATES]
    _all_pending(fresh)
    return Decided(tuple(_approval(facts, context) for facts in fresh)) if fresh else Unchanged.ALREADY_APPROVED


def _skip(chosen: list[clip.Facts], context: Context) -> Decided | Unchanged:
    fresh = [facts for facts in chosen if status(facts) is not ClipState.REVIEW_SKIPPED]
    _all_pending(fresh)
    events = tuple(_told(ClipSkipped, facts, context) for facts in fresh)
    return Decided(events) if events else Unchanged.ALREADY_SKIPPED


def _archive(chosen: list[clip.Facts], context: Context) -> Decided | Unchanged:
    gone = (ClipState.REVIEW_ARCHIVED, ClipState.CLEANED)
    fresh = [facts for facts in chosen if status(facts) not in gone]
    for facts in fresh:
        if status(facts) is ClipState.SUPERSEDED:
            raise _refusal(facts)
    events = tuple(_told(ClipArchived, facts, context) for facts in fresh)
    return Decided(events) if events else Unchanged.ALREADY_ARCHIVED


def _group(chosen: list[clip.Facts], context: Context) -> Decided | Unchanged:
    if len(chosen) < 2:
        raise Refused("A group has at least two clips; choose another one too.", code="review.group_too_small")
    fresh = [facts for facts in chosen if status(facts) not in APPROVED_STATES]
    _all_pending(fresh)
    members = tuple(sorted(facts.clip_id for facts in chosen))
    if all(_membership(facts) == members for facts in chosen):
        return Unchanged.ALREADY_GROUPED
    if any(facts.group for facts in chosen):
        raise Refused("One of the clips is in a group already; ungroup it first.", code="review.in_a_group")
    return Decided(
        (
            *(_approval(facts, context) for facts in fresh),
            *(_told(ClipGrouped, facts, context, group=members) for facts in chosen),
        )
    )


def _ungroup(board: Board, chosen: list[clip.Facts], context: Context) -> Decided | Unchanged:
    for facts in chosen:
        if status(facts) is ClipState.SUPERSEDED or status(facts) in (ClipState.REVIEW_ARCHIVED, ClipState.CLEANED):
            raise _refusal(facts)
    leaving = {facts.clip_id for facts in chosen if facts.group}
    if not leaving:
        return Unchanged.NOT_GROUPED
    events: list[ClipEvent] = []
    for group in sorted({_membership(board[clip_id]) for clip_id in leaving}):
        rest = tuple(member for member in group if member not in leaving)
        stays = len(rest) > 1
        for member in group:
            facts = board[member]
            if member in leaving or not stays:
                others = rest if member in leaving else ()
                events.append(_told(ClipUngrouped, facts, context, group=others))
            else:
                events.append(_told(ClipGrouped, facts, context, group=rest))
    return Decided(tuple(events))


def _split(facts: clip.Facts, at: int, context: Context) -> Decided | Unchanged:
    _all_pending([facts])
    frames = facts.frames
    if not frames.start < at < frames.end:
        raise Refused(
            f"Frame {at} splits nothing off {frames}; choose one after {frames.start} and before {frames.end}.",
            code="review.split_outside",
        )
    parts = (FrameRange(start=frames.start, end=at), FrameRange(start=at, end=frames.end))
    children = tuple(_child(facts, part, "split", (facts,), context) for part in parts)
    return Decided((_replaced(facts, children, context), *children, *_inherited(facts.note, children, context)))


def _merge(chosen: list[clip.Facts], context: Context) -> Decided | Unchanged:
    if len(chosen) < 2:
        raise Refused("A merge joins at least two clips; choose a neighbour too.", code="review.merge_too_few")
    _all_pending(chosen)
    row = sorted(chosen, key=lambda facts: facts.frames.start)
    for left, right in pairwise(row):
        if left.frames.end != right.frames.start:
            raise Refused(
                f"The clips {left.frames} and {right.frames} are no neighbours; merge clips that touch.",
                code="review.not_neighbours",
            )
    whole = FrameRange(start=row[0].frames.start, end=row[-1].frames.end)
    child = _child(row[0], whole, "merge", tuple(row), context)
    if len(child.tags) > MAX_TAGS:
        raise _too_many_tags()
    note = "\n".join(dict.fromkeys(facts.note for facts in row if facts.note))
    if len(note) > MAX_NOTE:
        raise Refused(
            f"Together the clips' notes are longer than {MAX_NOTE} characters; shorten one of them first.",
            code="review.note_too_long",
        )
    heirs = _inherited(note, (child,), context)
    return Decided((*(_replaced(facts, (child,), context) for facts in row), child, *heirs))


def _trim(facts: clip.Facts, frames: FrameRange, context: Context) -> Decided | Unchanged:
    _all_pending([facts])
    old = facts.frames
    if frames.start < old.start or frames.end > old.end:
        raise Refused(
            f"{frames} is not inside the clip's {old}; a trim only shortens. Merge the neighbour to lengthen.",
            code="review.trim_outside",
        )
    if frames == old:
        return Unchanged.SAME_RANGE
    kept = _child(facts, frames, "trim", (facts,), context)
    edges = ((old.start, frames.start), (frames.end, old.end))
    aside = tuple(
        _child(facts, FrameRange(start=start, end=end), "trim", (facts,), context)
        for start, end in edges
        if start < end
    )
    skips = tuple(
        ClipSkipped(video_id=facts.video_id, clip_id=child.clip_id, edit_id=context.edit_id, version=2, by=context.by)
        for child in aside
    )
    heirs = _inherited(facts.note, (kept, *aside), context)
    return Decided((_replaced(facts, (kept, *aside), context), kept, *aside, *skips, *heirs))


def _inherited(note: str, children: Iterable[ClipCreated], context: Context) -> tuple[ClipNoted, ...]:
    """What was noted about a clip is noted about those that replace it."""
    if not note:
        return ()
    return tuple(
        ClipNoted(
            video_id=child.video_id,
            clip_id=child.clip_id,
            edit_id=context.edit_id,
            version=2,
            by=context.by,
            note=note,
        )
        for child in children
    )


def _tag(chosen: list[clip.Facts], command: TagClips, context: Context) -> Decided | Unchanged:
    _all_there(chosen)
    events = []
    for facts in chosen:
        kept = [tag for tag in facts.tags if tag not in command.remove]
        tags = tuple(dict.fromkeys((*kept, *(tag for tag in command.add if tag not in command.remove))))
        if len(tags) > MAX_TAGS:
            raise _too_many_tags()
        if tags != facts.tags:
            events.append(_told(ClipTagged, facts, context, tags=tags))
    return Decided(tuple(events)) if events else Unchanged.SAME_TAGS


def _note(chosen: list[clip.Facts], note: str, context: Context) -> Decided | Unchanged:
    _all_there(chosen)
    if len(note) > MAX_NOTE:
        raise Refused(f"A note has at most {MAX_NOTE} characters; shorten it.", code="review.note_too_long")
    events = tuple(_told(ClipNoted, facts, context, note=note) for facts in chosen if facts.note != note.strip())
    return Decided(events) if events else Unchanged.SAME_NOTE


def _too_many_tags() -> Refused:
    return Refused(f"A clip has at most {MAX_TAGS} tags; take some away.", code="review.too_many_tags")


def _as_it_was(board: Board, command: RedoEdit) -> Direct:
    """The undone command on the clips as they are now, if they stand as they stood before it."""
    versions: dict[UUID, int] = {}
    for target in targets_of(command.command):
        facts = board.get(target.clip_id)
        if facts is None:
            raise Refused(f"This video has no clip {target.clip_id}; reload its clips.", code="review.unknown_clip")
        if any(decision.edit_id == command.edit_id for decision in facts.standing):
            raise Refused("That edit stands; only an undone edit is made again.", code="review.not_undone")
        first = min((each.version for each in facts.decisions if each.edit_id == command.edit_id), default=None)
        if first is not None and _essence(_before(facts, first)) != _essence(facts):
            raise Refused(
                f"Clip {facts.clip_id} was edited since that edit was undone; decide again.", code="review.edited_since"
            )
        versions[target.clip_id] = facts.version
    return at_versions(command.command, versions)


def at_versions(command: Direct, versions: Mapping[UUID, int]) -> Direct:
    """The same command on other versions of its clips."""
    if isinstance(command, SplitClip | TrimClip):
        return replace(command, target=Target(command.target.clip_id, versions[command.target.clip_id]))
    return replace(
        command, targets=tuple(Target(target.clip_id, versions[target.clip_id]) for target in command.targets)
    )


def _before(facts: clip.Facts, version: int) -> clip.Facts:
    """The clip as it stood before the edit that made it this version."""
    return facts.model_copy(
        update={
            "decisions": tuple(each for each in facts.decisions if each.version < version),
            "withdrawals": tuple(each for each in facts.withdrawals if each.version < version),
        }
    )


def _essence(facts: clip.Facts) -> tuple[object, ...]:
    """How people have decided about a clip, whoever did it and in whatever edits."""
    verdict = facts.latest(Verb.APPROVE, Verb.SKIP)
    archived, replaced = facts.latest(Verb.ARCHIVE), facts.latest(Verb.SUPERSEDE)
    return verdict and verdict.verb, archived is None, replaced is None, facts.group, facts.tags, facts.note


def _all_there(chosen: Iterable[clip.Facts]) -> None:
    for facts in chosen:
        if status(facts) in (ClipState.SUPERSEDED, ClipState.REVIEW_ARCHIVED, ClipState.CLEANED):
            raise _refusal(facts)


def _undo(board: Board, command: UndoEdit, context: Context) -> Decided | Unchanged:
    if command.kind is EditKind.UNDO:
        raise Refused("An undo is not undone; redo the edit that it took back.", code="review.undo_is_final")
    touched = [facts for facts in board.values() if any(d.edit_id == command.edit_id for d in facts.decisions)]
    if not touched:
        raise Refused("No clip of this video was touched by that edit.", code="review.unknown_edit")
    if command.kind in (EditKind.TAG, EditKind.NOTE):
        return _take_annotation_back(touched, command, context)
    if all(_is_withdrawn(facts, command.edit_id) for facts in touched):
        return Unchanged.ALREADY_UNDONE
    if command.kind is EditKind.ARCHIVE and command.released:
        raise Refused(
            "The archived clips' files are being deleted; the time to undo this is over.",
            code="review.archive_released",
        )
    replaced = [facts for facts in touched if _replaced_by(facts, command.edit_id)]
    children = {child for facts in replaced for child in _replaced_by(facts, command.edit_id)}
    olds = sorted((facts for facts in touched if facts.clip_id not in children), key=lambda facts: facts.clip_id)
    news = [board[child] for child in sorted(children)]
    for facts in olds:
        if facts.last_edit != command.edit_id:
            raise _edited_since(facts, facts.last_edit)
    for facts in news:
        # A replaced clip comes back as it was: whatever was said about the new one, tags and notes too, would be lost.
        last = facts.standing[-1].edit_id if facts.standing else command.edit_id
        if last != command.edit_id:
            raise _edited_since(facts, last)
    parents = tuple(facts.clip_id for facts in sorted(replaced, key=lambda facts: facts.frames.start))
    return Decided(
        (
            *(_told(ClipSuperseded, facts, context, children=parents) for facts in news),
            *(event for facts in olds for event in _withdrawals(facts, command, context)),
        )
    )


def _take_annotation_back(touched: list[clip.Facts], command: UndoEdit, context: Context) -> Decided | Unchanged:
    """The tags or notes as they were before: told by the same events, so that a reader needs no history."""
    verb = Verb.TAG if command.kind is EditKind.TAG else Verb.NOTE
    standing = [facts for facts in touched if any(each.edit_id == command.edit_id for each in facts.standing)]
    if not standing:
        return Unchanged.ALREADY_UNDONE
    events: list[ClipEvent] = []
    for facts in standing:
        last = facts.latest(verb)
        if last is None or last.edit_id != command.edit_id:
            raise _edited_since(facts, last.edit_id if last else None)
        if status(facts) is ClipState.SUPERSEDED:
            raise _refusal(facts)
        before = clip.withdrawn(facts, facts.version + 1, command.edit_id)
        events.append(
            _told(ClipTagged, facts, context, tags=before.tags, undoes=command.edit_id)
            if verb is Verb.TAG
            else _told(ClipNoted, facts, context, note=before.note, undoes=command.edit_id)
        )
    return Decided(tuple(events))


def _edited_since(facts: clip.Facts, last: UUID | None) -> Refused:
    return Refused(f"Clip {facts.clip_id} was edited again since; undo edit {last} first.", code="review.edited_since")


def _withdrawals(facts: clip.Facts, command: UndoEdit, context: Context) -> Iterable[ClipEditUndone]:
    """One event for each thing the edit did to the clip: a group's approval is taken back as an approval too."""
    for decision in facts.decisions:
        if decision.edit_id != command.edit_id or decision.verb in clip.ANNOTATIONS:
            continue
        is_verdict = decision.verb in (Verb.APPROVE, Verb.SKIP, Verb.ARCHIVE)
        undone = decision.verb.value if is_verdict else command.kind.value
        taken_back = replace(context, edit_id=command.edit_id)
        yield _told(ClipEditUndone, facts, taken_back, undone=undone)


def _replaced_by(facts: clip.Facts, edit_id: UUID) -> tuple[UUID, ...]:
    for decision in facts.standing:
        if decision.edit_id == edit_id and decision.verb is Verb.SUPERSEDE:
            return decision.others
    return ()


def _is_withdrawn(facts: clip.Facts, edit_id: UUID) -> bool:
    """Whether the edit no longer stands on the clip: taken back, or the clip itself was by then."""
    if all(decision.edit_id != edit_id for decision in facts.standing):
        return True
    return facts.latest(Verb.SUPERSEDE) is not None and not _replaced_by(facts, edit_id)


def _membership(facts: clip.Facts) -> tuple[UUID, ...]:
    return tuple(sorted((facts.clip_id, *facts.group))) if facts.group else ()


def _all_pending(chosen: Iterable[clip.Facts]) -> None:
    for facts in chosen:
        if status(facts) is not ClipState.PENDING_REVIEW:
            raise _refusal(facts)


def _refusal(facts: clip.Facts) -> Refused:
    state = status(facts)
    name = f"Clip {facts.clip_id}"
    if state is ClipState.SUPERSEDED:
        return Refused(f"{name} was replaced by others; edit those.", code="review.clip_superseded")
    if state is ClipState.REVIEW_SKIPPED:
        return Refused(f"{name} was skipped; undo that first (edit {facts.last_edit}).", code="review.clip_skipped")
    if state in (ClipState.REVIEW_ARCHIVED, ClipState.CLEANED):
        return Refused(f"{name} was archived; undo that first, if it is not too late.", code="review.clip_archived")
    return Refused(f"{name} is approved; undo that first (edit {facts.last_edit}).", code="review.clip_approved")


def _approval(facts: clip.Facts, context: Context) -> ClipApproved:
    return _told(
        ClipApproved,
        facts,
        context,
        frames=facts.frames,
        title=context.title,
        tags=facts.tags,
        profiles=context.profiles,
    )


def _replaced(facts: clip.Facts, children: tuple[ClipCreated, ...], context: Context) -> ClipSuperseded:
    return _told(ClipSuperseded, facts, context, children=tuple(child.clip_id for child in children))


def _told(kind: type[EventT], facts: clip.Facts, context: Context, **more: Any) -> EventT:
    """What this edit does to a clip, which makes it the next version."""
    common = {
        "video_id": facts.video_id,
        "clip_id": facts.clip_id,
        "edit_id": context.edit_id,
        "version": facts.version + 1,
        "by": context.by,
    }
    return kind(**common, **more)


def _child(
    source: clip.Facts,
    frames: FrameRange,
    origin: Literal["split", "merge", "trim"],
    parents: tuple[clip.Facts, ...],
    context: Context,
) -> ClipCreated:
    tags = dict.fromkeys(tag for parent in parents for tag in parent.tags)
    return ClipCreated(
        video_id=source.video_id,
        clip_id=clip_id_of(source.video_id, frames, f"{origin}:{context.edit_id}"),
        frames=frames,
        origin=origin,
        parents=tuple(parent.clip_id for parent in parents),
        tags=tuple(tags),
    )
