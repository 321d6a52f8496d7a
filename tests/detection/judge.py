"""Precision, recall and F1 of found changes of shot against the labelled ones.

A found change answers a labelled one when their ranges of frames, the labelled one widened by the tolerance on both sides,
have a frame in common; each answers one only, the earliest that is free. So a second finding within one dissolve is a false
one. With tolerance 0 a cut must be found to the frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.detection.generate import Label


@dataclass
class Count:
    """What was found of how many."""

    labelled: int = 0
    found: int = 0
    right: int = 0

    @property
    def precision(self) -> float:
        return self.right / self.found if self.found else 1.0

    @property
    def recall(self) -> float:
        return self.right / self.labelled if self.labelled else 1.0

    @property
    def f1(self) -> float:
        return 2 * self.right / (self.found + self.labelled) if self.found + self.labelled else 1.0


@dataclass
class Verdict:
    """Counts over all, recall by the label's kind, and how often the found kind was right."""

    all: Count = field(default_factory=Count)
    kinds: dict[str, Count] = field(default_factory=dict)
    named_right: int = 0
    missed: list[Label] = field(default_factory=list)
    invented: list[Label] = field(default_factory=list)


def judge(found: Iterable[Sequence[Label]], labelled: Iterable[Sequence[Label]], tolerance: int) -> Verdict:
    """All films together."""
    verdict = Verdict()
    for ours, theirs in zip(found, labelled, strict=True):
        _judge_film(verdict, sorted(ours, key=_first), sorted(theirs, key=_first), tolerance)
    return verdict


def _first(label: Label) -> tuple[int, int]:
    return label.start, label.end


def _judge_film(verdict: Verdict, found: list[Label], labelled: list[Label], tolerance: int) -> None:
    free = list(found)
    for label in labelled:
        kind = verdict.kinds.setdefault(label.kind, Count())
        kind.labelled += 1
        verdict.all.labelled += 1
        answer = next(
            (each for each in free if each.start < label.end + tolerance and each.end > label.start - tolerance), None
        )
        if answer is None:
            verdict.missed.append(label)
            continue
        free.remove(answer)
        kind.right += 1
        verdict.all.right += 1
        verdict.named_right += answer.kind == label.kind
    verdict.all.found += len(found)
    for each in found:
        verdict.kinds.setdefault(each.kind, Count()).found += 1
    verdict.invented += free
