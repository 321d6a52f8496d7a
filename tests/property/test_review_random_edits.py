"""Random sequences of edits, undos and redos by several people: a video stays tiled, nothing is lost, all of it comes back."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from contracts.values import FrameRange
from services.review.domain import clip
from services.review.domain.edits import (
    ApproveClips,
    ArchiveClips,
    Context,
    EditKind,
    GroupClips,
    MergeClips,
    NoteClips,
    RedoEdit,
    SkipClips,
    SplitClip,
    Stale,
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
from tests.support.review_events import VIDEO, created

EDGES = (0, 40, 70, 150, 300)
KINDS = (
    "approve",
    "skip",
    "archive",
    "group",
    "ungroup",
    "split",
    "merge",
    "trim",
    "tag",
    "note",
    "undo",
    "undo",
    "redo",
)

steps = st.lists(
    st.tuples(
        st.sampled_from(KINDS),
        st.integers(0, 40),
        st.integers(0, 40),
        st.integers(1, 299),
        st.integers(0, 1),
        st.booleans(),
    ),
    min_size=1,
    max_size=12,
)
GROUP_AND_UNGROUP = [(kind, 0, 1, 1, 0, True) for kind in ("approve", "group", "ungroup")]
"""What chance puts together too rarely to be sure of."""


@dataclass
class Made:
    """An edit of the history."""

    id: UUID
    command: Any
    is_undone: bool = False


@dataclass
class Table:
    """A video's clips and history, as the database keeps them, and what each of two people last saw."""

    board: dict[UUID, clip.Facts]
    history: list[Made] = field(default_factory=list)
    made: int = 0

    def carry_out(self, command: Any) -> UUID | None:
        """The edit's id, or none where there was nothing to do. Raises ``Refused``, and changes nothing then."""
        self.made += 1
        edit_id = UUID(int=1_000 + self.made)
        decision = decide(self.board, command, Context(edit_id, "ann", "A film", ("delivery-h264",)))
        if isinstance(decision, Unchanged):
            return None
        for event in decision.events:
            facts = self.board.get(event.clip_id) or clip.Facts(clip_id=event.clip_id, video_id=VIDEO)
            self.board[event.clip_id] = clip.evolve(facts, event)
        return edit_id


def first_table() -> Table:
    board = {}
    for number, (start, end) in enumerate(pairwise(EDGES), 101):
        facts = clip.Facts(clip_id=UUID(int=number), video_id=VIDEO)
        board[facts.clip_id] = clip.evolve(facts, created(facts.clip_id, start, end))
    return Table(board)


def live(board):
    return sorted((f.frames.start, f.frames.end) for f in board.values() if clip.occupies(f))


def check_tiling(board):
    ranges = live(board)
    assert (ranges[0][0], ranges[-1][1]) == (EDGES[0], EDGES[-1])
    assert all(left[1] == right[0] for left, right in pairwise(ranges))


def essence(board):
    """What a person sees of the clips that stand."""
    return sorted(
        (f.frames.start, f.frames.end, clip.status(f).value, f.group, f.tags, f.note)
        for f in board.values()
        if clip.occupies(f)
    )


def command_of(kind, one, other, frame, view):
    ids = sorted(view, key=lambda clip_id: (view[clip_id][1], clip_id))
    first = ids[one % len(ids)]
    second = ids[other % len(ids)]
    many = tuple(Target(each, view[each][0]) for each in dict.fromkeys((first, second)))
    target = Target(first, view[first][0])
    start, end = view[first][1], view[first][2]
    match kind:
        case "approve":
            return ApproveClips(many)
        case "skip":
            return SkipClips(many)
        case "archive":
            return ArchiveClips((target,))
        case "group":
            return GroupClips(many)
        case "ungroup":
            return UngroupClips((target,))
        case "split":
            return SplitClip(target, start + frame % max(1, end - start))
        case "merge":
            beside = [each for each in ids if view[each][1] == end] or [second]
            return MergeClips(tuple(dict.fromkeys((target, Target(beside[0], view[beside[0]][0])))))
        case "trim":
            kept = start + frame % max(1, end - start)
            return TrimClip(target, FrameRange(start=kept, end=max(kept + 1, end - other)))
        case "tag":
            return TagClips(many, (f"t{frame % 3}",), ("tag",) if frame % 2 else ())
        case _:
            return NoteClips((target,), f"note {frame % 4}" if frame % 4 else "")


def seen(board):
    return {f.clip_id: (f.version, f.frames.start, f.frames.end) for f in board.values() if clip.occupies(f)}


def act(table, views, step):
    kind, one, other, frame, person, is_fresh = step
    if is_fresh or not views[person]:
        views[person] = seen(table.board)
    before = dict(table.board)
    undone = [edit for edit in table.history if edit.is_undone]
    standing = [edit for edit in table.history if not edit.is_undone]
    try:
        if kind == "undo":
            if not standing:
                return
            edit = standing[-1 - one % len(standing)]
            if table.carry_out(UndoEdit(edit.id, kind_of(edit.command))) is not None:
                edit.is_undone = True
        elif kind == "redo":
            if not undone:
                return
            edit = undone[-1 - one % len(undone)]
            again = table.carry_out(RedoEdit(edit.id, edit.command))
            if again is not None:
                table.history.append(Made(again, edit.command))
        else:
            command = command_of(kind, one, other, frame, views[person])
            stale = [each for each in targets_of(command) if before[each.clip_id].version != each.version]
            if stale:
                with pytest.raises(Stale) as refusal:
                    table.carry_out(command)
                assert refusal.value.clips == tuple(each.clip_id for each in stale)
                assert table.board == before
                return
            made = table.carry_out(command)
            if made is not None:
                table.history.append(Made(made, command))
    except Refused:
        assert table.board == before


@pytest.mark.scaled
@pytest.mark.timeout(900)
def test_any_sequence_keeps_the_tiling_loses_nothing_and_is_undone_to_the_first_state(scale):
    first = essence(first_table().board)
    reached: set[str] = set()

    @settings(
        max_examples=scale(400, 10_000),
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(steps)
    @example(GROUP_AND_UNGROUP)
    def check(sequence):
        table = first_table()
        views = [{}, {}]
        for step in sequence:
            act(table, views, step)
            check_tiling(table.board)
        reached.update(clip.status(facts).value for facts in table.board.values())
        reached.update(kind_of(edit.command).value for edit in table.history)
        # Everything that stands is taken back, the latest first: each must be allowed, and the first state comes back.
        for edit in reversed(table.history):
            if edit.is_undone:
                continue
            assert table.carry_out(UndoEdit(edit.id, kind_of(edit.command))) is not None
            check_tiling(table.board)
        assert essence(table.board) == first

    check()
    assert reached >= {"pending_review", "review_approved", "review_skipped", "review_archived", "superseded"}
    assert reached >= {kind.value for kind in EditKind} - {"undo"}
