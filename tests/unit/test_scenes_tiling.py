from __future__ import annotations

import pytest
from pydantic import ValidationError

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.domain import Boundary, Grouping, Tiling, group_shots, place_boundaries, tile


def edges(clips):
    return [clips[0].start, *(clip.end for clip in clips)]


def test_a_video_without_transitions_is_one_clip():
    assert tile(300, [], Tiling()) == (FrameRange(start=0, end=300),)


def test_a_video_shorter_than_the_minimum_is_one_clip():
    assert tile(3, [Boundary(1, 1.0)], Tiling(minimum=8)) == (FrameRange(start=0, end=3),)


def test_clips_begin_at_the_boundaries():
    assert edges(tile(720, [Boundary(285, 0.9), Boundary(378, 0.9), Boundary(553, 0.9)], Tiling())) == [
        0,
        285,
        378,
        553,
        720,
    ]


def test_of_two_crowded_boundaries_the_surer_stays():
    assert edges(tile(100, [Boundary(40, 0.6), Boundary(44, 0.9)], Tiling(minimum=8))) == [0, 44, 100]


def test_of_two_equally_sure_crowded_boundaries_the_earlier_stays():
    assert edges(tile(100, [Boundary(44, 0.9), Boundary(40, 0.9)], Tiling(minimum=8))) == [0, 40, 100]


def test_a_boundary_too_near_the_end_is_dropped():
    assert edges(tile(100, [Boundary(95, 1.0)], Tiling(minimum=8))) == [0, 100]
    assert edges(tile(100, [Boundary(92, 1.0)], Tiling(minimum=8))) == [0, 92, 100]


def test_a_long_clip_is_divided_evenly():
    assert edges(tile(101, [], Tiling(minimum=8, maximum=50))) == [0, 33, 67, 101]


def test_an_enormous_video_still_fits_the_event():
    clips = tile(50_000_000, [Boundary(at, 0.5) for at in range(100, 2_000_000, 100)], Tiling(maximum=16))
    assert len(clips) <= 20_001
    assert clips[-1].end == 50_000_000


def test_a_maximum_that_could_not_divide_is_refused():
    with pytest.raises(ValidationError):
        Tiling(minimum=8, maximum=15)


def test_a_cut_parts_at_its_frame_and_a_fade_in_its_darkest_stretch():
    luma = [50.0] * 20 + [30.0, 10.0, 0.0, 0.0, 0.0, 40.0] + [50.0] * 20
    transitions = [
        Transition(kind=TransitionKind.CUT, frames=FrameRange(start=10, end=11), confidence=1),
        Transition(kind=TransitionKind.FADE, frames=FrameRange(start=20, end=26), confidence=1),
        Transition(kind=TransitionKind.DISSOLVE, frames=FrameRange(start=30, end=36), confidence=1),
    ]
    assert [each.frame for each in place_boundaries(transitions, luma)] == [10, 23, 33]


@pytest.mark.parametrize(
    ("kinds", "reach", "scenes"),
    [
        ("ABABCC", 4, [4, 6]),
        ("ABABCC", 1, [1, 2, 3, 4, 6]),
        ("ABCA", 3, [4]),
        ("ABCA", 2, [1, 2, 3, 4]),
        ("ABACBD", 4, [5, 6]),
        ("AA", 0, [1, 2]),
        ("A", 4, [1]),
    ],
)
def test_shots_joined_by_a_likeness_form_a_scene(kinds, reach, scenes):
    clips = [FrameRange(start=10 * at, end=10 * at + 10) for at in range(len(kinds))]
    found = group_shots(clips, lambda one, other: kinds[one] == kinds[other], Grouping(reach=reach))
    assert [scene.end // 10 for scene in found] == scenes
    assert found[0].start == 0
