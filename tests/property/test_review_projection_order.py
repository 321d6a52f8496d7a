"""Whatever the order and however often: the same events give the same facts, and edits never lose a frame."""

from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.values import FrameRange
from services.review.domain import clip, policy, video
from services.review.domain.edits import (
    ApproveClips,
    ArchiveClips,
    Context,
    Decided,
    GroupClips,
    MergeClips,
    SkipClips,
    SplitClip,
    Target,
    TrimClip,
    UndoEdit,
    UngroupClips,
    decide,
    kind_of,
)
from services.review.domain.marks import Refused
from tests.support.review_events import CLIP, FRAMES, VIDEO, created, edit_events, video_events, work_events

VIDEO_EVENTS = [event for run in (1, 2, 3) for event in video_events(run=run).values()]
CLIP_EVENTS = [*edit_events().values(), *(event for run in (1, 2) for event in work_events(run=run).values())]


@st.composite
def two_orders(draw, events):
    """Some of the events, in two orders, each with repetitions of its own."""
    some = draw(st.lists(st.sampled_from(events), max_size=14))
    first = draw(st.permutations(some + draw(st.lists(st.sampled_from(some), max_size=6) if some else st.just([]))))
    second = draw(st.permutations(some))
    return first, second


def folded(facts, evolve, events):
    for event in events:
        facts = evolve(facts, event)
    return facts


@given(two_orders(VIDEO_EVENTS))
@settings(max_examples=150, deadline=None)
def test_any_order_of_a_videos_events_gives_the_same_facts_and_clips(orders):
    first, second = (folded(video.Facts(video_id=VIDEO), video.evolve, order) for order in orders)
    assert first == second
    assert video.status(first) is video.status(second)
    assert video.births(first) == video.births(second)
    assert policy.approvals(first, video.births(first)) == policy.approvals(second, video.births(second))


@given(two_orders(CLIP_EVENTS))
@settings(max_examples=150, deadline=None)
def test_any_order_of_a_clips_events_gives_the_same_facts(orders):
    first, second = (folded(clip.Facts(clip_id=CLIP, video_id=VIDEO), clip.evolve, order) for order in orders)
    assert first == second
    assert clip.status(first) is clip.status(second)


@given(st.lists(st.sampled_from(VIDEO_EVENTS), max_size=10))
@settings(max_examples=50, deadline=None)
def test_facts_survive_their_json_spelling(events):
    facts = folded(video.Facts(video_id=VIDEO), video.evolve, events)
    assert video.Facts.model_validate_json(facts.model_dump_json()) == facts


@st.composite
def steps(draw):
    return draw(
        st.lists(
            st.tuples(
                st.sampled_from(
                    ["approve", "skip", "archive", "group", "ungroup", "split", "merge", "trim", "undo", "undo"]
                ),
                st.integers(0, 30),
                st.integers(0, 30),
                st.integers(0, FRAMES),
                st.integers(1, FRAMES),
            ),
            max_size=25,
        )
    )


def command_of(step, board, history):
    name, first, second, at, length = step
    ids = sorted((f.clip_id for f in board.values() if clip.occupies(f)), key=lambda i: board[i].frames.start)
    one = Target(ids[first % len(ids)], board[ids[first % len(ids)]].version)
    position = first % len(ids)
    near = ids[position : position + 2 + second % 2]
    several = tuple(Target(i, board[i].version) for i in near)
    frames = board[one.clip_id].frames
    if name == "undo":
        return UndoEdit(*history[first % len(history)]) if history else None
    if name == "trim":
        start = frames.start + at % len(frames)
        return TrimClip(one, FrameRange(start=start, end=min(frames.end, start + length)))
    if name == "split":
        return SplitClip(one, frames.start + at % len(frames))
    kind = {
        "approve": ApproveClips,
        "skip": SkipClips,
        "archive": ArchiveClips,
        "group": GroupClips,
        "ungroup": UngroupClips,
        "merge": MergeClips,
    }[name]
    return kind(several)


@given(steps())
@settings(max_examples=150, deadline=None)
def test_edits_and_undos_keep_the_tiling_and_unwind_to_the_first_state(script):
    ranges = [(0, 100), (100, 200), (200, 300)]
    board = {}
    for number, span in enumerate(ranges):
        facts = clip.Facts(clip_id=UUID(int=101 + number), video_id=VIDEO)
        board[facts.clip_id] = clip.evolve(facts, created(facts.clip_id, *span))
    history = []

    def carry_out(command, number):
        context = Context(UUID(int=1000 + number), "bob", "A film", ("delivery-h264",))
        try:
            decision = decide(board, command, context)
        except Refused:
            return False
        if isinstance(decision, Decided):
            for event in decision.events:
                facts = board.get(event.clip_id) or clip.Facts(clip_id=event.clip_id, video_id=VIDEO)
                board[event.clip_id] = clip.evolve(facts, event)
            if isinstance(command, UndoEdit):
                history.remove((command.edit_id, command.kind))
            else:
                history.append((context.edit_id, kind_of(command)))
        return True

    def assert_tiled():
        edge = 0
        for start, end in sorted((f.frames.start, f.frames.end) for f in board.values() if clip.occupies(f)):
            assert start == edge
            edge = end
        assert edge == FRAMES
        for facts in board.values():
            for member in facts.group:
                assert facts.clip_id in board[member].group

    for number, step in enumerate(script):
        if (command := command_of(step, board, history)) is not None:
            carry_out(command, number)
            assert_tiled()
    for number, (edit_id, kind) in enumerate(reversed(list(history))):
        assert carry_out(UndoEdit(edit_id, kind), 10_000 + number)
        assert_tiled()
    assert sorted((f.frames.start, f.frames.end) for f in board.values() if clip.occupies(f)) == ranges
    assert {clip.status(board[UUID(int=101 + n)]) for n in range(3)} == {clip.ClipState.PENDING_REVIEW}
