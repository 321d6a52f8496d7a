from __future__ import annotations

import numpy as np
import pytest

from services.media.features import FeatureWriter, load_features, map_frames


def rows(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    random = np.random.default_rng(1)
    return [(random.integers(0, 256, (27, 48, 3), np.uint8), random.integers(0, 256, (60, 80), np.uint8))
            for _ in range(count)]  # fmt: skip


def written(path, frames) -> bytes:
    with FeatureWriter(path) as writer:
        for small, luma in frames:
            writer.add(small, luma)
    return path.read_bytes()


def test_rows_come_back_as_they_were_written(tmp_path):
    frames = rows(5)
    features = load_features(written(tmp_path / "features.npz", frames))
    assert len(features) == 5
    assert np.array_equal(features.frames, np.stack([small for small, _ in frames]))
    first, second = (small.astype(float) for small, _ in frames[:2])
    assert features.difference[0] == 0
    assert features.difference[1] == pytest.approx(np.abs(first - second).mean(), abs=1e-3)
    luma = first @ (0.2126, 0.7152, 0.0722)
    assert features.luma_mean[0] == pytest.approx(luma.mean(), abs=0.05)
    assert features.luma_std[0] == pytest.approx(luma.std(), abs=0.05)


def test_the_same_frames_give_the_same_bytes_and_nothing_else_is_left(tmp_path):
    assert written(tmp_path / "a.npz", rows(3)) == written(tmp_path / "b.npz", rows(3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]


def test_frames_alone_are_mapped_from_where_they_are_laid_out(tmp_path):
    frames = rows(4)
    written(tmp_path / "features.npz", frames)
    (tmp_path / "scratch").mkdir()
    mapped = map_frames(tmp_path / "features.npz", tmp_path / "scratch")
    assert isinstance(mapped, np.memmap)
    assert np.array_equal(mapped, np.stack([small for small, _ in frames]))
