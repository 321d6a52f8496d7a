"""Which frames stand for a clip."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.values import FrameRange
from services.embed.domain.strategies import MAX_KEYFRAMES, UnknownStrategy, parse, plan

SPELLINGS = st.one_of(
    st.integers(1, MAX_KEYFRAMES).map(lambda count: f"uniform-{count}"),
    st.integers(1, MAX_KEYFRAMES).map(lambda count: f"sharpest-{count}"),
    st.lists(st.integers(0, 100), min_size=1, max_size=8).map(lambda places: "-".join(["percent", *map(str, places)])),
    st.lists(st.sampled_from(["start", "quarter", "third", "middle", "end"]), min_size=1, max_size=5).map(
        lambda points: "-".join(["named", *points])
    ),
)


@given(SPELLINGS, st.integers(1, 5_000), st.integers(0, 10_000))
def test_candidates_lie_inside_the_clip_in_order_and_belong_to_one_keyframe(spelling, length, start):
    groups = plan(parse(spelling), FrameRange(start=start, end=start + length))
    offsets = [offset for group in groups for offset in group]
    assert groups
    assert all(groups)
    assert offsets == sorted(set(offsets))
    assert 0 <= offsets[0] <= offsets[-1] < length


def test_uniform_takes_the_middles_of_equal_parts():
    assert plan(parse("uniform-4"), FrameRange(start=1_000, end=1_100)) == ((12,), (37,), (62,), (87,))


def test_a_clip_shorter_than_the_strategy_gives_every_frame_once():
    assert plan(parse("uniform-4"), FrameRange(start=0, end=2)) == ((0,), (1,))


def test_named_points_reach_the_first_and_the_last_frame():
    assert plan(parse("named-start-middle-end"), FrameRange(start=50, end=151)) == ((0,), (50,), (100,))


def test_per_cent_counts_from_the_first_to_the_last_frame():
    assert plan(parse("percent-90-10-50-10"), FrameRange(start=0, end=101)) == ((10,), (50,), (90,))


def test_sharpest_offers_several_frames_around_each_middle():
    assert plan(parse("sharpest-1"), FrameRange(start=0, end=100)) == ((30, 40, 50, 60, 70),)


@pytest.mark.parametrize(
    "spelling",
    [
        "",
        "uniform",
        "uniform-0",
        "uniform-65",
        "uniform-4-4",
        "percent-101",
        "percent-x",
        "named-somewhere",
        "best-3",
        "uniform-٤",
    ],
)
def test_anything_else_is_refused_with_a_sentence(spelling):
    with pytest.raises(UnknownStrategy, match="write uniform-N"):
        parse(spelling)
