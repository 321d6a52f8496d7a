"""Vectors as they travel from the work to the tables."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, Protocol

from contracts.values import EmbeddingModel as ModelFacts
from services.embed.domain.orders import ModelVectors

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Named(Protocol):
    """A model, as far as its vectors must tell."""

    @property
    def model_id(self) -> str:
        """Its name."""

    @property
    def revision(self) -> str:
        """The weights really used."""

    @property
    def dimensions(self) -> int:
        """Numbers in a vector."""


def packed(
    model: Named,
    rows: NDArray[np.float32],
    frames: tuple[int, ...],
    *,
    parts: tuple[int, ...] = (),
    sees: Literal["pictures", "both", "words"] = "pictures",
) -> ModelVectors:
    """Rows ``[len(frames), dimensions]`` of one model."""
    facts = ModelFacts(
        model_id=model.model_id, revision=model.revision, dimensions=model.dimensions, vectors=len(frames)
    )
    vectors = base64.b64encode(rows.astype("<f4").tobytes()).decode()
    return ModelVectors(model=facts, frames=frames, vectors=vectors, sees=sees, parts=parts)


def spell(vector: Sequence[float]) -> str:
    """A vector as pgvector reads it."""
    return f"[{','.join(map(repr, vector))}]"
