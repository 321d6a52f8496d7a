"""What decides the bytes of proxies and masters, and a short name for it.

A recipe's name is part of the key under which its result lies, so that other settings, a newer revision of the code or
another version of the codec library never pass for the work already done. Nothing here loads the codec library: the
service that hands out work only wants the name.
"""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version

_REVIEW_REVISION = 2
_MASTER_REVISION = 2
"""Raised whenever the same source and settings would give other bytes."""


@dataclass(frozen=True)
class ReviewSettings:
    """How review media are made: heights in lines, bit rate in bit/s, ``tile_seconds`` from sprite to sprite.

    Encoder threads are fixed rather than counted, because the encoder writes their number into the stream.
    """

    max_height: int = 540
    preset: str = "superfast"
    crf: int = 27
    encoder_threads: int = 2
    audio_bit_rate: int = 128_000
    tile_height: int = 90
    tile_seconds: int = 1

    @property
    def name(self) -> str:
        """Twelve hex digits that differ whenever the bytes may."""
        return _named("review", _REVIEW_REVISION, asdict(self))


@dataclass(frozen=True)
class MasterSettings:
    """How masters are made. Golomb-Rice coding (0) is a quarter faster both ways than range coding, for 6 % more bytes."""

    coder: int = 0
    context: int = 0
    slices: int = 16
    threads: int = 2

    @property
    def name(self) -> str:
        """Twelve hex digits that differ whenever the bytes may."""
        return _named("master", _MASTER_REVISION, asdict(self))


def _named(kind: str, revision: int, values: dict[str, object]) -> str:
    spelling = ",".join(f"{key}={value}" for key, value in sorted(values.items()))
    return hashlib.sha256(f"{kind}/{revision}/{_library()}:{spelling}".encode()).hexdigest()[:12]


@cache
def _library() -> str:
    return f"av-{version('av')}"
