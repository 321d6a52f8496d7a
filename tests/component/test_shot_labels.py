"""Real videos whose changes of shot were labelled by eye: ``fused`` finds exactly these, with their kinds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services.scenes.detectors.declared import DECLARED
from services.scenes.detectors.interface import open_detector
from tests.detection.datasets import pictures

FIXTURES = Path(__file__).parents[1] / "fixtures"

# A cut by its frame; anything gradual by its range, of which a frame more or less is a matter of taste.
LABELLED = {
    "psd_cuts_and_fades_720p2997.mp4": [
        ("cut", 30, 31),
        ("cut", 180, 181),
        ("fade", 210, 240),
        ("fade", 331, 423),
        ("dissolve", 529, 558),
    ],
    "nasa_h264_2video_2audio_2sub.mp4": [("dissolve", 127, 151), ("cut", 202, 203)],
    # Four ramps between white and black make two fades; the ramps at its very ends part nothing.
    "psd_fades_mpeg4.mp4": [("fade", 43, 124), ("fade", 127, 208)],
    "bbb_small_frames.npz": [("cut", 285, 286), ("cut", 378, 379), ("cut", 553, 554)],
    "bbb_vp9_opus.webm": [],
    "mb_bbb_rotated90_1080p.mp4": [],
    "exo_vp9_odd_161x121.webm": [],
}


def small_pictures(name: str) -> np.ndarray:
    if name.endswith(".npz"):
        with np.load(FIXTURES / name) as kept:
            return np.cumsum(kept["steps"], axis=0, dtype=np.uint8)
    return pictures(FIXTURES / name)


@pytest.mark.parametrize("name", sorted(LABELLED))
def test_labelled_videos_are_matched_exactly(name):
    detector = open_detector("fused")
    found = detector.transitions(detector.scores(small_pictures(name)), DECLARED["fused"].parameters())
    labelled = LABELLED[name]
    assert [str(each.kind) for each in found] == [kind for kind, _, _ in labelled]
    for each, (kind, start, end) in zip(found, labelled, strict=True):
        slack = 0 if kind == "cut" else 3
        assert abs(each.frames.start - start) <= slack
        assert abs(each.frames.end - end) <= slack
