"""Centroids of unit vectors."""

from __future__ import annotations

import numpy as np
import pytest

from services.embed import inverted


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_every_cluster_gets_a_centroid_in_its_middle():
    random = np.random.default_rng(2)
    middles = unit(random.normal(size=(12, 64)))
    rows = unit(np.repeat(middles, 40, axis=0) + 0.02 * random.normal(size=(480, 64)))
    centres = inverted.choose(rows, 60)
    assert np.allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-5)
    assert (middles @ centres.T).max(axis=1).min() > 0.99


def test_the_same_vectors_give_the_same_centroids():
    rows = unit(np.random.default_rng(3).normal(size=(300, 16)))
    assert np.array_equal(inverted.choose(rows, 20), inverted.choose(rows.copy(), 20))


@pytest.mark.parametrize("count", [1, 5, 50])
def test_there_are_never_more_centroids_than_vectors_and_all_are_numbers(count):
    rows = np.repeat(np.eye(2, 8, dtype=np.float32), [4, 1], axis=0)
    centres = inverted.choose(rows, count)
    assert centres.shape == (min(count, 5), 8)
    assert np.isfinite(centres).all()


def test_vectors_that_cancel_each_other_leave_their_centroid_where_it_was():
    rows = np.array([[1, 0], [-1, 0]], np.float32)
    assert np.linalg.norm(inverted.choose(rows, 1)) == pytest.approx(1)


def test_a_million_vectors_get_two_thousand_centroids():
    assert [inverted.count_of(n) for n in (0, 1, 100, 1_000_000)] == [1, 2, 20, 2_000]
