"""Every state of a clip meets every command; the table below is the specification."""

from uuid import UUID

import pytest

from contracts.events.v1.clip import ClipCreated, ClipEditUndone
from contracts.values import FrameRange
from services.review.domain import clip
from services.review.domain.clip import ClipState, evolve, status
from services.review.domain.edits import (
    ApproveClips,
    ArchiveClips,
    Context,
    Decided,
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
from tests.support.review_events import CLIP, EDIT, VIDEO, approved, created, edit_events, work_events

NEXT = UUID(int=102)
FAR = UUID(int=103)
NEW_EDIT = UUID(int=900)
CONTEXT = Context(edit_id=NEW_EDIT, by="bob", title="A film", profiles=("delivery-h264",))
EVENTS = edit_events() | work_events()

DELIVERED = ("created", "approved", "exported")
PATHS = {
    ClipState.PENDING_REVIEW: ("created",),
    ClipState.REVIEW_SKIPPED: ("created", "skipped"),
    ClipState.REVIEW_ARCHIVED: ("created", "archived"),
    ClipState.CLEANED: ("created", "archived", "cleaned"),
    ClipState.SUPERSEDED: ("created", "superseded"),
    ClipState.REVIEW_APPROVED: ("created", "approved"),
    ClipState.EXPORTING: ("created", "approved", "export_started"),
    ClipState.EXPORTED: DELIVERED,
    ClipState.EXPORT_FAILED: ("created", "approved", "export_failed"),
    ClipState.KEYFRAMING: (*DELIVERED, "keyframing_started"),
    ClipState.KEYFRAMED: (*DELIVERED, "keyframed"),
    ClipState.KEYFRAME_FAILED: (*DELIVERED, "keyframe_failed"),
    ClipState.EMBEDDING: (*DELIVERED, "embedding_started"),
    ClipState.EMBEDDED: (*DELIVERED, "embedded"),
    ClipState.EMBEDDING_FAILED: (*DELIVERED, "embedding_failed"),
}

# Rows: commands on a clip; a second, pending neighbour takes part where two are needed. "APPROVED" is every approved
# state. A state it leads to, "= name" a no-op, "! code" a refusal.
COMMANDS_BY_STATE = {
    "approve": {
        "PENDING": "review_approved",
        "SKIPPED": "! clip_skipped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "= already_approved",
    },
    "skip": {
        "PENDING": "review_skipped",
        "SKIPPED": "= already_skipped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "! clip_approved",
    },
    "archive": {
        "PENDING": "review_archived",
        "SKIPPED": "review_archived",
        "ARCHIVED": "= already_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "review_archived",
    },
    "group": {
        "PENDING": "review_approved",
        "SKIPPED": "! clip_skipped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "same",
    },
    "ungroup": {
        "PENDING": "= not_grouped",
        "SKIPPED": "= not_grouped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "= not_grouped",
    },
    "split": {
        "PENDING": "superseded",
        "SKIPPED": "! clip_skipped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "! clip_approved",
    },
    "merge": {
        "PENDING": "superseded",
        "SKIPPED": "! clip_skipped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "! clip_approved",
    },
    "trim": {
        "PENDING": "superseded",
        "SKIPPED": "! clip_skipped",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "! clip_approved",
    },
    "tag": {
        "PENDING": "same",
        "SKIPPED": "same",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "same",
    },
    "note": {
        "PENDING": "same",
        "SKIPPED": "same",
        "ARCHIVED": "! clip_archived",
        "SUPERSEDED": "! clip_superseded",
        "APPROVED": "same",
    },
    "undo": {
        "PENDING": "! unknown_edit",
        "SKIPPED": "pending_review",
        "ARCHIVED": "! archive_released",
        "SUPERSEDED": "pending_review",
        "APPROVED": "pending_review",
    },
}


def column(state):
    return {
        ClipState.PENDING_REVIEW: "PENDING",
        ClipState.REVIEW_SKIPPED: "SKIPPED",
        ClipState.REVIEW_ARCHIVED: "ARCHIVED",
        ClipState.CLEANED: "ARCHIVED",
        ClipState.SUPERSEDED: "SUPERSEDED",
    }.get(state, "APPROVED")


def facts_of(clip_id, *events):
    facts = clip.Facts(clip_id=clip_id, video_id=VIDEO)
    for event in events:
        facts = evolve(facts, event)
    return facts


def board_in(state):
    subject = facts_of(CLIP, *(EVENTS[name] for name in PATHS[state]))
    board = {CLIP: subject, NEXT: facts_of(NEXT, created(NEXT, 100, 200))}
    for child in subject.children:
        board[child] = facts_of(child, created(child, 0, 50))
    return board


def fresh_board(*ranges):
    return {
        UUID(int=101 + number): facts_of(UUID(int=101 + number), created(UUID(int=101 + number), *span))
        for number, span in enumerate(ranges)
    }


def targets(board, *clip_ids):
    return tuple(Target(clip_id, board[clip_id].version) for clip_id in clip_ids)


def command(name, board):
    one, two = targets(board, CLIP), targets(board, CLIP, NEXT)
    edit = board[CLIP].last_edit or EDIT
    kind = {ClipState.REVIEW_ARCHIVED: EditKind.ARCHIVE, ClipState.CLEANED: EditKind.ARCHIVE}
    return {
        "approve": ApproveClips(one),
        "skip": SkipClips(one),
        "archive": ArchiveClips(one),
        "group": GroupClips(two),
        "ungroup": UngroupClips(one),
        "split": SplitClip(one[0], 50),
        "merge": MergeClips(two),
        "trim": TrimClip(one[0], FrameRange(start=10, end=90)),
        "tag": TagClips(one, add=("city",)),
        "note": NoteClips(one, "Look twice."),
        "undo": UndoEdit(edit, kind.get(status(board[CLIP]), EditKind.APPROVE), released=True),
    }[name]


def carried_out(board, decision):
    """The board after the decision's events."""
    board = dict(board)
    for event in decision.events:
        facts = board.get(event.clip_id) or clip.Facts(clip_id=event.clip_id, video_id=event.video_id)
        board[event.clip_id] = evolve(facts, event)
    return board


def live(board):
    return sorted((f.frames.start, f.frames.end) for f in board.values() if clip.occupies(f))


def test_the_table_covers_every_state_and_every_command():
    assert set(PATHS) == set(ClipState)
    assert set(COMMANDS_BY_STATE) == {kind.value for kind in EditKind}
    for cells in COMMANDS_BY_STATE.values():
        assert set(cells) == {column(state) for state in ClipState}


@pytest.mark.parametrize("state", ClipState)
@pytest.mark.parametrize("name", COMMANDS_BY_STATE)
def test_a_command_does_what_the_table_says(name, state):
    board = board_in(state)
    cell = COMMANDS_BY_STATE[name][column(state)]
    if cell.startswith("!"):
        with pytest.raises(Refused) as refusal:
            decide(board, command(name, board), CONTEXT)
        assert refusal.value.code == f"review.{cell[2:]}"
        return
    decision = decide(board, command(name, board), CONTEXT)
    if cell.startswith("="):
        assert decision is Unchanged(cell[2:])
        return
    after = carried_out(board, decision)
    assert status(after[CLIP]) is (state if cell == "same" else ClipState(cell))
    assert after[CLIP].version == board[CLIP].version + 1


def test_a_stale_version_refuses_the_whole_command_and_names_the_clips():
    board = fresh_board((0, 100), (100, 200))
    with pytest.raises(Stale) as refusal:
        decide(board, ApproveClips((Target(CLIP, 1), Target(NEXT, 7))), CONTEXT)
    assert refusal.value.code == "review.stale_version"
    assert refusal.value.clips == (NEXT,)


def test_commands_without_clips_with_unknown_clips_or_with_repeated_ones_are_refused():
    board = fresh_board((0, 100))
    for wrong, code in (
        ((), "review.no_clips"),
        ((Target(FAR, 1),), "review.unknown_clip"),
        ((Target(CLIP, 1), Target(CLIP, 1)), "review.repeated_clip"),
    ):
        with pytest.raises(Refused) as refusal:
            decide(board, SkipClips(wrong), CONTEXT)
        assert refusal.value.code == code


def test_approving_many_passes_over_those_already_approved():
    board = fresh_board((0, 100), (100, 200))
    board[CLIP] = evolve(board[CLIP], approved())
    decision = decide(board, ApproveClips(targets(board, CLIP, NEXT)), CONTEXT)
    assert [event.clip_id for event in decision.events] == [NEXT]
    assert decision.events[0].frames == FrameRange(start=100, end=200)


def test_an_approval_carries_its_own_profiles_or_those_of_the_request():
    board = fresh_board((0, 100), (100, 200))
    own = decide(board, ApproveClips(targets(board, CLIP), profiles=("prores-lt", "archive-ffv1")), CONTEXT)
    assert own.events[0].profiles == ("prores-lt", "archive-ffv1")
    assert decide(board, ApproveClips(targets(board, CLIP)), CONTEXT).events[0].profiles == CONTEXT.profiles


@pytest.mark.parametrize("at", [0, 100, 150])
def test_a_split_outside_the_clip_is_refused(at):
    board = fresh_board((0, 100))
    with pytest.raises(Refused) as refusal:
        decide(board, SplitClip(Target(CLIP, 1), at), CONTEXT)
    assert refusal.value.code == "review.split_outside"


def test_a_split_gives_two_pending_clips_that_tile_the_old_one():
    board = fresh_board((0, 100))
    after = carried_out(board, decide(board, SplitClip(Target(CLIP, 1), 30), CONTEXT))
    assert live(after) == [(0, 30), (30, 100)]
    children = after[CLIP].children
    assert [status(after[child]) for child in children] == [ClipState.PENDING_REVIEW] * 2
    assert all(after[child].born.parents == (CLIP,) for child in children)


def test_a_merge_takes_neighbours_in_any_order_and_nothing_else():
    board = fresh_board((0, 100), (100, 200), (250, 300))
    after = carried_out(board, decide(board, MergeClips(targets(board, NEXT, CLIP)), CONTEXT))
    assert live(after) == [(0, 200), (250, 300)]
    with pytest.raises(Refused) as gap:
        decide(board, MergeClips(targets(board, NEXT, FAR)), CONTEXT)
    with pytest.raises(Refused) as lonely:
        decide(board, MergeClips(targets(board, NEXT)), CONTEXT)
    assert (gap.value.code, lonely.value.code) == ("review.not_neighbours", "review.merge_too_few")


def test_a_trim_loses_no_frame():
    board = fresh_board((0, 100))
    after = carried_out(board, decide(board, TrimClip(Target(CLIP, 1), FrameRange(start=10, end=90)), CONTEXT))
    assert live(after) == [(0, 10), (10, 90), (90, 100)]
    states = {(f.frames.start, f.frames.end): status(f) for f in after.values() if clip.occupies(f)}
    assert states == {
        (0, 10): ClipState.REVIEW_SKIPPED,
        (10, 90): ClipState.PENDING_REVIEW,
        (90, 100): ClipState.REVIEW_SKIPPED,
    }


def test_a_trim_that_lengthens_is_refused_and_one_that_keeps_all_is_a_no_op():
    board = fresh_board((10, 100))
    with pytest.raises(Refused) as refusal:
        decide(board, TrimClip(Target(CLIP, 1), FrameRange(start=0, end=90)), CONTEXT)
    assert refusal.value.code == "review.trim_outside"
    same = TrimClip(Target(CLIP, 1), FrameRange(start=10, end=100))
    assert decide(board, same, CONTEXT) is Unchanged.SAME_RANGE


def test_a_group_links_both_ways_and_is_kept_when_repeated():
    board = fresh_board((0, 100), (100, 200))
    after = carried_out(board, decide(board, GroupClips(targets(board, CLIP, NEXT)), CONTEXT))
    assert after[CLIP].group == (NEXT,)
    assert after[NEXT].group == (CLIP,)
    assert decide(after, GroupClips(targets(after, NEXT, CLIP)), CONTEXT) is Unchanged.ALREADY_GROUPED


def test_a_clip_is_in_one_group_only_and_a_group_has_two_members():
    board = fresh_board((0, 100), (100, 200), (200, 300))
    after = carried_out(board, decide(board, GroupClips(targets(board, CLIP, NEXT)), CONTEXT))
    with pytest.raises(Refused) as second:
        decide(after, GroupClips(targets(after, NEXT, FAR)), CONTEXT)
    with pytest.raises(Refused) as lonely:
        decide(after, GroupClips(targets(after, FAR)), CONTEXT)
    assert (second.value.code, lonely.value.code) == ("review.in_a_group", "review.group_too_small")


def test_leaving_a_group_of_three_keeps_the_rest_together_and_of_two_dissolves_it():
    board = fresh_board((0, 100), (100, 200), (200, 300))
    three = carried_out(board, decide(board, GroupClips(targets(board, CLIP, NEXT, FAR)), CONTEXT))
    leave = Context(UUID(int=901), "bob", "A film", ("delivery-h264",))
    two = carried_out(three, decide(three, UngroupClips(targets(three, CLIP)), leave))
    assert (two[CLIP].group, two[NEXT].group, two[FAR].group) == ((), (FAR,), (NEXT,))
    dissolve = Context(UUID(int=902), "bob", "A film", ("delivery-h264",))
    none = carried_out(two, decide(two, UngroupClips(targets(two, FAR)), dissolve))
    assert (none[NEXT].group, none[FAR].group) == ((), ())
    back = decide(none, UndoEdit(UUID(int=902), EditKind.UNGROUP), CONTEXT)
    assert carried_out(none, back)[NEXT].group == (FAR,)


@pytest.mark.parametrize(
    ("build", "kind"),
    [
        (lambda b: ApproveClips(targets(b, CLIP, NEXT)), EditKind.APPROVE),
        (lambda b: SkipClips(targets(b, CLIP)), EditKind.SKIP),
        (lambda b: ArchiveClips(targets(b, CLIP)), EditKind.ARCHIVE),
        (lambda b: GroupClips(targets(b, CLIP, NEXT)), EditKind.GROUP),
        (lambda b: SplitClip(targets(b, CLIP)[0], 40), EditKind.SPLIT),
        (lambda b: MergeClips(targets(b, CLIP, NEXT)), EditKind.MERGE),
        (lambda b: TrimClip(targets(b, CLIP)[0], FrameRange(start=10, end=90)), EditKind.TRIM),
    ],
)
def test_undo_brings_back_the_first_state(build, kind):
    board = fresh_board((0, 100), (100, 200))
    edit = build(board)
    assert kind_of(edit) is kind
    assert targets_of(edit)
    after = carried_out(board, decide(board, edit, CONTEXT))
    again = Context(UUID(int=901), "bob", "A film", ("delivery-h264",))
    undo = decide(after, UndoEdit(NEW_EDIT, kind), again)
    assert isinstance(undo, Decided)
    back = carried_out(after, undo)
    assert live(back) == [(0, 100), (100, 200)]
    assert {status(facts) for facts in (back[CLIP], back[NEXT])} == {ClipState.PENDING_REVIEW}
    assert {facts.group for facts in back.values()} == {()}
    assert decide(back, UndoEdit(NEW_EDIT, kind), CONTEXT) is Unchanged.ALREADY_UNDONE


def test_undoing_a_group_takes_back_the_approvals_it_made_too():
    board = fresh_board((0, 100), (100, 200))
    board[NEXT] = evolve(board[NEXT], approved(NEXT))
    after = carried_out(board, decide(board, GroupClips(targets(board, CLIP, NEXT)), CONTEXT))
    undo = decide(after, UndoEdit(NEW_EDIT, EditKind.GROUP), CONTEXT)
    told = {(event.clip_id, event.undone) for event in undo.events if isinstance(event, ClipEditUndone)}
    assert told == {(CLIP, "approve"), (CLIP, "group"), (NEXT, "group")}
    assert status(carried_out(after, undo)[NEXT]) is ClipState.REVIEW_APPROVED


def test_an_edit_is_undone_only_after_those_that_built_on_it():
    board = fresh_board((0, 100))
    split = carried_out(board, decide(board, SplitClip(Target(CLIP, 1), 50), CONTEXT))
    child = next(
        event.clip_id
        for event in decide(board, SplitClip(Target(CLIP, 1), 50), CONTEXT).events
        if isinstance(event, ClipCreated)
    )
    later = Context(UUID(int=901), "bob", "A film", ("delivery-h264",))
    after = carried_out(split, decide(split, ApproveClips(targets(split, child)), later))
    with pytest.raises(Refused) as refusal:
        decide(after, UndoEdit(NEW_EDIT, EditKind.SPLIT), CONTEXT)
    assert refusal.value.code == "review.edited_since"
    assert str(later.edit_id) in refusal.value.message


def test_an_archive_is_undone_before_its_release_and_an_undo_never():
    board = board_in(ClipState.REVIEW_ARCHIVED)
    edit = board[CLIP].last_edit
    back = decide(board, UndoEdit(edit, EditKind.ARCHIVE, released=False), CONTEXT)
    assert status(carried_out(board, back)[CLIP]) is ClipState.PENDING_REVIEW
    with pytest.raises(Refused) as refusal:
        decide(board, UndoEdit(edit, EditKind.UNDO), CONTEXT)
    assert refusal.value.code == "review.undo_is_final"


LATER = [Context(UUID(int=910 + number), "bob", "A film", ("delivery-h264",)) for number in range(8)]


def test_tags_are_given_and_taken_away_and_notes_are_written_and_wiped():
    board = fresh_board((0, 100), (100, 200))
    tagged = carried_out(
        board, decide(board, TagClips(targets(board, CLIP, NEXT), add=("city", "tag"), remove=("x",)), CONTEXT)
    )
    assert [tagged[each].tags for each in (CLIP, NEXT)] == [("tag", "city")] * 2
    assert decide(tagged, TagClips(targets(tagged, CLIP), add=("city",)), LATER[0]) is Unchanged.SAME_TAGS
    bare = carried_out(tagged, decide(tagged, TagClips(targets(tagged, CLIP), remove=("tag", "city")), LATER[0]))
    assert (bare[CLIP].tags, bare[NEXT].tags) == ((), ("tag", "city"))
    noted = carried_out(bare, decide(bare, NoteClips(targets(bare, CLIP), " Look twice. "), LATER[1]))
    assert noted[CLIP].note == "Look twice."
    assert decide(noted, NoteClips(targets(noted, CLIP), "Look twice."), LATER[2]) is Unchanged.SAME_NOTE
    wiped = carried_out(noted, decide(noted, NoteClips(targets(noted, CLIP), ""), LATER[2]))
    assert wiped[CLIP].note == ""


def test_undoing_a_tag_or_a_note_tells_the_former_ones():
    board = fresh_board((0, 100))
    tagged = carried_out(board, decide(board, TagClips(targets(board, CLIP), add=("city",)), LATER[0]))
    noted = carried_out(tagged, decide(tagged, NoteClips(targets(tagged, CLIP), "a"), LATER[1]))
    again = carried_out(noted, decide(noted, NoteClips(targets(noted, CLIP), "b"), LATER[2]))
    with pytest.raises(Refused) as refusal:
        decide(again, UndoEdit(LATER[1].edit_id, EditKind.NOTE), LATER[3])
    assert refusal.value.code == "review.edited_since"
    back = decide(again, UndoEdit(LATER[2].edit_id, EditKind.NOTE), LATER[3])
    assert [event.note for event in back.events] == ["a"]
    untagged = decide(again, UndoEdit(LATER[0].edit_id, EditKind.TAG), LATER[4])
    assert [(event.tags, event.undoes) for event in untagged.events] == [(("tag",), LATER[0].edit_id)]
    after = carried_out(again, untagged)
    assert (after[CLIP].tags, after[CLIP].note) == (("tag",), "b")
    assert decide(after, UndoEdit(LATER[0].edit_id, EditKind.TAG), LATER[5]) is Unchanged.ALREADY_UNDONE


def test_a_verdict_is_undone_whatever_was_noted_since():
    board = fresh_board((0, 100))
    kept = carried_out(board, decide(board, ApproveClips(targets(board, CLIP)), LATER[0]))
    noted = carried_out(kept, decide(kept, NoteClips(targets(kept, CLIP), "a"), LATER[1]))
    back = carried_out(noted, decide(noted, UndoEdit(LATER[0].edit_id, EditKind.APPROVE), LATER[2]))
    assert (status(back[CLIP]), back[CLIP].note) == (ClipState.PENDING_REVIEW, "a")


def test_parts_inherit_tags_and_notes_and_a_note_on_a_part_keeps_the_split():
    board = fresh_board((0, 100))
    noted = carried_out(board, decide(board, NoteClips(targets(board, CLIP), "a"), LATER[0]))
    split = carried_out(noted, decide(noted, SplitClip(targets(noted, CLIP)[0], 50), LATER[1]))
    children = split[CLIP].children
    assert [(split[child].note, split[child].tags) for child in children] == [("a", ("tag",))] * 2
    merged = carried_out(split, decide(split, MergeClips(targets(split, *children)), LATER[2]))
    (whole,) = merged[children[0]].children
    assert merged[whole].note == "a"
    back = carried_out(split, decide(split, UndoEdit(LATER[1].edit_id, EditKind.SPLIT), LATER[3]))
    assert (live(back), back[CLIP].note) == ([(0, 100)], "a")
    more = carried_out(split, decide(split, NoteClips(targets(split, children[0]), "b"), LATER[4]))
    with pytest.raises(Refused) as refusal:
        decide(more, UndoEdit(LATER[1].edit_id, EditKind.SPLIT), LATER[5])
    assert refusal.value.code == "review.edited_since"


def test_limits_of_tags_and_notes_are_refused_by_name():
    board = fresh_board((0, 100), (100, 200))
    for wrong, code in (
        (TagClips(targets(board, CLIP), add=tuple(f"t{n}" for n in range(100))), "review.too_many_tags"),
        (NoteClips(targets(board, CLIP), "x" * 4001), "review.note_too_long"),
    ):
        with pytest.raises(Refused) as refusal:
            decide(board, wrong, CONTEXT)
        assert refusal.value.code == code
    for number, clip_id in enumerate((CLIP, NEXT)):
        long = str(number) * 3000
        board = carried_out(board, decide(board, NoteClips(targets(board, clip_id), long), LATER[number]))
    with pytest.raises(Refused) as refusal:
        decide(board, MergeClips(targets(board, CLIP, NEXT)), CONTEXT)
    assert refusal.value.code == "review.note_too_long"


def test_redo_makes_an_undone_edit_again_and_only_that():
    board = fresh_board((0, 100))
    approve = ApproveClips(targets(board, CLIP))
    kept = carried_out(board, decide(board, approve, LATER[0]))
    with pytest.raises(Refused) as standing:
        decide(kept, RedoEdit(LATER[0].edit_id, approve), LATER[1])
    assert standing.value.code == "review.not_undone"
    tag = TagClips(targets(kept, CLIP), add=("city",))
    tagged = carried_out(kept, decide(kept, tag, LATER[1]))
    untagged = carried_out(tagged, decide(tagged, UndoEdit(LATER[1].edit_id, EditKind.TAG), LATER[2]))
    back = carried_out(untagged, decide(untagged, UndoEdit(LATER[0].edit_id, EditKind.APPROVE), LATER[3]))
    with pytest.raises(Refused) as out_of_order:
        decide(back, RedoEdit(LATER[1].edit_id, tag), LATER[4])
    assert out_of_order.value.code == "review.edited_since"
    again = RedoEdit(LATER[0].edit_id, approve)
    assert (kind_of(again), targets_of(again)) == (EditKind.APPROVE, approve.targets)
    redone = carried_out(back, decide(back, again, LATER[4]))
    both = carried_out(redone, decide(redone, RedoEdit(LATER[1].edit_id, tag), LATER[5]))
    assert (status(both[CLIP]), both[CLIP].tags) == (ClipState.REVIEW_APPROVED, ("tag", "city"))
    split = SplitClip(targets(board, CLIP)[0], 40)
    parted = carried_out(board, decide(board, split, LATER[0]))
    whole = carried_out(parted, decide(parted, UndoEdit(LATER[0].edit_id, EditKind.SPLIT), LATER[1]))
    assert live(carried_out(whole, decide(whole, RedoEdit(LATER[0].edit_id, split), LATER[2]))) == [(0, 40), (40, 100)]
