from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from contracts.values import FrameRange
from services.scenes.domain import Boundary, Grouping, Tiling, group_shots, tile


@st.composite
def tilings(draw):
    minimum = draw(st.integers(1, 40))
    return Tiling(minimum=minimum, maximum=draw(st.integers(max(2, 2 * minimum), 400)))


boundaries = st.lists(st.builds(Boundary, st.integers(0, 3000), st.floats(0, 1)), max_size=60)


@given(st.integers(1, 3000), boundaries, tilings())
def test_clips_tile_the_video_within_both_lengths(frames, found, tiling):
    clips = tile(frames, found, tiling)
    assert clips[0].start == 0
    assert clips[-1].end == frames
    assert all(one.end == other.start for one, other in pairwise(clips))
    assert all(len(clip) <= tiling.maximum for clip in clips)
    if frames >= tiling.minimum:
        assert all(len(clip) >= tiling.minimum for clip in clips)


@given(st.integers(1, 3000), boundaries, tilings(), st.randoms())
def test_the_order_of_boundaries_changes_nothing(frames, found, tiling, random):
    shuffled = list(found)
    random.shuffle(shuffled)
    assert tile(frames, found, tiling) == tile(frames, shuffled, tiling)


@given(st.integers(30, 3000), boundaries)
def test_a_boundary_that_crowds_no_other_is_kept(frames, found):
    edges = {clip.start for clip in tile(frames, found, Tiling(minimum=8, maximum=3000))}
    for each in found:
        others = {other.frame for other in found} - {each.frame}
        if 8 <= each.frame <= frames - 8 and all(abs(each.frame - other) >= 8 for other in others):
            assert each.frame in edges


@given(st.lists(st.integers(0, 4), min_size=1, max_size=40), st.integers(0, 6))
def test_scenes_tile_what_the_clips_tile_and_begin_where_clips_begin(kinds, reach):
    clips = [FrameRange(start=3 * at, end=3 * at + 3) for at in range(len(kinds))]
    scenes = group_shots(clips, lambda one, other: kinds[one] == kinds[other], Grouping(reach=reach))
    assert scenes[0].start == 0
    assert scenes[-1].end == clips[-1].end
    assert all(one.end == other.start for one, other in pairwise(scenes))
    assert {scene.start for scene in scenes} <= {clip.start for clip in clips}
