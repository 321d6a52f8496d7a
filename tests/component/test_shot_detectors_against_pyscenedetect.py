"""The adaptive detector gives the cuts of PySceneDetect's own, on made-up material and on real videos."""

from __future__ import annotations

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
    ("name", "known", "fades"),
    [
        ("nasa_h264_2video_2audio_2sub.mp4", [127, 202], []),
        ("psd_fades_mpeg4.mp4", [], [(43, 124), (127, 208)]),
        ("psd_cuts_and_fades_720p2997.mp4", [30, 180, 394], [(331, 423)]),
    ],
)
def test_real_videos_are_cut_as_known(name, known, fades):
    path = FIXTURES / name
    frames = small_frames(path)
    assert ours(frames, fades=False) == known
    manager = SceneManager()
    manager.add_detector(AdaptiveDetector(min_scene_len=8))
    manager.detect_scenes(open_video(str(path)))
    # On full frames the original also takes the steep end of the test video's last fade-out for a cut.
    assert [each.frame_num for each in manager.get_cut_list(show_warning=False)] in (known, [*known, 691])
    found = DETECTOR.transitions(DETECTOR.scores(frames), AdaptiveParameters())
    assert [(each.frames.start, each.frames.end) for each in found if each.kind is TransitionKind.FADE] == fades


def test_a_film_kept_as_small_frames_is_cut_as_known():
    with np.load(FIXTURES / "bbb_small_frames.npz") as kept:
        # Kept as differences between frames, modulo 256, which take half the space.
        frames = np.cumsum(kept["steps"], axis=0, dtype=np.uint8)
    assert len(frames) == 720
    assert theirs(frames) == [285, 378, 553]
    assert ours(frames, fades=False) == [285, 378, 553]
    found = DETECTOR.transitions(DETECTOR.scores(frames), AdaptiveParameters())
    assert {each.kind for each in found} == {TransitionKind.CUT}
