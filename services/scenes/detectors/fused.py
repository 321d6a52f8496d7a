"""``fused``: evidence of plain arithmetic where it is sure, TransNetV2 only where it is not.

Every frame gets the probability that it is part of a cut, a dissolve, a fade or a wipe, from ``evidence`` by ``weighing``.
Where these stay between yes and no, TransNetV2 is asked about that stretch, and its answer is weighed with the rest.
Most films are never doubtful, and then torch is not even loaded.

Guarantees: what is asked about a stretch is answered as if the whole film had been looked at; memory is flat in the film's
length but for a few numbers a frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.detectors import evidence, hsv, network, weighing
from services.scenes.detectors.cuts import flashes
from services.scenes.detectors.declared import FUSED, Declaration, FusedParameters
from services.scenes.detectors.interface import Frames, Scores, Track
from services.scenes.detectors.luma import FLAT_CONTRAST, find_fades

CHUNK = 1024
DOUBT_FROM, DOUBT_TO = 0.25, 0.75
"""A stretch that may be a change but never surely is one, by its highest probability."""

ASKED_AT_MOST = 25
SHORTEST_GRADUAL = 4
STEEP = 15.0
"""A flash begins and ends with differences of colour of at least this."""

LIT = 30.0
"""A light flash is lighter than the pictures before and after it by at least this much luma."""

_BLACK = 10.0
_MARGIN = evidence.REACH + weighing.REACH


@dataclass(frozen=True)
class Fused:
    """The fused detector."""

    declaration: Declaration = FUSED

    def scores(self, frames: Frames) -> Scores:
        """``curve`` is the probability of any change, 0 to 1.

        Tracks: ``kinds`` (``[5, frames]``, probabilities of none, cut, dissolve, fade, wipe), ``model``
        (``[2, frames]``, what TransNetV2 said, -1 where it was not asked), and ``content`` (``[frames]``) and ``across``
        (``[4, frames]``), differences of colour from the frame before and over a flash, as in ``hsv``.
        """
        count = len(frames)
        kinds = np.zeros((5, count), np.float32)
        model = np.full((2, count), -1.0, np.float32)
        for start in range(0, count, CHUNK):
            end = min(start + CHUNK, count)
            kinds[:, start:end] = _weighed(frames, model, start, end)
        asked = doubtful(1 - kinds[0])
        if asked:
            model = np.stack(network.predict(frames, asked))
            for start, end in _touched(asked, count):
                kinds[:, start:end] = _weighed(frames, model, start, end)
        seen = hsv.measure(frames)
        across = hsv.content_curve(seen.tracks["across"], luma_only=False)
        curve = 1 - kinds[0]
        curve[:1] = 0
        tracks = {"kinds": kinds, "model": model, "content": seen.curve, "across": across}
        return Scores(curve=curve, luma=seen.luma, contrast=seen.contrast, tracks=tracks)

    def transitions(self, scores: Scores, parameters: FusedParameters) -> tuple[Transition, ...]:
        """Runs of frames that are likely a change, each named for the kind it is likeliest."""
        seen_through = _seen_through(scores, parameters)
        found: list[Transition] = []
        free_from = last = 0
        for kind, start, end in _named(scores, parameters):
            if kind is TransitionKind.CUT and start in seen_through:
                continue
            if kind is TransitionKind.FADE and (not parameters.fades or _at_the_ends(scores, start, end)):
                continue
            first = max(start, free_from, 1)
            if end <= first or (kind is TransitionKind.CUT and first - last < parameters.minimum_shot):
                continue
            surest = float(np.sort(scores.curve[start:end])[-3:].mean())
            found.append(
                Transition(
                    kind=kind, frames=FrameRange(start=first, end=end), confidence=round(min(max(surest, 0.0), 1.0), 4)
                )
            )
            free_from = end
            last = first if kind is TransitionKind.CUT else end
        return tuple(found)


def _seen_through(scores: Scores, parameters: FusedParameters) -> set[int]:
    """Frames at which a flash begins or ends; of light flashes also those during which the picture moves on."""
    content, across = scores.tracks["content"], scores.tracks["across"]
    steep = np.flatnonzero(content >= STEEP)
    found = flashes(steep, content, across, parameters)
    around = np.pad(content, (4, 8), mode="edge")
    moving = np.median(np.lib.stride_tricks.sliding_window_view(around, 13), axis=1)
    lags = np.arange(2, len(across) + 2)[:, None]
    rested = np.maximum(across - moving * lags, 0).astype(np.float32)
    rising = np.diff(scores.luma, prepend=scores.luma[:1])
    lit = [
        begin
        for begin in steep.tolist()
        if rising[begin] >= LIT and rising[begin + 1 : begin + 2 + parameters.flash_frames].min(initial=0) <= -LIT
    ]
    return found | flashes(np.array(lit, dtype=np.intp), content, rested, parameters)


def _named(scores: Scores, parameters: FusedParameters) -> list[tuple[TransitionKind, int, int]]:
    """Runs of frames that are likely a change, with what each is likeliest; a fade out and the next fade in are one."""
    black = _black(scores)
    kinds = scores.tracks["kinds"]
    named: list[tuple[TransitionKind, int, int]] = []
    for start, end in _runs(scores.curve >= parameters.threshold):
        cut, gradual = kinds[1, start:end], kinds[2:, start:end].sum(axis=1)
        if end - start < SHORTEST_GRADUAL or gradual.sum() <= cut.sum():
            frame = start + int(cut.argmax())
            named.append((TransitionKind.CUT, frame, frame + 1))
            continue
        kind = (TransitionKind.DISSOLVE, TransitionKind.FADE, TransitionKind.WIPE)[int(gradual.argmax())]
        # Whatever it looks like, a gradual change from or to black is a fade.
        if black[max(start - 1, 0) : start + 1].any() or black[end - 1 : end + 1].any():
            kind = TransitionKind.FADE
        follows = (
            bool(named) and named[-1][0] is kind is TransitionKind.FADE and bool(black[named[-1][2] : start].all())
        )
        named.append((kind, named.pop()[1] if follows else start, end))
    # A ramp down, black and a ramp up are a fade by rule, whatever the pictures show.
    ruled = [(each.frames.start, each.frames.end) for each in find_fades(scores, parameters)]
    apart = [each for each in named if not any(each[1] < end and start < each[2] for start, end in ruled)]
    return sorted([*apart, *((TransitionKind.FADE, start, end) for start, end in ruled)], key=lambda each: each[1])


def doubtful(change: Track) -> list[int]:
    """The windows of the model in which a stretch lies that is neither surely a change nor surely none.

    No more than one window in ``ASKED_AT_MOST``, so that a film full of doubt costs little more than others; the most
    doubtful come first.
    """
    stretches = []
    for start, end in _runs(change >= DOUBT_FROM):
        highest = float(change[start:end].max())
        if highest < DOUBT_TO:
            stretches.append((abs(highest - 0.5), start, end))
    most = max(1, network.windows_of(len(change)) // ASKED_AT_MOST)
    asked: set[int] = set()
    for _, start, end in sorted(stretches):
        wanted = set(range(start // network.STEP, (end - 1) // network.STEP + 1))
        if len(asked | wanted) <= most:
            asked |= wanted
    return sorted(asked)


def _weighed(frames: Frames, model: Track, start: int, end: int) -> Track:
    """Probabilities of the kinds for frames ``[start, end)``, ``[5, end - start]``."""
    last = len(frames) - 1
    around = np.clip(np.arange(start - _MARGIN, end + _MARGIN), 0, last)
    beside = np.clip(np.arange(start - weighing.REACH, end + weighing.REACH), 0, last)
    rows = evidence.measure(np.ascontiguousarray(frames[around]))
    return np.ascontiguousarray(weighing.weigh(rows, weighing.tell(*model[:, beside])).T)


def _touched(windows: list[int], count: int) -> Iterator[tuple[int, int]]:
    """Stretches of frames on which what was said in those windows has a bearing, in order and apart."""
    begin = until = -1
    for window in windows:
        start = max(0, window * network.STEP - weighing.REACH)
        end = min(count, (window + 1) * network.STEP + weighing.REACH)
        if until < start or end - begin > CHUNK:
            if until > begin:
                yield begin, until
            begin = max(start, until)
        until = end
    if until > begin:
        yield begin, until


def _runs(on: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], on.astype(np.int8), [0]))))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def _black(scores: Scores) -> NDArray[np.bool_]:
    return np.asarray((scores.luma <= _BLACK) & (scores.contrast <= FLAT_CONTRAST))


def _at_the_ends(scores: Scores, start: int, end: int) -> bool:
    """Whether nothing but black lies before or after: such a fade separates no two shots."""
    black = _black(scores)
    return bool(black[:start].all() or black[end:].all())


DETECTOR = Fused()
