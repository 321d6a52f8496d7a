"""A small part of the detection benchmark, on films that no fit has seen: what may not get worse unnoticed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.detection import datasets
from tests.detection.bench import CONTESTANTS, compete, generated, table
from tests.detection.footage import FIT, HELD_OUT, held_out
from tests.detection.generate import Film, Label, make_film
from tests.detection.judge import judge


@pytest.mark.scaled
@pytest.mark.timeout(1200)  # Under --full: the whole benchmark, over 2,000 changes.
def test_fused_is_right_on_generated_films_and_better_than_the_rules(scale):
    names = ["fused", "adaptive", "PySceneDetect adaptive", "PySceneDetect content", "PySceneDetect histogram"]
    results, labelled, flashes = compete(generated(scale(80, 2_000)), names)
    told = table(results, labelled, flashes)
    verdict = judge(results["fused"].found, labelled, 2)
    assert verdict.all.f1 >= 0.93, told
    assert verdict.kinds["dissolve"].right / verdict.kinds["dissolve"].labelled >= 0.9, told
    assert flashes >= 10
    assert results["fused"].flashes_cut == 0, told
    for name in names[1:]:
        assert verdict.all.f1 > judge(results[name].found, labelled, 2).all.f1, told


def test_a_film_is_a_function_of_its_seed_and_is_labelled_in_order():
    one, again, other = (make_film(seed, 6, footage=held_out()) for seed in (3, 3, 4))
    assert np.array_equal(one.frames, again.frames)
    assert one.labels == again.labels
    assert one.labels != other.labels
    assert all(0 < each.start < each.end < len(one.frames) for each in one.labels)
    assert all(before.end <= after.start for before, after in zip(one.labels, one.labels[1:], strict=False))


def test_what_is_measured_on_was_not_fitted_on():
    assert {origin for origin, _, _ in FIT}.isdisjoint(origin for origin, _, _ in HELD_OUT)


def test_a_second_finding_of_one_change_is_a_false_one():
    labelled = [[Label("dissolve", 10, 20), Label("cut", 50, 51)]]
    found = [[Label("cut", 12, 13), Label("cut", 18, 19), Label("cut", 52, 53)]]
    near, exact = judge(found, labelled, 2), judge(found, labelled, 0)
    assert (near.all.right, near.all.found, near.named_right) == (2, 3, 1)
    assert (exact.all.right, exact.all.labelled) == (1, 2)


@pytest.mark.parametrize("name", sorted(datasets.LOADERS))
def test_public_sets_are_read_from_where_a_user_put_them(name, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "pictures", lambda path: np.zeros((400, 27, 48, 3), np.uint8))
    labels = {
        "bbc": ("annotations/shots/01_From_Pole_to_Pole.txt", "0\t99\n100\t199\n210\t398\n", "bbc_01.mp4"),
        "rai": ("labels/1_gt.txt", "0 100\n101 200\n211 399\n", "1.mp4"),
        "clipshots": (
            "annotations/test.json",
            json.dumps({"7.mp4": {"frame_num": 400.0, "transitions": [[100, 101], [200, 211]]}}),
            "videos/test/7.mp4",
        ),
        "shot": ("annotations/9.txt", "0,100\n101,200\n211,399\n", "videos/9.mp4"),
    }
    told, text, video = labels[name]
    for path in (told, video):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / told).write_text(text)
    (tmp_path / video).write_bytes(b"")
    (film,) = datasets.LOADERS[name](tmp_path)
    assert isinstance(film, Film)
    assert film.labels == [Label("cut", 101, 102), Label("dissolve", 201, 211)]


def test_every_detector_of_ours_takes_part():
    assert {"fused", "adaptive", "content", "histogram", "transnetv2"} <= set(CONTESTANTS)
