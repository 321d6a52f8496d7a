"""Settings of ingest."""

from __future__ import annotations

from datetime import timedelta

from pydantic import Field

from services.chassis.settings import ChassisSettings, Seconds


class Settings(ChassisSettings):
    """What ingest needs to know beside what every service does."""

    ingest_allow_private_addresses: bool = Field(
        False,
        description="Whether URLs may lead to private and loopback addresses. Leave this off where strangers submit.",
    )
    ingest_proxy: str = Field(
        "", description="Proxy for URL sources; it then decides which addresses can be reached. Empty: direct."
    )
    ingest_max_bytes: int = Field(200_000_000_000, ge=1, description="Largest source, in bytes.")
    ingest_max_duration: Seconds = Field(timedelta(hours=24), description="Longest source.")
    ingest_max_pixels: int = Field(67_108_864, ge=1, description="Most pixels in a frame (8192x8192).")
    ingest_socket_timeout: float = Field(
        20.0, gt=0, description="Seconds without an answer after which a server is gone."
    )
    ingest_max_captions: int = Field(20, ge=0, le=200, description="Most caption tracks kept of one video.")
