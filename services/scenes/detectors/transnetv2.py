"""``transnetv2``: the network of Souček and Lokoč over every frame; costly, and good at dissolves and fades.

The network tells where a change lies and over how many frames; what kind it is, the pictures tell: within a fade through
black it is a fade, over more than three frames a dissolve. A flash that it takes for two cuts is seen through.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.detectors import hsv, network
from services.scenes.detectors.cuts import flashes
from services.scenes.detectors.declared import TRANSNETV2, Declaration, TransNetParameters
from services.scenes.detectors.interface import Frames, Scores, Track, certainty, in_order
from services.scenes.detectors.luma import find_fades

LONGEST_CUT = 3
"""The network often marks a cut on both of its frames."""


@dataclass(frozen=True)
class TransNetV2:
    """The detector that asks the network about every frame."""

    declaration: Declaration = TRANSNETV2

    def scores(self, frames: Frames) -> Scores:
        """``curve`` is the network's probability that a frame is the middle of a change, 0 to 1.

        Tracks: ``inside`` (``[frames]``, that it lies within one), and ``change`` and ``across`` as in ``hsv``.
        """
        middle, inside = network.predict(frames, range(network.windows_of(len(frames))))
        middle[:1] = 0
        seen = hsv.measure(frames)
        return Scores(
            curve=middle, luma=seen.luma, contrast=seen.contrast, tracks={"inside": inside, **dict(seen.tracks)}
        )

    def transitions(self, scores: Scores, parameters: TransNetParameters) -> tuple[Transition, ...]:
        """Stretches above the threshold, typed; a fade through black is one, whatever the network makes of its ramps."""
        fades = find_fades(scores, parameters)
        content = hsv.content_curve(scores.tracks["change"], luma_only=False)
        across = hsv.content_curve(scores.tracks["across"], luma_only=False)
        inside = scores.tracks["inside"] >= parameters.inside_threshold
        found: list[Transition] = []
        last = 0
        for start, end in _runs(scores.curve, parameters.threshold):
            first, after = _whole(inside, start, end)
            if after - first <= LONGEST_CUT:
                # The network marks the last frame of the old shot; the pictures say where the new one begins.
                near = range(start, min(end + 2, scores.frames))
                frame = max(near, key=lambda at: float(content[at]))
                if frame in _seen_through(content, across, frame, parameters):
                    continue
                kind, first, after = TransitionKind.CUT, frame, frame + 1
            else:
                kind = TransitionKind.DISSOLVE
            if first < 1 or any(fade.frames.start < after and first < fade.frames.end for fade in fades):
                continue
            if first - last < (parameters.minimum_shot if kind is TransitionKind.CUT else 0):
                continue
            last = after - 1
            strength = float(scores.curve[start:end].max())
            found.append(
                Transition(
                    kind=kind,
                    frames=FrameRange(start=first, end=after),
                    confidence=certainty(strength, parameters.threshold),
                )
            )
        return in_order([*found, *fades])


def _runs(curve: Track, threshold: float) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], (curve >= threshold).astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _whole(inside: np.ndarray, start: int, end: int) -> tuple[int, int]:
    """The stretch with the neighbours that lie inside the same change."""
    while start > 0 and inside[start - 1]:
        start -= 1
    while end < len(inside) and inside[end]:
        end += 1
    return start, end


def _seen_through(content: Track, across: Track, frame: int, parameters: TransNetParameters) -> set[int]:
    """Frames near this one that only begin or end a flash."""
    near = range(max(1, frame - parameters.flash_frames), frame + 1)
    return flashes(np.array(near, dtype=np.intp), content, across, parameters)


DETECTOR = TransNetV2()
