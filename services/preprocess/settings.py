"""Settings of preprocess."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from services.chassis.settings import ChassisSettings
from services.media.recipes import MasterSettings, ReviewSettings


def _to_number(value: Any) -> Any:
    """The environment knows text only, and a literal number is no text."""
    return int(value) if isinstance(value, str) and value.isdigit() else value


class Settings(ChassisSettings):
    """What preprocess needs to know beside what every service does."""

    preprocess_proxy_height: int = Field(540, ge=64, le=2160, description="Most lines of the review proxy.")
    preprocess_proxy_preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"] = Field(
        "superfast", description="x264 preset of the review proxy."
    )
    preprocess_proxy_crf: int = Field(
        27, ge=10, le=40, description="Quality of the review proxy; lower is better and larger."
    )
    preprocess_encoder_threads: int = Field(
        2, ge=1, le=64, description="Threads of each encoder; part of what decides the bytes."
    )
    preprocess_audio_bit_rate: int = Field(
        128_000, ge=32_000, le=320_000, description="Bit rate of the review audio, bit/s."
    )
    preprocess_tile_height: int = Field(90, ge=16, le=360, description="Lines of a sprite.")
    preprocess_tile_seconds: int = Field(1, ge=1, le=60, description="Seconds from sprite to sprite.")
    preprocess_master_coder: Annotated[Literal[0, 1], BeforeValidator(_to_number)] = Field(
        0, description="FFV1 coder of the master: 0 is faster, 1 makes files a little smaller."
    )
    preprocess_master_slices: Annotated[Literal[4, 9, 16, 24], BeforeValidator(_to_number)] = Field(
        16, description="FFV1 slices of a master's frame, each with a CRC."
    )

    @property
    def review(self) -> ReviewSettings:
        """How review media are made."""
        return ReviewSettings(
            max_height=self.preprocess_proxy_height,
            preset=self.preprocess_proxy_preset,
            crf=self.preprocess_proxy_crf,
            encoder_threads=self.preprocess_encoder_threads,
            audio_bit_rate=self.preprocess_audio_bit_rate,
            tile_height=self.preprocess_tile_height,
            tile_seconds=self.preprocess_tile_seconds,
        )

    @property
    def master(self) -> MasterSettings:
        """How masters are made."""
        return MasterSettings(
            coder=self.preprocess_master_coder,
            slices=self.preprocess_master_slices,
            threads=self.preprocess_encoder_threads,
        )
