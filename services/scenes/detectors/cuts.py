"""From candidate cuts to transitions: flashes are seen through, crowded cuts thinned, fades given precedence.

Every detector ends here, so what holds of transitions (order, no overlap, none at frame 0) is kept in one place.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.detectors.declared import RuleParameters
from services.scenes.detectors.interface import Scores, Track, certainty, in_order
from services.scenes.detectors.luma import find_fades


def flashes(candidates: NDArray[np.intp], curve: Track, across: Track, parameters: RuleParameters) -> set[int]:
    """Frames that a score takes for cuts but that only begin or end a flash.

    ``curve`` is ``[frames]``; ``across`` is ``[reach, frames]``, the difference of the pictures before and after
    a flash of 1, 2, … frames that begins at a frame. A flash changes the picture twice and leaves it as it was.
    """
    found: set[int] = set()
    for begin in candidates.tolist():
        for length in range(1, min(parameters.flash_frames, len(across)) + 1):
            end = begin + length
            if end >= len(curve):
                break
            peak = min(float(curve[begin]), float(curve[end]))
            # The way back must be as steep as the way there, or it is a cut in a shot that moves.
            if peak < float(curve[begin]) / 2:
                continue
            if float(across[length - 1, begin]) < parameters.flash_return * peak:
                found.update((begin, end))
                break
    return found


def settled(candidates: NDArray[np.intp], quiet: int) -> NDArray[np.intp]:
    """Those candidates before which no other stood for ``quiet`` frames, nor the video's start.

    A fade or a dissolve keeps a fixed threshold exceeded for many frames on end; it is one change, not one every few
    frames. PySceneDetect's ``FlashFilter`` does the same.
    """
    before = np.concatenate((np.zeros(1, np.intp), candidates[:-1]))
    return candidates[candidates - before >= quiet]


def without(candidates: NDArray[np.intp], dropped: set[int]) -> NDArray[np.intp]:
    """The candidates that are not among ``dropped``, in order."""
    return np.array([each for each in candidates.tolist() if each not in dropped], dtype=np.intp)


def to_transitions(
    candidates: NDArray[np.intp], strength: Track, threshold: float, scores: Scores, parameters: RuleParameters
) -> tuple[Transition, ...]:
    """Candidate cuts, in order, as transitions.

    A cut closer than the shortest shot to the start or to the cut before it is dropped, as PySceneDetect does;
    a cut inside a fade is part of the fade.
    """
    fades = find_fades(scores, parameters)
    cuts: list[Transition] = []
    last = 0
    for frame in candidates.tolist():
        if frame - last < parameters.minimum_shot or any(frame in fade.frames for fade in fades):
            continue
        last = frame
        cuts.append(
            Transition(
                kind=TransitionKind.CUT,
                frames=FrameRange(start=frame, end=frame + 1),
                confidence=certainty(float(strength[frame]), threshold),
            )
        )
    return in_order([*cuts, *fades])
