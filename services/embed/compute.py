"""How a model is to be computed, as data; unlike the models themselves it costs nothing to import."""

from __future__ import annotations

from dataclasses import dataclass

from services.embed.domain.orders import ModelSpec
from services.embed.settings import Settings


@dataclass(frozen=True)
class Compute:
    """Where and how torch computes."""

    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 8
    threads: int = 2
    cache_dir: str = ""
    offline: bool = False


def compute_of(settings: Settings, spec: ModelSpec) -> Compute:
    """The settings' part that a model's loading needs."""
    return Compute(
        device=settings.embed_device,
        dtype=spec.dtype,
        batch=settings.embed_batch,
        threads=settings.embed_threads,
        cache_dir=settings.embed_cache_dir,
        offline=settings.embed_offline,
    )
