"""Public sets of labelled videos, read from where a user has put them. None is shipped: their licences forbid it.

    bbc        BBC Planet Earth (Baraldi et al. 2015): `*.mp4` named `bbc_01.mp4`, `annotations/shots/01*.txt`
    rai        RAI (Baraldi et al. 2015): `1.mp4` …, `labels/1_gt.txt` …
    clipshots  ClipShots (Tang et al. 2018): `videos/test/*.mp4`, `annotations/test.json`
    shot       SHOT (Zhu et al. 2023): `videos/*.mp4`, `annotations/*.txt`

Text files hold the first and the last frame of a shot on each line; frames between two shots are a gradual change.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from tests.detection.generate import HEIGHT, WIDTH, Film, Label


def pictures(path: Path) -> np.ndarray:
    """Every frame of a video, ``uint8[n, 27, 48, 3]`` RGB."""
    capture = cv2.VideoCapture(str(path))
    frames = []
    while True:
        more, frame = capture.read()
        if not more:
            break
        frames.append(cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[:, :, ::-1])
    capture.release()
    if not frames:
        raise ValueError(f"{path} gave no picture; is it a video that OpenCV can read?")
    return np.stack(frames)


def between(shots: Sequence[tuple[int, int]]) -> list[Label]:
    """Labels from shots given by first and last frame: a cut where they touch, else a gradual change of unknown kind."""
    labels = []
    for (_, last), (first, _) in pairwise(shots):
        gradual = first - last > 1
        labels.append(Label("dissolve", last + 1, first) if gradual else Label("cut", last + 1, last + 2))
    return labels


def read_shots(path: Path, shift: int = 0) -> list[tuple[int, int]]:
    """Shots of a text file, every number moved by ``shift``."""
    rows = [
        [int(each) for each in re.findall(r"\d+", line)[:2]] for line in path.read_text().splitlines() if line.strip()
    ]
    return [(row[0] + shift, row[1] + shift) for row in rows if len(row) == 2]


def bbc(folder: Path) -> Iterator[Film]:
    """Its numbers lie one below the frames they mean, as its users found."""
    for video in sorted(folder.rglob("bbc_*.mp4")):
        number = video.stem.split("_")[1]
        (told,) = sorted((folder / "annotations" / "shots").glob(f"{number}*.txt"))
        yield Film(pictures(video), between(read_shots(told, shift=1)))


def rai(folder: Path) -> Iterator[Film]:
    for told in sorted((folder / "labels").glob("*_gt.txt")):
        yield Film(pictures(folder / f"{told.stem.removesuffix('_gt')}.mp4"), between(read_shots(told)))


def clipshots(folder: Path) -> Iterator[Film]:
    """A transition is given by the last frame of the one shot and the first of the next."""
    for name, told in json.loads((folder / "annotations" / "test.json").read_text()).items():
        frames = pictures(folder / "videos" / "test" / name)
        # Some videos decode to one frame more than was labelled; the labels then lie one below.
        shift = 1 if len(frames) == int(told["frame_num"]) + 1 else 0
        ends = [(int(last) + shift, int(first) + shift) for last, first in told["transitions"]]
        shots = list(
            zip([0, *(first for _, first in ends)], [*(last for last, _ in ends), len(frames) - 1], strict=True)
        )
        yield Film(frames, between(shots))


def shot(folder: Path) -> Iterator[Film]:
    for told in sorted((folder / "annotations").glob("*.txt")):
        yield Film(pictures(folder / "videos" / f"{told.stem}.mp4"), between(read_shots(told)))


LOADERS: dict[str, Callable[[Path], Iterator[Film]]] = {"bbc": bbc, "rai": rai, "clipshots": clipshots, "shot": shot}
