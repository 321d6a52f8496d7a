"""Several rankings made one, by reciprocal rank (Cormack, Clarke and Büttcher, 2009).

A clip's score is the sum of ``1 / (K + rank)`` over the rankings that hold it, ranks counted from 1. Scores of different
kinds need not be comparable, and a clip that two kinds of evidence find comes before one that a single kind finds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import UUID

K = 20
"""Smaller than the 60 of the paper: its rankings were a thousand long, and ours often hold a dozen clips."""
SAME = 1e-6
"""Scores that differ by less are equal."""


def fused(rankings: Mapping[str, Sequence[tuple[UUID, float]]]) -> list[tuple[UUID, float, tuple[str, ...]]]:
    """``(clip, score, the rankings that hold it)``, best first; of equal scores the smaller id first.

    A ranking is ``(clip, its own score)``, best first. Clips of one score share a rank: the clips of a video have one
    title, and that of the smallest id is no better than the others.
    """
    scores: dict[UUID, float] = {}
    found_by: dict[UUID, list[str]] = {}
    for name, ranking in rankings.items():
        rank, last = 0, None
        for place, (clip, score) in enumerate(ranking, start=1):
            if last is None or last - score > SAME:
                rank, last = place, score
            scores[clip] = scores.get(clip, 0.0) + 1 / (K + rank)
            found_by.setdefault(clip, []).append(name)
    order = sorted(scores, key=lambda clip: (-scores[clip], clip))
    return [(clip, scores[clip], tuple(found_by[clip])) for clip in order]


def groups(pairs: Sequence[tuple[UUID, UUID, float]]) -> list[tuple[tuple[UUID, ...], float]]:
    """Pairs of like clips made groups: connected by likeness, with the least likeness that holds a group together.

    The largest groups come first, then the likest.
    """
    parent: dict[UUID, UUID] = {}

    def root(clip: UUID) -> UUID:
        parent.setdefault(clip, clip)
        while parent[clip] != clip:
            parent[clip] = parent[parent[clip]]
            clip = parent[clip]
        return clip

    least: dict[UUID, float] = {}
    for one, other, likeness in sorted(pairs, key=lambda pair: -pair[2]):
        first, second = root(one), root(other)
        if first != second:
            parent[second] = first
            least[first] = likeness
    members: dict[UUID, list[UUID]] = {}
    for clip in parent:
        members.setdefault(root(clip), []).append(clip)
    found = [(tuple(sorted(clips)), least[top]) for top, clips in members.items()]
    return sorted(found, key=lambda group: (-len(group[0]), -group[1], group[0]))
