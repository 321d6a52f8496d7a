"""Draws a watermark into frames and pictures.

Guarantees: it is drawn in the picture's own colours and bit depth, so that nothing outside it changes by a single bit; the
same mark gives the same bytes.
"""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from contracts.errors import Permanent
from services.media.errors import UnsupportedPixels
from services.media.shaping import Colours
from services.media.watermark import Watermark

LARGEST_PIXELS = 4096 * 4096

_LUMA_WEIGHTS = {1: (0.2126, 0.0722), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
_BT601 = (0.299, 0.114)
_REFERENCE_WHITE = {16: 0.58, 18: 0.75}
"""Where the white of an ordinary screen lies in PQ and HLG signals (ITU-R BT.2408)."""


def drawn(mark: Watermark, size: tuple[int, int]) -> tuple[int, int, NDArray[np.float32]]:
    """The mark for a picture of that size: left, top, and float32[height, width, 4] of RGB and opacity, from 0 to 1.

    Raises:
        Permanent: ``watermark.unreadable``.
    """
    width, height = size
    side = min(width, height)
    tall = max(1, round(mark.height * side))
    margin = round(mark.margin * side)
    image = _lettered(mark.text, tall) if mark.text else _opened(mark.picture)
    scale = min(
        tall / image.height, max(1, width - 2 * margin) / image.width, max(1, height - 2 * margin) / image.height
    )
    image = image.resize(
        (max(1, round(image.width * scale)), max(1, round(image.height * scale))), Image.Resampling.LANCZOS
    )
    left = {"l": margin, "c": (width - image.width) // 2, "r": width - image.width - margin}[_across(mark.position)]
    top = {"t": margin, "m": (height - image.height) // 2, "b": height - image.height - margin}[_down(mark.position)]
    pixels = np.asarray(image, np.float32) / np.float32(255)
    pixels[:, :, 3] *= np.float32(mark.opacity)
    return max(0, left), max(0, top), pixels


def _across(position: str) -> str:
    return "l" if position.endswith("left") else "r" if position.endswith("right") else "c"


def _down(position: str) -> str:
    return "t" if position.startswith("top") else "b" if position.startswith("bottom") else "m"


def _lettered(text: str, tall: int) -> Image.Image:
    # Drawn larger than needed and shrunk, so that small letters have smooth edges; the outline keeps them legible.
    size = 2 * max(8, tall)
    stroke = max(1, size // 14)
    font: Any = ImageFont.load_default(size)
    left, top, right, bottom = font.getbbox(text, stroke_width=stroke)
    image = Image.new("RGBA", (max(1, int(right - left)), max(1, int(bottom - top))), (0, 0, 0, 0))
    ImageDraw.Draw(image).text(
        (-left, -top), text, font=font, fill=(255, 255, 255, 255), stroke_width=stroke, stroke_fill=(0, 0, 0, 160)
    )
    return image


def _opened(data: bytes) -> Image.Image:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "WEBP")) as image:
            if image.width * image.height > LARGEST_PIXELS:
                raise Permanent(
                    f"The watermark's picture has {image.width}x{image.height} pixels; {LARGEST_PIXELS} are the most. "
                    "Put a smaller one into the plan.",
                    code="watermark.unreadable",
                )
            return image.convert("RGBA")
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise Permanent(
            "The watermark's picture cannot be read. Put a whole PNG, JPEG or WebP file into the plan.",
            code="watermark.unreadable",
        ) from error


def marked(mark: Watermark, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """An RGB picture (uint8[height, width, 3]) with the mark on it; the one given stays as it is."""
    height, width = picture.shape[:2]
    left, top, pixels = drawn(mark, (width, height))
    result = picture.copy()
    part = result[top : top + pixels.shape[0], left : left + pixels.shape[1]]
    pixels = pixels[: part.shape[0], : part.shape[1]]
    opacity = pixels[:, :, 3:]
    part[:] = np.rint(part * (1 - opacity) + 255 * pixels[:, :, :3] * opacity).astype(np.uint8)
    return result


class Overlay:
    """The mark made ready for planar YUV frames of one size and one set of colour tags."""

    def __init__(self, mark: Watermark, size: tuple[int, int], colours: Colours) -> None:
        self._size = size
        self._colours = colours
        left, top, pixels = drawn(mark, size)
        # Chroma samples belong to two by two pixels: the mark begins at a whole one.
        self._left, self._top = left - left % 2, top - top % 2
        wide, high = size[0] - self._left, size[1] - self._top
        self._pixels = pixels[:high, :wide]
        self._planes: dict[str, list[tuple[slice, slice, NDArray[np.float32], NDArray[np.float32]]]] = {}

    def mark(self, frame: VideoFrame) -> None:
        """Draws the mark into the frame itself.

        Raises:
            UnsupportedPixels: the frame is not planar YUV.
        """
        name = frame.format.name
        if name not in self._planes:
            self._planes[name] = self._prepared(frame)
        frame.make_writable()
        kind = np.dtype(np.uint16 if frame.format.components[0].bits > 8 else np.uint8)
        for plane, (rows, columns, weight, paint) in zip(frame.planes, self._planes[name], strict=True):
            samples = np.frombuffer(memoryview(plane), kind).reshape(plane.height, -1)[rows, columns]
            samples[:] = np.rint(samples * weight + paint).astype(kind)

    def _prepared(self, frame: VideoFrame) -> list[tuple[slice, slice, NDArray[np.float32], NDArray[np.float32]]]:
        form = frame.format
        if not form.name.startswith("yuv") or len(form.components) != 3 or form.name.endswith("be"):
            raise UnsupportedPixels(
                f"A watermark cannot be drawn into {form.name}. Ask for a delivery profile instead."
            )
        bits = form.components[0].bits
        opacity = self._pixels[:, :, 3]
        found = []
        for plane, values in zip(frame.planes, self._as_yuv(bits), strict=True):
            down, across = -(-frame.height // plane.height), -(-frame.width // plane.width)
            share = _averaged(opacity, down, across)
            # Colours count by how much of them is seen, so that the transparent surroundings lend none.
            paint = _averaged(values * opacity, down, across)
            rows = slice(self._top // down, self._top // down + share.shape[0])
            columns = slice(self._left // across, self._left // across + share.shape[1])
            share = share[: plane.height - rows.start, : plane.width - columns.start]
            found.append((rows, columns, 1 - share, paint[: share.shape[0], : share.shape[1]]))
        return found

    def _as_yuv(self, bits: int) -> list[NDArray[np.float32]]:
        white = _REFERENCE_WHITE.get(self._colours.transfer, 1.0)
        red, green, blue = (self._pixels[:, :, channel] * white for channel in range(3))
        kr, kb = _LUMA_WEIGHTS.get(self._colours.space, _BT601)
        luma = kr * red + (1 - kr - kb) * green + kb * blue
        from_blue, from_red = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
        step = float(1 << (bits - 8))
        if self._colours.range == 2:
            full, middle = float((1 << bits) - 1), float(1 << (bits - 1))
            return [luma * full, middle + from_blue * full, middle + from_red * full]
        return [(16 + 219 * luma) * step, (128 + 224 * from_blue) * step, (128 + 224 * from_red) * step]


def _averaged(values: NDArray[np.float32], down: int, across: int) -> NDArray[np.float32]:
    height, width = values.shape
    padded = np.pad(values, ((0, -height % down), (0, -width % across)))
    tall, wide = padded.shape
    parts = padded.reshape(tall // down, down, wide // across, across)
    return np.asarray(parts.mean(axis=(1, 3)), np.float32)
