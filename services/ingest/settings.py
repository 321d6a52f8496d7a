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
    ingest_max_entries: int = Field(
        500, ge=0, le=10_000, description="Most videos that one playlist or channel may bring; 0 takes no lists."
    )
    ingest_max_fragments: int = Field(200_000, ge=1, description="Most fragments of which a stream may consist.")
    ingest_host_concurrency: int = Field(2, ge=1, le=64, description="Downloads at once from one host, on one machine.")
    ingest_host_cooldown: Seconds = Field(
        timedelta(seconds=60),
        ge=timedelta(0),
        description="How long a host is left alone after it asked to slow down, or took us for a robot.",
    )
    ingest_cookies_file: str = Field(
        "", description="Cookies for URL sources, in the Netscape format; it is read, never written."
    )
