from __future__ import annotations

from uuid import UUID

import numpy as np
import pytest

from contracts.errors import Permanent
from contracts.values import TransitionKind
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.media.features import FeatureWriter
from services.scenes.detectors import adaptive
from services.scenes.detectors.declared import DECLARED
from services.scenes.domain import DetectInput, Grouping, Tiling, succeeded
from services.scenes.settings import Settings
from services.scenes.work import detect_scenes

VIDEO = UUID(int=9)


def shot(seed, length):
    picture = np.kron(np.random.default_rng(seed).integers(0, 256, (9, 16, 3)), np.ones((3, 3, 1))).astype(np.uint8)
    return np.stack([picture] * length)


@pytest.fixture
def desk(tmp_path):
    (tmp_path / "scratch").mkdir()
    return Desk(
        settings=Settings(), objects=FolderStore(tmp_path / "objects"), scratch=tmp_path / "scratch", kept=tmp_path
    )


def order_for(desk, film, /, **changes):
    path = desk.scratch / "made.npz"
    with FeatureWriter(path) as writer:
        for frame in film:
            writer.add(frame, frame[:, :, 0])
    features = desk.objects.put_file(path, "videos/v/proxy/r/features.npz", "application/x-npz")
    fields = {
        "video_id": VIDEO,
        "frames": len(film),
        "features": features,
        "detector": "adaptive",
        "detector_version": DECLARED["adaptive"].version,
        "parameters": {},
        "tiling": Tiling(),
        "grouping": Grouping(),
    }
    return DetectInput(**{**fields, **changes})


FILM = np.concatenate([shot(1, 40), shot(2, 30), shot(1, 40), shot(3, 50)])


def test_shots_become_clips_and_scenes_that_tile_the_video(desk):
    order = order_for(desk, FILM)
    result = detect_scenes(order, desk)
    assert [clip.start for clip in result.clips] == [0, 40, 70, 110]
    assert [scene.start for scene in result.scenes] == [0, 110]
    assert {each.kind for each in result.transitions} == {TransitionKind.CUT}
    assert result.scores.key == f"{order.folder}scores.npz"
    (event,) = succeeded(order, 3, result)
    assert (event.run, event.frames, event.detector.parameters_sha256) == (3, 160, order.parameters_sha256)


def test_a_repetition_writes_the_same(desk):
    order = order_for(desk, FILM)
    assert detect_scenes(order, desk) == detect_scenes(order, desk)


def test_another_threshold_takes_the_scores_that_are_there(desk, monkeypatch):
    detect_scenes(order_for(desk, FILM), desk)
    monkeypatch.setattr(adaptive.Adaptive, "scores", lambda *_: pytest.fail("the pictures were measured again"))
    again = detect_scenes(order_for(desk, FILM, parameters={"minimum_content": 254}), desk)
    assert [clip.start for clip in again.clips] == [0]


def test_scores_of_other_pictures_are_measured_again(desk):
    detect_scenes(order_for(desk, FILM), desk)
    assert [clip.start for clip in detect_scenes(order_for(desk, FILM[::-1]), desk).clips] == [0, 50, 90, 120]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"detector": "crystal_ball"}, "scenes.unknown_detector"),
        ({"detector_version": "0"}, "scenes.changed_detector"),
        ({"frames": 161}, "scenes.features_mismatch"),
    ],
)
def test_what_cannot_be_right_is_refused_for_good(desk, changes, code):
    with pytest.raises(Permanent) as caught:
        detect_scenes(order_for(desk, FILM, **changes), desk)
    assert caught.value.code == code
