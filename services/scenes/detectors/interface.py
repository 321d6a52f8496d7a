"""The port that every shot detector fills, and the scores that pass between its two halves.

The costly half, ``scores``, looks at pictures and knows no threshold; the cheap half, ``transitions``,
looks at scores alone. So scores are kept, another threshold needs no picture, and a timeline can draw the curve.
"""

from __future__ import annotations

import importlib
import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from contracts.errors import Permanent
from contracts.values import Transition
from services.scenes.detectors.declared import DECLARED, Declaration

Frames = NDArray[np.uint8]
"""Small RGB pictures in presentation order, shape ``(frames, height, width, 3)``."""

Track = NDArray[np.float32]
"""One value per frame in the last axis."""


@dataclass(frozen=True)
class Scores:
    """Per-frame measurements of one video by one detector.

    ``curve`` (``float32[frames]``) tells how far each frame lies from the one before it, in the detector's own
    unit; the first frame's value is 0. ``luma`` and ``contrast`` are mean and standard deviation of each frame's
    luma, 0 to 255. ``tracks`` hold what else the detector needs to decide, frames in the last axis.
    """

    curve: Track
    luma: Track
    contrast: Track
    tracks: Mapping[str, Track]

    @property
    def frames(self) -> int:
        """How many frames were measured."""
        return len(self.curve)


class Detector(Protocol):
    """A way to find where shots change. Both methods are pure and deterministic."""

    @property
    def declaration(self) -> Declaration:
        """Its name, version and parameters."""
        ...

    def scores(self, frames: Frames) -> Scores:
        """Measures every frame; needs no parameter."""
        ...

    def transitions(self, scores: Scores, parameters: Any) -> tuple[Transition, ...]:
        """Typed changes of shot, in order, none overlapping another, none at frame 0."""
        ...


def open_detector(name: str) -> Detector:
    """The detector of that name.

    Raises:
        Permanent: ``scenes.unknown_detector``.
    """
    if name not in DECLARED:
        raise unknown_detector(name)
    return cast("Detector", importlib.import_module(DECLARED[name].module).DETECTOR)


def unknown_detector(name: str) -> Permanent:
    """The refusal of a detector that is not there."""
    return Permanent(
        f"There is no shot detector named {name!r}. Ask for one of: {', '.join(sorted(DECLARED))}.",
        code="scenes.unknown_detector",
    )


def pack_scores(scores: Scores, *, source_sha256: str) -> bytes:
    """Scores as a compressed ``.npz`` that records which pictures they were made from; the same scores, the same bytes."""
    arrays: dict[str, NDArray[Any]] = {
        "source": np.frombuffer(bytes.fromhex(source_sha256), dtype=np.uint8),
        "curve": scores.curve,
        "luma": scores.luma,
        "contrast": scores.contrast,
        **{f"track.{name}": scores.tracks[name] for name in sorted(scores.tracks)},
    }
    buffer = io.BytesIO()
    # savez stamps every member with 1980-01-01, so that the bytes depend on the arrays alone.
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    return buffer.getvalue()


def unpack_scores(data: bytes, *, source_sha256: str) -> Scores | None:
    """Scores packed before, or None when they are of other pictures or cannot be read: then they are measured again."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            if bytes(archive["source"]).hex() != source_sha256:
                return None
            return Scores(
                curve=archive["curve"],
                luma=archive["luma"],
                contrast=archive["contrast"],
                tracks={
                    name.removeprefix("track."): archive[name] for name in archive.files if name.startswith("track.")
                },
            )
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        return None


def certainty(strength: float, threshold: float) -> float:
    """Confidence of a cut: 0.5 where the score just meets the threshold, towards 1 as it exceeds it."""
    return round(1.0 - threshold / (2.0 * max(strength, threshold)), 4)


def in_order(transitions: Sequence[Transition]) -> tuple[Transition, ...]:
    """The same transitions by their first frame."""
    return tuple(sorted(transitions, key=lambda each: each.frames.start))
