"""The adaptive detector gives the cuts of PySceneDetect's own, on made-up material and on real videos.

Two real videos lie with the tests; larger ones are read from the folder that ``HEATERS_TEST_VIDEOS`` names, if any.
"""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from scenedetect import AdaptiveDetector, FrameTimecode, SceneManager, open_video

from contracts.values import TransitionKind
from services.scenes.detectors.adaptive import DETECTOR
from services.scenes.detectors.declared import AdaptiveParameters


def film(seed: int) -> np.ndarray:
    """Shots of random length, some still and some moving, without flashes."""
    rng = np.random.default_rng(seed)
    shots = []
    for _ in range(12):
        wide = np.kron(rng.integers(0, 256, (9, 60, 3)), np.ones((3, 4, 1)))
        motion = int(rng.integers(0, 3))
        length = int(rng.integers(12, 70))
        shots.append(np.stack([np.roll(wide, -at * motion, axis=1)[:27, :48] for at in range(length)]))
    noisy = np.concatenate(shots) + rng.normal(0, 2, (sum(map(len, shots)), 27, 48, 3))
    return np.clip(noisy, 0, 255).astype(np.uint8)


def theirs(frames: np.ndarray) -> list[int]:
    detector = AdaptiveDetector(min_scene_len=8)
    found = []
    for number, frame in enumerate(frames):
        bgr = np.ascontiguousarray(frame[:, :, ::-1])
        found += [each.frame_num for each in detector.process_frame(FrameTimecode(number, 25.0), bgr)]
    return found


def ours(frames: np.ndarray, **parameters) -> list[int]:
    found = DETECTOR.transitions(DETECTOR.scores(frames), AdaptiveParameters(**parameters))
    return [each.frames.start for each in found if each.kind is TransitionKind.CUT]


@pytest.mark.parametrize("seed", range(5))
def test_generated_films_are_cut_alike(seed):
    frames = film(seed)
    expected = theirs(frames)
    assert expected
    assert ours(frames, fades=False, flash_frames=0) == expected
    assert ours(frames, fades=False) == expected


FIXTURES = Path(__file__).parents[1] / "fixtures"
MORE_VIDEOS = Path(os.environ.get("HEATERS_TEST_VIDEOS", "unset")) / "good"


def small_frames(path: Path) -> np.ndarray:
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(cv2.resize(frame, (48, 27), interpolation=cv2.INTER_AREA)[:, :, ::-1])
    capture.release()
    return np.stack(frames)


@pytest.mark.parametrize(
    ("path", "known", "fades"),
    [
        (FIXTURES / "nasa_h264_2video_2audio_2sub.mp4", [127, 202], []),
        (FIXTURES / "psd_fades_mpeg4.mp4", [], [(43, 124), (127, 208)]),
        (MORE_VIDEOS / "01_bbb_480p24_h264_aac_30s.mp4", [285, 378, 553], []),
        (MORE_VIDEOS / "03_psd_testvideo_720p2997_h264_noaudio.mp4", [30, 180, 394], [(331, 423)]),
    ],
    ids=lambda value: value.name if isinstance(value, Path) else "",
)
def test_real_videos_are_cut_as_known(path, known, fades):
    if not path.exists() and path.is_relative_to(MORE_VIDEOS):
        pytest.skip("HEATERS_TEST_VIDEOS names no folder with this video")
    frames = small_frames(path)
    assert ours(frames, fades=False) == known
    manager = SceneManager()
    manager.add_detector(AdaptiveDetector(min_scene_len=8))
    manager.detect_scenes(open_video(str(path)))
    # On full frames the original also takes the steep end of the test video's last fade-out for a cut.
    assert [each.frame_num for each in manager.get_cut_list(show_warning=False)] in (known, [*known, 691])
    found = DETECTOR.transitions(DETECTOR.scores(frames), AdaptiveParameters())
    assert [(each.frames.start, each.frames.end) for each in found if each.kind is TransitionKind.FADE] == fades
