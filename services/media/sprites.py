"""Sprite sheets: small pictures of the whole video, for grids and for browsers without WebCodecs.

Tiles are taken every ``every`` frames, in rows from the top left; a sheet is a JPEG of ``columns`` by ``rows`` tiles,
the last one cut to the rows it needs. The map says all of that, so that a client computes a frame's sheet and place.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLUMNS, ROWS = 10, 10
_MOST_TILES = 10_000
_QUALITY = 75


def tile_interval(frames: int, rate: Fraction, seconds: Fraction) -> int:
    """Frames from tile to tile: about ``seconds`` apart, but never more than 10,000 tiles in all."""
    return max(1, round(rate * seconds), -(-frames // _MOST_TILES))


@dataclass(frozen=True)
class Sprites:
    """Sheets in order, and the map's path."""

    sheets: tuple[Path, ...]
    map: Path
    tiles: int


class SpriteWriter:
    """Collects tiles and writes a sheet when one is full."""

    def __init__(self, folder: Path, width: int, height: int, every: int) -> None:
        self._folder = folder
        self._width, self._height = width, height
        self.every = every
        self._sheet: NDArray[np.uint8] = np.zeros((ROWS * height, COLUMNS * width, 3), np.uint8)
        self._sheets: list[Path] = []
        self._tiles = 0

    def add(self, tile: NDArray[np.uint8]) -> None:
        """One tile, uint8[height, width, 3] RGB."""
        row, column = divmod(self._tiles % (ROWS * COLUMNS), COLUMNS)
        top, left = row * self._height, column * self._width
        self._sheet[top : top + self._height, left : left + self._width] = tile
        self._tiles += 1
        if self._tiles % (ROWS * COLUMNS) == 0:
            self._write(ROWS)

    def _write(self, rows: int) -> None:
        path = self._folder / f"sprites-{len(self._sheets):03}.jpg"
        Image.fromarray(self._sheet[: rows * self._height]).save(path, "JPEG", quality=_QUALITY)
        self._sheets.append(path)
        self._sheet[:] = 0

    def finish(self, frames: int) -> Sprites:
        """Writes the last sheet and the map."""
        rest = self._tiles % (ROWS * COLUMNS)
        if rest:
            self._write(-(-rest // COLUMNS))
        layout: dict[str, Any] = {
            "version": 1,
            "frames": frames,
            "every": self.every,
            "tiles": self._tiles,
            "tile_width": self._width,
            "tile_height": self._height,
            "columns": COLUMNS,
            "rows": ROWS,
            "sheets": [path.name for path in self._sheets],
        }
        path = self._folder / "sprites.json"
        path.write_text(json.dumps(layout, sort_keys=True, separators=(",", ":")))
        return Sprites(tuple(self._sheets), path, self._tiles)
