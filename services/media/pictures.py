"""Pictures that go with a clip: which frames to take, and what becomes of them; and the waveform's picture.

Guarantees: every choice depends on the clip alone; JPEGs carry no date and no software tag, so the same frames give the
same bytes; frames are given as RGB arrays already upright and with square pixels. Text uses Pillow's built-in font.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache, cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from contracts.values import FrameRange

Rgb = NDArray[np.uint8]

POSTER_SIDE = 1280
THUMBNAIL_SIDE = 480
CELL_SIDE = 240
SPRITE_SIDE = 160
SPRITES = 100
SPRITE_COLUMNS = 10
WAVE_HEIGHT = 160
WAVE_WIDTHS = (320, 1600)
SHEET_CELLS = 20
SHEET_COLUMNS = 5
THUMBNAIL_POINTS = (Fraction(1, 10), Fraction(1, 2), Fraction(9, 10))

_BACKGROUND = (18, 18, 20)
_INK = (235, 235, 235)
_RULE = (70, 70, 76)
_WAVE = (110, 190, 250)
_PEAKS_HEADER = 20
_SIMPLER = str.maketrans({"–": "-", "—": "-", "‘": "'", "’": "'", "“": '"', "”": '"', "…": "..."})


@dataclass(frozen=True)
class Plan:
    """The frames (source numbering) that a clip's pictures are made of, each in ascending order without repeats.

    Sprites are taken every ``every`` frames from the first one on.
    """

    sheet: tuple[int, ...]
    thumbnails: tuple[int, ...]
    sprites: tuple[int, ...] = ()
    every: int = 1

    @cached_property
    def large(self) -> frozenset[int]:
        """Every frame that is a candidate for the poster."""
        return frozenset(self.sheet) | frozenset(self.thumbnails)

    @cached_property
    def sprite_set(self) -> frozenset[int]:
        """The sprites' frames."""
        return frozenset(self.sprites)

    @property
    def wanted(self) -> frozenset[int]:
        """Every frame that some picture needs."""
        return self.large | self.sprite_set


def plan_pictures(frames: FrameRange, *, cells: int = SHEET_CELLS, rate: Fraction = Fraction(25)) -> Plan:
    """Cells spread evenly, each from the middle of its share; thumbnails at fixed points; sprites about a second apart."""
    count = len(frames)
    cells = min(cells, count)
    sheet = tuple(frames.start + (2 * cell + 1) * count // (2 * cells) for cell in range(cells))
    points = {frames.start + min(count - 1, int(point * count)) for point in THUMBNAIL_POINTS}
    every = max(1, round(rate), -(-count // SPRITES))
    return Plan(sheet, tuple(sorted(points)), tuple(range(frames.start, frames.end, every)), every)


def interest(picture: Rgb) -> float:
    """How much there is to see: the spread of brightness plus that of its horizontal changes. A black frame scores 0."""
    luma = picture.astype(np.float32).mean(axis=2)
    return round(float(luma.std()) + 2.0 * float(np.abs(np.diff(luma, axis=1)).mean()), 4)


def fit(width: int, height: int, side: int) -> tuple[int, int]:
    """The size of a picture shrunk so that its longest side is at most ``side``; at least one pixel each way."""
    longest = max(width, height)
    if longest <= side:
        return width, height
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


def shrink(picture: Rgb, side: int) -> Rgb:
    """The picture with its longest side at most ``side`` pixels, area-averaged; never enlarged."""
    height, width = picture.shape[:2]
    size = fit(width, height, side)
    if size == (width, height):
        return picture
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX, reducing_gap=None))


def jpeg(picture: Rgb | Image.Image, quality: int = 85) -> bytes:
    """The picture as a baseline 4:2:0 JPEG without metadata."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0", optimize=False, progressive=False)
    return buffer.getvalue()


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Width and height of a picture that decodes to its end; None if it does not."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            return image.size
    except (OSError, ValueError, SyntaxError):
        return None


@dataclass(frozen=True)
class Cell:
    """One picture of a contact sheet and the text below it."""

    picture: Rgb
    label: str


def contact_sheet(title: str, subtitle: str, cells: Sequence[Cell], *, columns: int = SHEET_COLUMNS) -> Image.Image:
    """The cells in rows under a heading, each with its label. All pictures have one size."""
    if not cells:
        message = "a contact sheet shows at least one picture"
        raise ValueError(message)
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    height, width = cells[0].picture.shape[:2]
    gap, text, head = 8, 18, 52
    # Very narrow pictures still leave room for a timecode.
    pitch = max(width, 132) + gap
    sheet = Image.new("RGB", (max(columns * pitch + gap, 320), head + rows * (height + text + gap) + gap), _BACKGROUND)
    draw = ImageDraw.Draw(sheet)
    _write(draw, (gap, 6), title, size=18, room=sheet.width - 2 * gap)
    _write(draw, (gap, 30), subtitle, size=12, room=sheet.width - 2 * gap)
    for place, cell in enumerate(cells):
        left = gap + (place % columns) * pitch
        top = head + (place // columns) * (height + text + gap)
        sheet.paste(Image.fromarray(cell.picture), (left + (pitch - gap - width) // 2, top))
        _write(draw, (left, top + height + 2), cell.label, size=12, room=pitch - gap)
    return sheet


def sprite_sheet(tiles: Sequence[Rgb], *, columns: int = SPRITE_COLUMNS) -> tuple[Image.Image, int, int]:
    """The tiles (all of one size) side by side from the top left, without gaps; and how many columns and rows."""
    if not tiles:
        message = "a sprite sheet shows at least one picture"
        raise ValueError(message)
    height, width = tiles[0].shape[:2]
    columns = min(columns, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for place, tile in enumerate(tiles):
        row, column = divmod(place, columns)
        sheet[row * height : (row + 1) * height, column * width : (column + 1) * width] = tile
    return Image.fromarray(sheet), columns, rows


def waveform(peaks: bytes) -> tuple[bytes, int, int]:
    """Peaks (the file of ``review_sound``) as a PNG, and its width and height in pixels.

    One column for each bucket up to the widest picture; beyond that a column shows the extremes of several.
    """
    pairs = np.frombuffer(peaks, np.int8, offset=_PEAKS_HEADER).reshape(-1, 2).astype(np.int32)
    narrowest, widest = WAVE_WIDTHS
    width = max(narrowest, min(widest, len(pairs)))
    canvas = np.empty((WAVE_HEIGHT, width, 3), np.uint8)
    canvas[:] = _BACKGROUND
    middle = WAVE_HEIGHT // 2
    canvas[middle] = _RULE
    if len(pairs):
        # Each column begins with a bucket of its own, or repeats the one before: reduceat takes a single one then.
        starts = np.arange(width) * len(pairs) // width
        top = middle - np.maximum.reduceat(pairs[:, 1], starts) * (middle - 2) // 127
        bottom = middle - np.minimum.reduceat(pairs[:, 0], starts) * (middle - 2) // 127
        rows = np.arange(WAVE_HEIGHT)[:, None]
        canvas[(rows >= np.minimum(top, bottom)) & (rows <= np.maximum(top, bottom))] = _WAVE
    buffer = io.BytesIO()
    Image.fromarray(canvas).save(buffer, "PNG", optimize=False, compress_level=6)
    return buffer.getvalue(), width, WAVE_HEIGHT


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size)


def _write(draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, *, size: int, room: int) -> None:
    font = _font(size)
    # The built-in font draws Latin-1 only; what it lacks is shown as a question mark rather than as a box.
    shown = "".join(
        letter if ord(letter) < 256 and letter.isprintable() else "?" for letter in text.translate(_SIMPLER)
    )
    while shown and draw.textlength(shown, font=font) > room:
        shown = shown[:-4] + "..." if len(shown) > 6 else shown[:-1]
    draw.text(place, shown, font=font, fill=_INK)


def clock(seconds: Fraction) -> str:
    """A time as ``HH:MM:SS.mmm``, cut off, not rounded: a frame is never labelled later than it is shown."""
    thousandths = int(seconds * 1000)
    whole, thousandths = divmod(thousandths, 1000)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours:02d}:{minute:02d}:{second:02d}.{thousandths:03d}"
