"""How well and how fast shots are told apart, ours beside PySceneDetect's and TransNetV2 alone, on the same pictures.

    python -m tests.detection.bench [--transitions 2000] [--seed 1001] [--only fused,adaptive]
    python -m tests.detection.bench --bbc FOLDER --rai FOLDER --clipshots FOLDER --shot FOLDER

Without a folder the films are generated from seeds and real footage that no fit has seen; one in five is of short shots.
CPU times are of the process, on small pictures that are there already: what a detector adds to decoding.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from scenedetect import AdaptiveDetector, ContentDetector, FrameTimecode, HashDetector, HistogramDetector
from scenedetect.detector import SceneDetector

from services.scenes.detectors.declared import DECLARED
from services.scenes.detectors.interface import Scores, open_detector
from tests.detection import datasets, footage
from tests.detection.generate import Film, Label, make_film
from tests.detection.judge import judge

FIRST_SEED = 1001
PER_FILM = 40
SHORTEST, HASTY = 14, 5
"""Shortest shots, in whole frames: of most films, and of every fifth."""

Looked = Any


@dataclass(frozen=True)
class Contestant:
    """A detector in two halves: ``look`` is costly, and done once a film for all who have the same; ``decide`` is cheap."""

    look: Callable[[np.ndarray], Looked]
    decide: Callable[[Looked], list[Label]]


@cache
def _scores_of(name: str) -> Callable[[np.ndarray], Scores]:
    return open_detector(name).scores


def ours(name: str, **parameters: object) -> Contestant:
    """One of our detectors, with its defaults unless told otherwise."""

    def decide(scores: Scores) -> list[Label]:
        found = open_detector(name).transitions(scores, DECLARED[name].parameters(**parameters))
        return [Label(str(each.kind), each.frames.start, each.frames.end) for each in found]

    return Contestant(_scores_of(name), decide)


def theirs(make: Callable[[], SceneDetector]) -> Contestant:
    """One of PySceneDetect's detectors on the same pictures; what it finds is a cut."""

    def look(frames: np.ndarray) -> list[int]:
        detector = make()
        found = []
        number = 0
        for number, frame in enumerate(frames):
            pictures = np.ascontiguousarray(frame[:, :, ::-1])
            found += [each.frame_num for each in detector.process_frame(FrameTimecode(number, 25.0), pictures)]
        return found + [each.frame_num for each in detector.post_process(FrameTimecode(number, 25.0))]

    return Contestant(look, lambda found: [Label("cut", at, at + 1) for at in sorted(set(found))])


# PySceneDetect's own default for the shortest shot is 15 frames; with 8, as ours have, it finds more of these.
CONTESTANTS: dict[str, Contestant] = {
    "fused": ours("fused"),
    "adaptive": ours("adaptive"),
    "content": ours("content"),
    "histogram": ours("histogram"),
    "transnetv2": ours("transnetv2"),
    "TransNetV2 alone, 0.5": ours(
        "transnetv2", threshold=0.5, inside_threshold=0.9999, flash_frames=0, fades=False, minimum_shot=1
    ),
    "PySceneDetect adaptive": theirs(lambda: AdaptiveDetector(min_scene_len=8)),
    "PySceneDetect content": theirs(lambda: ContentDetector(min_scene_len=8)),
    "PySceneDetect hash": theirs(lambda: HashDetector(min_scene_len=8)),
    "PySceneDetect histogram": theirs(lambda: HistogramDetector(min_scene_len=8)),
}


@dataclass
class Result:
    """What one contestant found in all films."""

    found: list[list[Label]] = field(default_factory=list)
    seconds: float = 0.0
    frames: int = 0
    flashes_cut: int = 0


def compete(films: Iterable[Film], names: Sequence[str]) -> tuple[dict[str, Result], list[list[Label]], int]:
    """Every contestant over every film; with the labels, and how many flashes there were."""
    results = {name: Result() for name in names}
    labelled: list[list[Label]] = []
    flashes = 0
    for film in films:
        labelled.append(film.labels)
        flashing = [each for each in film.decoys if each.kind == "flash"]
        flashes += len(flashing)
        looked: dict[Callable[[np.ndarray], Looked], tuple[Looked, float]] = {}
        for name, result in results.items():
            contestant = CONTESTANTS[name]
            begun = time.process_time()
            if contestant.look not in looked:
                seen = contestant.look(film.frames)
                looked[contestant.look] = seen, time.process_time() - begun
            seen, spent = looked[contestant.look]
            begun = time.process_time()
            found = contestant.decide(seen)
            result.seconds += spent + time.process_time() - begun
            result.frames += len(film.frames)
            result.found.append(found)
            result.flashes_cut += _on_flashes(found, film, flashing)
    return results, labelled, flashes


def _on_flashes(found: list[Label], film: Film, flashing: list[Label]) -> int:
    """How many flashes have a change reported on them where none is labelled."""
    reported = [each for each in found if not any(_meet(each, label, 2) for label in film.labels)]
    return sum(any(_meet(each, flash, 1) for each in reported) for flash in flashing)


def _meet(one: Label, other: Label, tolerance: int) -> bool:
    return one.start < other.end + tolerance and one.end > other.start - tolerance


def table(results: dict[str, Result], labelled: list[list[Label]], flashes: int) -> str:
    """The results as a Markdown table."""
    total = sum(len(each) for each in labelled)
    lines = [
        f"{total} changes of shot, {flashes} flashes, {next(iter(results.values())).frames} frames",
        "",
        "| detector | precision | recall | F1 ±2 | F1 ±0 | cut | dissolve | fade | wipe | kind right | flashes cut | CPU-ms a frame |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, result in results.items():
        near, exact = judge(result.found, labelled, 2), judge(result.found, labelled, 0)
        kinds = [
            f"{near.kinds[kind].recall:.3f}" if kind in near.kinds and near.kinds[kind].labelled else "–"
            for kind in ("cut", "dissolve", "fade", "wipe")
        ]
        named = near.named_right / near.all.right if near.all.right else 0.0
        cells = [
            name,
            f"{near.all.precision:.3f}",
            f"{near.all.recall:.3f}",
            f"{near.all.f1:.3f}",
            f"{exact.all.f1:.3f}",
            *kinds,
            f"{named:.3f}",
            str(result.flashes_cut),
            f"{1000 * result.seconds / max(1, result.frames):.2f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def generated(transitions: int, seed: int = FIRST_SEED) -> Iterator[Film]:
    """Films with that many changes of shot in all, or a few more, made as they are asked for."""
    made = 0
    while made < transitions:
        shortest = HASTY if seed % 5 == 0 else SHORTEST
        film = make_film(seed, min(PER_FILM, transitions - made), footage=footage.held_out(), shortest=shortest)
        made += min(PER_FILM, transitions - made)
        seed += 1
        yield film


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transitions", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=FIRST_SEED)
    parser.add_argument("--only", help="names of detectors, with commas between")
    for name in datasets.LOADERS:
        parser.add_argument(f"--{name}", type=Path, metavar="FOLDER")
    wanted = parser.parse_args()
    names = wanted.only.split(",") if wanted.only else list(CONTESTANTS)
    folders = {name: getattr(wanted, name) for name in datasets.LOADERS if getattr(wanted, name)}
    for name, folder in folders.items():
        print(f"\n{name}: ", end="")
        print(table(*compete(datasets.LOADERS[name](folder), names)))
    if not folders:
        print(table(*compete(generated(wanted.transitions, wanted.seed), names)))


if __name__ == "__main__":
    main()
