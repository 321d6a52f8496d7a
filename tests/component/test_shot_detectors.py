"""One conformance suite over every detector, on made-up material."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from contracts.errors import Permanent
from contracts.values import TransitionKind
from services.scenes.detectors.declared import DECLARED
from services.scenes.detectors.interface import open_detector, pack_scores, unpack_scores

DIGEST = "ab" * 32
BY_RULE = {"adaptive", "content", "histogram"}


def scene(seed: int, length: int, *, motion: int = 0) -> np.ndarray:
    """A smooth, colourful picture that drifts by ``motion`` pixels a frame: ``[length, 27, 48, 3]``."""
    rng = np.random.default_rng(seed)
    wide = np.kron(rng.integers(0, 256, (9, 48, 3)), np.ones((3, 4, 1))).astype(np.float64)
    # Scenes are lit differently as well, so that histograms can tell them apart.
    lit = wide * (0.25, 0.5, 0.75, 1.0)[seed % 4]
    return np.stack([np.roll(lit, -at * motion, axis=1)[:27, :48] for at in range(length)]).astype(np.uint8)


def film(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts)


@pytest.fixture(params=sorted(DECLARED))
def kind(request):
    return request.param


def find(kind, frames, **parameters):
    detector = open_detector(kind)
    return detector.transitions(detector.scores(frames), DECLARED[kind].parameters(**parameters))


def cuts(transitions):
    return [each.frames.start for each in transitions if each.kind is TransitionKind.CUT]


def test_hard_cuts_are_found_to_the_frame(kind):
    frames = film(scene(1, 40), scene(2, 25), scene(3, 60), scene(4, 30))
    found = find(kind, frames)
    assert cuts(found) == [40, 65, 125]
    assert all(len(each.frames) == 1 and each.confidence >= 0.5 for each in found)


def test_a_still_picture_has_no_transition(kind):
    assert find(kind, scene(1, 100)) == ()


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_flash_is_no_cut(kind, length):
    frames = film(scene(1, 80))
    frames[40 : 40 + length] = 255 - frames[40 : 40 + length] // 8
    assert cuts(find(kind, frames)) == []
    if kind in BY_RULE:
        assert cuts(find(kind, frames, flash_frames=0, minimum_shot=1))


def test_a_flash_on_a_cut_leaves_the_cut(kind):
    frames = film(scene(1, 40), scene(2, 40))
    frames[40] = 250
    assert len(cuts(find(kind, frames))) == 1


def test_cuts_closer_than_the_shortest_shot_are_thinned(kind):
    frames = film(scene(1, 40), scene(2, 5), scene(3, 40))
    assert cuts(find(kind, frames, minimum_shot=8)) == [40]
    assert cuts(find(kind, frames, minimum_shot=5)) == [40, 45]


def test_a_fade_through_black_is_a_typed_range(kind):
    before, after = scene(1, 60).astype(float), scene(3, 60).astype(float)
    down, up = np.linspace(1, 0, 21)[1:], np.linspace(0, 1, 21)[1:]
    before[40:] *= down[:, None, None, None]
    after[:20] *= up[:, None, None, None]
    frames = film(before, np.zeros((10, 27, 48, 3)), after).astype(np.uint8)
    found = find(kind, frames)
    assert [each.kind for each in found] == [TransitionKind.FADE]
    assert abs(found[0].frames.start - 40) <= 1
    assert abs(found[0].frames.end - 89) <= 2
    assert all(each.kind is not TransitionKind.FADE for each in find(kind, frames, fades=False))


def test_black_at_the_ends_parts_nothing(kind):
    ramp = np.linspace(0, 1, 20)[:, None, None, None]
    middle = scene(1, 100).astype(float)
    middle[:20] *= ramp
    middle[-20:] *= ramp[::-1]
    frames = film(np.zeros((10, 27, 48, 3)), middle, np.zeros((10, 27, 48, 3))).astype(np.uint8)
    assert not [each for each in find(kind, frames) if each.kind is TransitionKind.FADE]


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8])
def test_the_shortest_videos_are_taken(kind, length):
    assert find(kind, scene(1, length)) == ()


def test_transitions_are_ordered_and_do_not_overlap(kind):
    rng = np.random.default_rng(7)
    frames = film(*(scene(seed, int(rng.integers(1, 30)), motion=seed % 3) for seed in range(20)))
    frames[rng.integers(0, len(frames), 15)] //= 16
    found = find(kind, frames)
    assert all(one.frames.end <= other.frames.start for one, other in pairwise(found))
    assert all(0 < each.frames.start < len(frames) for each in found)


def test_scores_need_no_parameter_and_survive_packing(kind):
    frames = film(scene(1, 40), scene(2, 40))
    detector = open_detector(kind)
    scores = detector.scores(frames)
    assert scores.frames == 80
    assert scores.curve[0] == 0
    packed = pack_scores(scores, source_sha256=DIGEST)
    assert packed == pack_scores(detector.scores(frames), source_sha256=DIGEST)
    again = unpack_scores(packed, source_sha256=DIGEST)
    parameters = DECLARED[kind].parameters()
    assert detector.transitions(again, parameters) == detector.transitions(scores, parameters)


def test_scores_of_other_pictures_or_damaged_ones_are_not_used(kind):
    packed = pack_scores(open_detector(kind).scores(scene(1, 9)), source_sha256=DIGEST)
    assert unpack_scores(packed, source_sha256="cd" * 32) is None
    assert unpack_scores(packed[: len(packed) // 2], source_sha256=DIGEST) is None


def test_chunks_join_without_a_seam(kind, monkeypatch):
    frames = film(*(scene(seed, 13, motion=2) for seed in range(6)))
    detector = open_detector(kind)
    whole = pack_scores(detector.scores(frames), source_sha256=DIGEST)
    for module in ("hsv", "luma", "histogram"):
        monkeypatch.setattr(f"services.scenes.detectors.{module}.CHUNK", 7)
    assert pack_scores(detector.scores(frames), source_sha256=DIGEST) == whole


def test_an_unknown_detector_is_refused():
    with pytest.raises(Permanent) as caught:
        open_detector("crystal_ball")
    assert caught.value.code == "scenes.unknown_detector"
