"""How evidence becomes probabilities: a small fitted network over the rows of ``evidence``, in plain NumPy.

One product per frame, five short convolutions over time, one product: some 20,000 coefficients in ``fused.json``, which
``python -m tests.detection.fit`` makes from generated films. Beside the evidence it takes what TransNetV2 says of a frame, where that
was asked, and learned to do without it where it was not.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from services.scenes.detectors.interface import Track

KINDS = ("none", "cut", "dissolve", "fade", "wipe")
DILATIONS = (1, 2, 4, 8, 16)
REACH = sum(DILATIONS)
"""Rows on each side that an answer depends on."""

LIMIT = 5.0
FILE = Path(__file__).with_name("fused.json")

Rows = NDArray[np.float32]


def weigh(rows: Rows, told: Rows) -> Rows:
    """Probabilities of ``KINDS`` for every row but the first and last ``REACH``: ``float32[rows - 2 * REACH, 5]``.

    ``told`` is ``float32[rows, 3]`` as ``tell`` gives it.
    """
    fitted = _fitted()
    seen = np.clip((rows - fitted["mean"]) / fitted["deviation"], -LIMIT, LIMIT)
    x = np.maximum(np.concatenate([seen, told], axis=1) @ fitted["enter"] + fitted["enter_bias"], 0)
    for at, dilation in enumerate(DILATIONS):
        taps = fitted["taps"][at]
        inner = len(x) - 2 * dilation
        mixed = sum(x[tap * dilation : tap * dilation + inner] * taps[tap] for tap in range(3))
        x = x[dilation : dilation + inner] + np.maximum(mixed @ fitted["mix"][at] + fitted["mix_bias"][at], 0)
    answers = x @ fitted["leave"] + fitted["leave_bias"]
    powers = np.exp(answers - answers.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def tell(middle: Track, inside: Track) -> Rows:
    """The model's two probabilities as the network takes them, ``float32[frames, 3]``; 0 where it was not asked (-1)."""
    known = middle >= 0
    columns = [np.where(known, _logit(each), 0.0) for each in (middle, inside)]
    return np.stack([*columns, known], axis=1).astype(np.float32)


def _logit(probability: Track) -> Track:
    clipped = np.clip(probability, 1e-4, 1 - 1e-4)
    return np.asarray((np.log(clipped) - np.log1p(-clipped)) / 4, np.float32)


@cache
def _fitted() -> dict[str, NDArray[np.float32]]:
    kept: dict[str, Any] = json.loads(FILE.read_text())
    return {name: np.asarray(values, np.float32) for name, values in kept["coefficients"].items()}
