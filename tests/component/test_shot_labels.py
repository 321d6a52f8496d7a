"""Real videos whose changes of shot were labelled by eye: ``fused`` finds exactly these with their kinds, ``adaptive`` the cuts."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from contracts.values import Transition
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
    # Numbered frames on three plain colours.
    "psd_counter_1080p10_30frames.mp4": [("cut", 10, 11), ("cut", 20, 21)],
    # A street as it was really cut, cars and people passing close, and a man in a car.
    "detection_held_out.mp4": [("cut", at, at + 1) for at in (30, 76, 137, 187, 242, 250)],
    "bbb_vp9_opus.webm": [],
    # A phone held over roofs, with jolts, and a cockatoo that fills the picture.
    "search/roof.mp4": [],
    "search/cockatoo.mp4": [],
    "mb_bbb_rotated90_1080p.mp4": [],
    "exo_vp9_odd_161x121.webm": [],
    # A recorded screen, where a timeline slides into view below.
    "mb_cursed_vfr_3026x1386_h264.mp4": [],
}


@cache
def small_pictures(name: str) -> np.ndarray:
    if name.endswith(".npz"):
        with np.load(FIXTURES / name) as kept:
            return np.cumsum(kept["steps"], axis=0, dtype=np.uint8)
    return pictures(FIXTURES / name)


def find(detector: str, name: str) -> tuple[Transition, ...]:
    opened = open_detector(detector)
    return opened.transitions(opened.scores(small_pictures(name)), DECLARED[detector].parameters())


@pytest.mark.parametrize("name", sorted(LABELLED))
def test_labelled_videos_are_matched_exactly(name):
    found = find("fused", name)
    labelled = LABELLED[name]
    assert [str(each.kind) for each in found] == [kind for kind, _, _ in labelled]
    for each, (kind, start, end) in zip(found, labelled, strict=True):
        slack = 0 if kind == "cut" else 3
        assert abs(each.frames.start - start) <= slack
        assert abs(each.frames.end - end) <= slack


@pytest.mark.parametrize("name", sorted(name for name, labelled in LABELLED.items() if labelled))
def test_the_rule_finds_the_cuts_of_labelled_videos(name):
    gradual = [(start, end) for kind, start, end in LABELLED[name] if kind != "cut"]
    found = [each.frames.start for each in find("adaptive", name) if each.kind == "cut"]
    # Where a dissolve begins steeply it sees a cut, for it knows no dissolves.
    plain = [frame for frame in found if not any(start <= frame < end for start, end in gradual)]
    assert plain == [start for kind, start, _ in LABELLED[name] if kind == "cut"]
