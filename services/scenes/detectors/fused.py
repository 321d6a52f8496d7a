"""``fused``: evidence of plain arithmetic where it is sure, TransNetV2 only where it is not.

Every frame gets the probability that it is part of a cut, a dissolve, a fade or a wipe, from ``evidence`` by ``weighing``.
Where these stay between yes and no, TransNetV2 is asked about that stretch, and its answer is weighed with the rest.
Most films are never doubtful, or too short for it to pay, and then torch is not even loaded.

Guarantees: what is asked about a stretch is answered as if the whole film had been looked at; memory is flat in the film's
length but for a few numbers a frame.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from contracts.values import FrameRange, Transition, TransitionKind
from services.scenes.detectors import evidence, hsv, network, weighing
from services.scenes.detectors.adaptive import adaptive_ratio
from services.scenes.detectors.cuts import flashes
from services.scenes.detectors.declared import FUSED, AdaptiveParameters, Declaration, FusedParameters
from services.scenes.detectors.interface import Frames, Scores, Track, certainty
from services.scenes.detectors.luma import FLAT_CONTRAST, find_fades

CHUNK = 1024
DOUBT_FROM, DOUBT_TO = 0.25, 0.75
"""A stretch that may be a change but never surely is one, by its highest probability."""

ASKED_AT_MOST, LOADING = 100, 4
"""One window of the model in so many may be asked about, less as many as loading it costs: so what is asked costs no more
than a twentieth of what PySceneDetect takes for the film, and a film of a quarter of an hour loads no model."""

SHORTEST_GRADUAL = 4
SURELY_A_WIPE = 0.75
"""A wipe is likely at least so much somewhere: whatever passes close to a camera looks a little like one."""

MOSTLY = 0.35
"""A wipe changes at least this share of the picture: what slides into view in a part of a screen is none."""

STEEP = 15.0
"""A flash begins and ends with differences of colour of at least this."""

SURELY_A_CUT = 30.0
"""So much difference of colour, where ``adaptive`` sees a cut too and the difference lasts, is a cut unless the weighed
evidence all but excludes it."""

LASTING = 0.75
EXCLUDED = 0.05

LIT = 30.0
"""A light flash is lighter than the pictures before and after it by at least this much luma."""

ADAPTIVE_RULE = AdaptiveParameters()
_BLACK = 10.0
_MARGIN = evidence.REACH + weighing.REACH

Named = tuple[TransitionKind, int, int]


@dataclass(frozen=True)
class Fused:
    """The fused detector."""

    declaration: Declaration = FUSED

    def scores(self, frames: Frames) -> Scores:
        """``curve`` is the probability of any change, 0 to 1.

        Tracks: ``kinds`` (``[5, frames]``, probabilities of none, cut, dissolve, fade, wipe), ``changed``
        (``[frames]``, the share of the picture that changes around), ``model`` (``[2, frames]``, what TransNetV2 said, -1
        where it was not asked), and ``content`` (``[frames]``) and ``across`` (``[4, frames]``), differences of colour from
        the frame before and over a flash, as in ``hsv``.
        """
        count = len(frames)
        kinds = np.zeros((5, count), np.float32)
        changed = np.zeros(count, np.float32)
        model = np.full((2, count), -1.0, np.float32)
        for start in range(0, count, CHUNK):
            end = min(start + CHUNK, count)
            kinds[:, start:end], changed[start:end] = _weighed(frames, model, start, end)
        asked = doubtful(1 - kinds[0])
        if asked:
            model = np.stack(network.predict(frames, asked))
            for start, end in _touched(asked, count):
                kinds[:, start:end], _ = _weighed(frames, model, start, end)
        seen = hsv.measure(frames)
        across = hsv.content_curve(seen.tracks["across"], luma_only=False)
        curve = 1 - kinds[0]
        curve[:1] = 0
        tracks = {"kinds": kinds, "changed": changed, "model": model, "content": seen.curve, "across": across}
        return Scores(curve=curve, luma=seen.luma, contrast=seen.contrast, tracks=tracks)

    def transitions(self, scores: Scores, parameters: FusedParameters) -> tuple[Transition, ...]:
        """Runs of frames that are likely a change, each named for the kind it is likeliest."""
        seen_through = _seen_through(scores, parameters)
        plain = _plain_cuts(scores, seen_through)
        found: list[Transition] = []
        free_from = last = 0
        for kind, start, end in _named(scores, parameters, plain):
            if kind is TransitionKind.CUT and start in seen_through:
                continue
            if kind is TransitionKind.FADE and (not parameters.fades or _at_the_ends(scores, start, end)):
                continue
            first = max(start, free_from, 1)
            if end <= first or (kind is TransitionKind.CUT and first - last < parameters.minimum_shot):
                continue
            surest = max(float(np.sort(scores.curve[start:end])[-3:].mean()), plain.get(start, 0.0))
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


def _named(scores: Scores, parameters: FusedParameters, plain: Iterable[int]) -> list[Named]:
    """Runs of frames that are likely a change, with what each is likeliest; a fade out and the next fade in are one."""
    black = _black(scores)
    kinds = scores.tracks["kinds"]
    named: list[Named] = []
    for start, end, is_cut in _likely(kinds, scores.curve >= parameters.threshold):
        if is_cut:
            named.append((TransitionKind.CUT, start, end))
            continue
        gradual = kinds[2:, start:end]
        kind = (TransitionKind.DISSOLVE, TransitionKind.FADE, TransitionKind.WIPE)[int(gradual.sum(axis=1).argmax())]
        # Whatever it looks like, a gradual change from or to black is a fade.
        if black[max(start - 1, 0) : start + 1].any() or black[end - 1 : end + 1].any():
            kind = TransitionKind.FADE
        if kind is TransitionKind.WIPE and (
            gradual.max() < SURELY_A_WIPE or scores.tracks["changed"][start:end].max() < MOSTLY
        ):
            continue
        follows = (
            bool(named) and named[-1][0] is kind is TransitionKind.FADE and bool(black[named[-1][2] : start].all())
        )
        named.append((kind, named.pop()[1] if follows else start, end))
    # A ramp down, black and a ramp up are a fade by rule, whatever the pictures show.
    ruled = [(each.frames.start, each.frames.end) for each in find_fades(scores, parameters)]
    apart = [each for each in named if not any(each[1] < end and start < each[2] for start, end in ruled)]
    known = [*apart, *((TransitionKind.FADE, start, end) for start, end in ruled)]
    for frame in plain:
        if not any(start - 2 < frame < end + 2 for _, start, end in known):
            known.append((TransitionKind.CUT, frame, frame + 1))
    return sorted(known, key=lambda each: each[1])


def _likely(kinds: Track, on: NDArray[np.bool_]) -> list[tuple[int, int, bool]]:
    """Runs of likely frames, in order, and whether each is a cut.

    A gradual change reaches as far as there is some likelihood of one; what is shorter even so, no one takes for a change.
    """
    gradual = kinds[2:].sum(axis=0)
    faint = gradual >= DOUBT_FROM
    found: list[tuple[int, int, bool]] = []
    for likely_from, likely_to in _runs(on):
        cut = kinds[1, likely_from:likely_to]
        if gradual[likely_from:likely_to].sum() <= cut.sum():
            frame = likely_from + int(cut.argmax())
            found.append((frame, frame + 1, True))
            continue
        start, end = likely_from, likely_to
        while start > 0 and faint[start - 1]:
            start -= 1
        while end < len(faint) and faint[end]:
            end += 1
        if found and not found[-1][2] and start <= found[-1][1]:
            start = found.pop()[0]
        if end - start >= SHORTEST_GRADUAL:
            found.append((start, end, False))
    return found


def _plain_cuts(scores: Scores, seen_through: set[int]) -> dict[int, float]:
    """Frames that are a cut by the rule of ``adaptive``, as plain as can be, and how sure that is.

    The picture becomes another and stays so.
    """
    content = scores.tracks["content"]
    ratio = adaptive_ratio(content, ADAPTIVE_RULE.window, ADAPTIVE_RULE.minimum_content)
    plain = (
        (ratio >= ADAPTIVE_RULE.threshold)
        & (content >= SURELY_A_CUT)
        & (scores.tracks["across"].min(axis=0) >= LASTING * content)
        & (scores.tracks["kinds"][1] >= EXCLUDED)
    )
    return {
        frame: certainty(float(ratio[frame]), ADAPTIVE_RULE.threshold)
        for frame in np.flatnonzero(plain).tolist()
        if frame not in seen_through
    }


def doubtful(change: Track) -> list[int]:
    """The windows of the model in which a stretch lies that is neither surely a change nor surely none.

    No more than a film's length allows, so that one full of doubt costs little more than others; the most doubtful
    come first.
    """
    stretches = []
    for start, end in _runs(change >= DOUBT_FROM):
        highest = float(change[start:end].max())
        if highest < DOUBT_TO:
            stretches.append((abs(highest - 0.5), start, end))
    most = max(0, network.windows_of(len(change)) // ASKED_AT_MOST - LOADING)
    asked: set[int] = set()
    for _, start, end in sorted(stretches):
        wanted = set(range(start // network.STEP, (end - 1) // network.STEP + 1))
        if len(asked | wanted) <= most:
            asked |= wanted
    return sorted(asked)


def _weighed(frames: Frames, model: Track, start: int, end: int) -> tuple[Track, Track]:
    """Probabilities of the kinds for frames ``[start, end)``, ``[5, end - start]``, and how much of the picture changes."""
    last = len(frames) - 1
    around = np.clip(np.arange(start - _MARGIN, end + _MARGIN), 0, last)
    beside = np.clip(np.arange(start - weighing.REACH, end + weighing.REACH), 0, last)
    rows = evidence.measure(np.ascontiguousarray(frames[around]))
    kinds = np.ascontiguousarray(weighing.weigh(rows, weighing.tell(*model[:, beside])).T)
    return kinds, evidence.changed(rows[weighing.REACH : len(rows) - weighing.REACH])


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
