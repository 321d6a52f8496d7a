"""The static light metadata of HDR pictures: what screen they were graded on, and how bright they get.

A decoder reports it with a frame (SMPTE ST 2086, CTA-861.3); encoders take it as text, each in a spelling of its own.
Guarantees: every value is carried as the exact ratio that the source says; what is said only in part is left out.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

_DISPLAY = struct.Struct("<20i2i")
"""``AVMasteringDisplayMetadata``: ten ratios (x and y of red, green, blue and white; least and most light), two flags."""

_LEVELS = struct.Struct("<2I")
"""``AVContentLightMetadata``: the brightest pixel and the brightest frame's mean, in cd/m²."""

Point = tuple[Fraction, Fraction]


@dataclass(frozen=True)
class Light:
    """``display`` holds red, green, blue and white as CIE x, y; ``luminance`` the least and most cd/m² of that screen.

    ``levels`` holds MaxCLL and MaxFALL in cd/m². Each is ``None`` where the source does not say it.
    """

    display: tuple[Point, Point, Point, Point] | None = None
    luminance: tuple[Fraction, Fraction] | None = None
    levels: tuple[int, int] | None = None

    def params(self, encoder: str) -> tuple[tuple[str, str], ...]:
        """How an encoder is told; nothing for one that has no place for it."""
        if encoder == "libx265":
            return tuple(self._for_x265())
        if encoder == "libsvtav1":
            return tuple(self._for_svt())
        return ()

    def _for_x265(self) -> list[tuple[str, str]]:
        said: list[tuple[str, str]] = []
        if self.display is not None and self.luminance is not None:
            red, green, blue, white = (f"({round(x * 50_000)},{round(y * 50_000)})" for x, y in self.display)
            low, high = (round(value * 10_000) for value in self.luminance)
            said.append(("master-display", f"G{green}B{blue}R{red}WP{white}L({high},{low})"))
        if self.levels is not None:
            said.append(("max-cll", f"{self.levels[0]},{self.levels[1]}"))
        return said

    def _for_svt(self) -> list[tuple[str, str]]:
        said: list[tuple[str, str]] = []
        if self.display is not None and self.luminance is not None:
            red, green, blue, white = (f"({float(x):.5f},{float(y):.5f})" for x, y in self.display)
            low, high = (float(value) for value in self.luminance)
            said.append(("mastering-display", f"G{green}B{blue}R{red}WP{white}L({high:.4f},{low:.4f})"))
        if self.levels is not None:
            said.append(("content-light", f"{self.levels[0]},{self.levels[1]}"))
        return said


def light_of(frame: VideoFrame) -> Light | None:
    """What a decoded frame says of its light, or ``None`` if nothing."""
    display, luminance, levels = None, None, None
    kept: Any = frame.side_data
    for data in kept:
        raw = bytes(data)
        if data.type is Type.MASTERING_DISPLAY_METADATA and len(raw) >= _DISPLAY.size:
            *numbers, has_primaries, has_luminance = _DISPLAY.unpack_from(raw)
            ratios = [
                Fraction(top, bottom) if bottom else None
                for top, bottom in zip(numbers[::2], numbers[1::2], strict=True)
            ]
            if has_primaries and None not in ratios[:8]:
                points = [
                    (x or Fraction(0), y or Fraction(0)) for x, y in zip(ratios[:8:2], ratios[1:8:2], strict=True)
                ]
                display = (points[0], points[1], points[2], points[3])
            if has_luminance and ratios[8] is not None and ratios[9] is not None:
                luminance = (ratios[8], ratios[9])
        elif data.type is Type.CONTENT_LIGHT_LEVEL and len(raw) >= _LEVELS.size:
            levels = _LEVELS.unpack_from(raw)
    if display is None and luminance is None and levels is None:
        return None
    return Light(display, luminance, levels)
