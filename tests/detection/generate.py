"""Labelled films made from real footage: every change of shot is known, because it was put there.

A shot is a stretch of footage seen by a camera that moves over it, at some speed, in some light, mirrored or not. Shots
follow each other by cuts, dissolves, fades and wipes of many lengths, while both sides go on moving. Within shots lie
decoys: flashes, black frames, whip pans, fast movement, shaking, passing objects, captions and changes of light.
A film is a function of its seed and of its footage.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

WIDTH, HEIGHT = 48, 27
KINDS = ("cut", "dissolve", "fade", "wipe")
_SHARES = (0.46, 0.22, 0.16, 0.16)
_WIDE, _HIGH = 160, 90


@dataclass(frozen=True)
class Label:
    """A change of shot: frames ``[start, end)``; a cut is the new shot's first frame."""

    kind: str
    start: int
    end: int


@dataclass
class Film:
    """Pictures ``uint8[n, 27, 48, 3]``, what changes in them, and where the decoys lie."""

    frames: np.ndarray
    labels: list[Label]
    decoys: list[Label] = field(default_factory=list)


def make_film(
    seed: int,
    transitions: int = 40,
    *,
    footage: Sequence[np.ndarray],
    shortest: int = 14,
    longest: int = 70,
) -> Film:
    """One film with that many changes of shot, of that footage.

    Footage is ``uint8[n, 90, 160, 3]`` for each shot; ``shortest`` and ``longest`` bound a shot's whole frames.
    """
    rng = np.random.default_rng([20_261, seed])
    kinds = [str(rng.choice(KINDS, p=_SHARES)) for _ in range(transitions)]
    changes = [_change(rng, kind) for kind in kinds]
    bodies = [_length(rng, shortest, longest) for _ in range(transitions + 1)]
    parts: list[np.ndarray] = []
    labels: list[Label] = []
    decoys: list[Label] = []
    at = 0
    last = -1
    tail = np.zeros((0, HEIGHT, WIDTH, 3), np.float32)
    change: _Change | None = None
    for number, body in enumerate(bodies):
        following = changes[number] if number < transitions else None
        head = change.after if change else 0
        before = following.before if following else 0
        last = int(rng.choice([each for each in range(len(footage)) if each != last]))
        made = _shot(rng, footage[last], head + body + before)
        found = _decoys(rng, made[head : head + body], footage)
        if change is not None:
            mixed = change.mix(rng, tail, made[:head])
            for kind, start, end in change.labels:
                labels.append(Label(kind, at + start, at + end))
            parts.append(mixed)
            at += len(mixed)
        decoys += [Label(each.kind, at + each.start, at + each.end) for each in found]
        parts.append(made[head : head + body])
        at += body
        tail = made[head + body :]
        change = following
    frames = np.concatenate(parts)
    noise = rng.normal(0, rng.uniform(0, 1.2), frames.shape).astype(np.float32)
    return Film(np.clip(np.rint(frames + noise), 0, 255).astype(np.uint8), labels, decoys)


def _length(rng: np.random.Generator, shortest: int, longest: int) -> int:
    return int(np.exp(rng.uniform(np.log(shortest), np.log(longest))))


def _shot(rng: np.random.Generator, footage: np.ndarray, length: int) -> np.ndarray:
    """Pictures of one shot, ``float32[length, 27, 48, 3]``: a moving camera over moving footage."""
    speed = float(rng.choice([0.5, 1.0, 1.0, 1.0, 1.5, 2.0, 3.0]))
    positions = int(rng.integers(len(footage))) + speed * np.arange(length)
    # To and fro, so that a long shot needs no seam.
    span = max(1, len(footage) - 1)
    turned = np.abs((positions + span) % (2 * span) - span).astype(int)
    zoom = rng.uniform(0.42, 1.0)
    zoom_end = np.clip(zoom * (rng.uniform(0.8, 1.25) if rng.random() < 0.3 else 1.0), 0.4, 1.0)
    start, drift = rng.random(2), np.zeros(2)
    if rng.random() < 0.4:
        drift = rng.normal(0, 0.012, 2) * rng.uniform(0.2, 1.0)
    shake = rng.uniform(0.002, 0.03) if rng.random() < 0.25 else 0.0
    whip_at = int(rng.integers(4, max(5, length - 14))) if rng.random() < 0.12 else -1
    whip_length = int(rng.integers(4, 11))
    whip = rng.choice([-1, 1]) * rng.uniform(0.5, 1.0)
    mirrored = rng.random() < 0.5
    gains = rng.uniform(0.75, 1.25, 3) * rng.uniform(0.7, 1.2)
    gamma = rng.uniform(0.75, 1.35)
    order = rng.permutation(3) if rng.random() < 0.35 else np.arange(3)
    table = np.clip(255 * ((np.arange(256)[:, None] / 255) ** gamma) * gains, 0, 255).astype(np.float32)
    light = np.ones(length, np.float32)
    if rng.random() < 0.15:
        begin, over = int(rng.integers(length)), int(rng.integers(3, 25))
        light *= 1 + rng.uniform(-0.35, 0.35) * np.clip((np.arange(length) - begin) / over, 0, 1)
    out = np.empty((length, HEIGHT, WIDTH, 3), np.float32)
    where = start.copy()
    for at in range(length):
        share = at / max(1, length - 1)
        size = zoom + (zoom_end - zoom) * share
        step = 1
        if whip_at <= at < whip_at + whip_length:
            phase = (at - whip_at + 1) / whip_length
            where[0] += whip * (np.sin(np.pi * phase) * np.pi / 2) / whip_length
            step = 4
        where += drift
        now = np.abs((where + rng.normal(0, shake, 2) + 1) % 2 - 1) if shake else np.abs((where + 1) % 2 - 1)
        picture = footage[turned[at]]
        wide, high = size * _WIDE, size * _HIGH
        left, top = now[0] * (_WIDE - wide), now[1] * (_HIGH - high)
        small = _seen(picture, left, top, wide, high)
        if step > 1:
            blurred = cv2.blur(np.ascontiguousarray(small), (9, 1))
            small = blurred
        out[at] = small
    if mirrored:
        out = out[:, :, ::-1]
    levels = np.clip(np.rint(out), 0, 255).astype(np.uint8)[..., order]
    for channel in range(3):
        out[..., channel] = table[levels[..., channel], channel]
    return np.clip(out * light[:, None, None, None], 0, 255)


def _seen(picture: np.ndarray, left: float, top: float, wide: float, high: float) -> np.ndarray:
    """What a camera sees of the picture through that window, averaged over areas."""
    scale_x, scale_y = wide / (2 * WIDTH), high / (2 * HEIGHT)
    matrix = np.array([[scale_x, 0, left], [0, scale_y, top]], np.float64)
    double = cv2.warpAffine(
        picture,
        matrix,
        (2 * WIDTH, 2 * HEIGHT),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return cv2.resize(double, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


def _decoys(rng: np.random.Generator, body: np.ndarray, footage: Sequence[np.ndarray]) -> list[Label]:
    """Puts what is no change of shot into a shot, in place; half of the shots get one."""
    length = len(body)
    if length < 20 or rng.random() < 0.45:
        return []
    kind = str(
        rng.choice(["flash", "black", "passing", "caption", "burst", "freeze"], p=[0.38, 0.12, 0.2, 0.1, 0.1, 0.1])
    )
    at = int(rng.integers(8, length - 10))
    if kind == "flash":
        over = int(rng.integers(1, 4))
        strength = rng.uniform(0.5, 1.0)
        colour = np.clip(np.array([255, 255, 255]) * rng.uniform(0.85, 1, 3), 0, 255)
        decay = rng.random() < 0.5
        for step in range(over):
            share = strength * ((1 - step / over) if decay else 1.0)
            body[at + step] = body[at + step] * (1 - share) + colour * share
        return [Label(kind, at, at + over)]
    if kind == "black":
        over = int(rng.integers(1, 4))
        body[at : at + over] = rng.uniform(0, 12)
        return [Label(kind, at, at + over)]
    if kind == "burst":
        over = int(rng.integers(4, 9))
        for step in range(0, over, 2):
            body[at + step] = body[at + step] * 0.35 + 255 * 0.65
        return [Label("flash", at, at + over)]
    if kind == "passing":
        over = int(rng.integers(4, 20))
        wide = int(rng.integers(8, 34))
        texture = footage[int(rng.integers(len(footage)))]
        patch = cv2.resize(texture[int(rng.integers(len(texture)))], (wide, HEIGHT), interpolation=cv2.INTER_AREA)
        dark = rng.uniform(0.3, 1.0)
        over = min(over, length - at - 2)
        for step in range(over):
            share = (step + 0.5) / over
            left = round(-wide + share * (WIDTH + wide))
            first, last = max(left, 0), min(left + wide, WIDTH)
            if last > first:
                body[at + step, :, first:last] = patch[:, first - left : last - left] * dark
        return [Label(kind, at, at + over)]
    if kind == "caption":
        high, wide = int(rng.integers(3, 8)), int(rng.integers(15, 44))
        top, left = int(rng.integers(14, HEIGHT - high + 1)), int(rng.integers(0, WIDTH - wide + 1))
        lasting = int(rng.integers(5, 40))
        box = rng.uniform(0, 255, 3)
        letters = rng.random((high, wide)) < 0.3
        area = body[at : at + lasting, top : top + high, left : left + wide]
        area *= 0.25
        area += 0.75 * np.where(letters[..., None], 255 - box, box).astype(np.float32)
        return [Label(kind, at, min(length, at + lasting))]
    held = int(rng.integers(3, 8))
    held = min(held, length - at - 1)
    body[at : at + held] = body[at]
    return [Label(kind, at, at + held)]


@dataclass
class _Change:
    """How one shot becomes the next: frames it needs of each side, and what it is called."""

    kind: str
    before: int
    after: int
    hold: int = 0
    colour: float = 0.0
    labels: tuple[tuple[str, int, int], ...] = ()

    def mix(self, rng: np.random.Generator, old: np.ndarray, new: np.ndarray) -> np.ndarray:
        if self.kind == "cut":
            return np.zeros((0, HEIGHT, WIDTH, 3), np.float32)
        if self.kind == "dissolve":
            share = (np.arange(self.before) + 1) / (self.before + 1)
            if rng.random() < 0.3:
                share = share * share * (3 - 2 * share)
            weight = share[:, None, None, None].astype(np.float32)
            return old * (1 - weight) + new * weight
        if self.kind == "wipe":
            edges = _wipe_order(rng)
            soft = float(rng.choice([0.01, 0.01, 0.05, 0.15]))
            share = (np.arange(self.before) + 1) / (self.before + 1)
            weight = np.clip((share[:, None, None] * (1 + soft) - edges) / soft, 0, 1)[..., None].astype(np.float32)
            return old * (1 - weight) + new * weight
        down = 1 - (np.arange(self.before) + 1) / (self.before + 1)
        up = (np.arange(self.after) + 1) / (self.after + 1)
        flat = np.full((self.hold, HEIGHT, WIDTH, 3), self.colour, np.float32)
        parts = []
        if self.before:
            parts.append(self.colour + (old - self.colour) * down[:, None, None, None].astype(np.float32))
        parts.append(flat)
        if self.after:
            parts.append(self.colour + (new - self.colour) * up[:, None, None, None].astype(np.float32))
        return np.concatenate(parts)


def _change(rng: np.random.Generator, kind: str) -> _Change:
    if kind == "cut":
        return _Change(kind, 0, 0, labels=(("cut", 0, 1),))
    if kind in {"dissolve", "wipe"}:
        length = int(np.exp(rng.uniform(np.log(5), np.log(45 if kind == "dissolve" else 35))))
        return _Change(kind, length, length, labels=((kind, 0, length),))
    colour = 250.0 if rng.random() < 0.15 else float(rng.uniform(0, 6))
    down, up = (int(np.exp(rng.uniform(np.log(5), np.log(28)))) for _ in range(2))
    hold = int(rng.integers(1, 14))
    form = rng.random()
    if form < 0.08 and colour < 100:
        # A cut to black that stays, then a fade in: two changes.
        hold += 12
        return _Change(kind, 0, up, hold, colour, (("cut", 0, 1), ("fade", hold, hold + up)))
    if form < 0.16 and colour < 100:
        hold += 12
        return _Change(kind, down, 0, hold, colour, (("fade", 0, down), ("cut", down + hold, down + hold + 1)))
    return _Change(kind, down, up, hold, colour, (("fade", 0, down + hold + up),))


def _wipe_order(rng: np.random.Generator) -> np.ndarray:
    """When the boundary passes each pixel, 0 to 1."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    x, y = (x + 0.5) / WIDTH, (y + 0.5) / HEIGHT
    kind = int(rng.integers(6))
    if kind == 0:
        order = x
    elif kind == 1:
        order = y
    elif kind == 2:
        order = (x + y) / 2
    elif kind == 3:
        order = np.hypot(x - 0.5, (y - 0.5) * HEIGHT / WIDTH)
        order = order / order.max()
    elif kind == 4:
        order = np.abs(x - 0.5) * 2
    else:
        order = (np.arctan2(y - 0.5, x - 0.5) + np.pi) / (2 * np.pi)
    return 1 - order if rng.random() < 0.5 else order
