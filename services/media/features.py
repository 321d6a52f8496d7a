"""Small frames and statistics of every frame, made in the one decode pass so that detection needs no other.

The file is an ordinary NumPy ``.npz`` with these arrays, one row per frame:

    frames       uint8[n, 27, 48, 3]  RGB, area-averaged from the upright picture
    luma_mean    float32[n]           mean BT.709 luma of the small frame, 0 to 255
    luma_std     float32[n]           its standard deviation
    saturation   float32[n]           mean of (max - min) over R, G, B, 0 to 255
    difference   float32[n]           mean absolute difference to the frame before, 0 to 255; 0 for frame 0
    sharpness    float32[n]           mean absolute horizontal step of the proxy's luma, 0 to 255

Guarantees: made with integer sums, so that a retry writes the same bytes; rows go to disk a few dozen at a time, so that
memory does not grow with the video. Reading needs NumPy alone.
"""

from __future__ import annotations

import io
import shutil
import zipfile
from array import array
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 48, 27
CONTENT_TYPE = "application/x-npz"
_STATISTICS = ("luma_mean", "luma_std", "saturation", "difference", "sharpness")
_LONG_AGO = (1980, 1, 1, 0, 0, 0)
_AT_ONCE = 32
"""Small frames whose statistics are made together."""


@dataclass(frozen=True, eq=False)
class Features:
    """What a detector sees; shapes and units as in the module's table."""

    frames: NDArray[np.uint8]
    luma_mean: NDArray[np.float32]
    luma_std: NDArray[np.float32]
    saturation: NDArray[np.float32]
    difference: NDArray[np.float32]
    sharpness: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.frames)


def load_features(data: bytes | BinaryIO) -> Features:
    """Reads what ``FeatureWriter`` wrote; of a file object only what is needed at a time."""
    with np.load(io.BytesIO(data) if isinstance(data, bytes) else data, allow_pickle=False) as arrays:
        return Features(frames=arrays["frames"], **{name: arrays[name] for name in _STATISTICS})


def map_frames(path: Path, scratch: Path) -> NDArray[np.uint8]:
    """The small frames alone, laid out in the folder ``scratch`` and mapped from there.

    So a film of any length takes no more memory than what is looked at; the array is as in the module's table.
    """
    laid_out = scratch / "frames.npy"
    with zipfile.ZipFile(path) as bundle, bundle.open("frames.npy") as member, laid_out.open("wb") as rows:
        shutil.copyfileobj(member, rows, 1 << 20)
    mapped: NDArray[np.uint8] = np.load(laid_out, mmap_mode="r", allow_pickle=False)
    return mapped


class FeatureWriter:
    """Writes rows as they come; leave the context to finish the file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows_path = path.with_suffix(".rows")
        self._rows = self._rows_path.open("wb")
        self._statistics = {name: array("f") for name in _STATISTICS}
        self._waiting: list[NDArray[np.uint8]] = []
        self._before: NDArray[np.uint8] | None = None
        self._steps: NDArray[np.uint8] = np.empty((2, 0, 0), np.uint8)
        self.count = 0

    def add(self, small: NDArray[np.uint8], luma: NDArray[np.uint8]) -> None:
        """One frame: ``small`` uint8[27, 48, 3] RGB, ``luma`` uint8[height, width] of the proxy's picture.

        ``small`` is looked at later, and must not change.
        """
        self._waiting.append(small)
        if len(self._waiting) == _AT_ONCE:
            self._take()
        left, right = luma[::4, :-1], luma[::4, 1:]
        if self._steps.shape[1:] != left.shape:
            self._steps = np.empty((2, *left.shape), np.uint8)
        higher, lower = self._steps
        # In bytes throughout, which a processor takes by the dozen, and in the same memory each time. The sum of 16
        # million steps still fits: a proxy has no more.
        np.maximum(left, right, out=higher)
        np.minimum(left, right, out=lower)
        steps = int(np.subtract(higher, lower, out=higher).sum(dtype=np.uint32))
        self._statistics["sharpness"].append(steps / max(1, left.size))
        self.count += 1

    def _take(self) -> None:
        """Writes the small frames that wait, and their statistics: for many at once, since each alone is next to nothing."""
        if not self._waiting:
            return
        block = np.stack(self._waiting)
        self._waiting.clear()
        self._rows.write(block.tobytes())
        red, green, blue = (block[..., channel].astype(np.int32) for channel in range(3))
        grey = ((2126 * red + 7152 * green + 722 * blue) // 10).astype(np.int64)
        spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
        before = np.concatenate([block[:1] if self._before is None else self._before[np.newaxis], block[:-1]])
        self._before = block[-1]
        changes = (np.maximum(block, before) - np.minimum(block, before)).sum(axis=(1, 2, 3), dtype=np.int64)
        sums = [grey.sum(axis=(1, 2)), (grey * grey).sum(axis=(1, 2)), spread.sum(axis=(1, 2), dtype=np.int64), changes]
        pixels = grey[0].size
        keep = self._statistics
        for total, squares, saturation, change in zip(*(values.tolist() for values in sums), strict=True):
            keep["luma_mean"].append(total / pixels / 1000)
            keep["luma_std"].append(max(0, squares * pixels - total * total) ** 0.5 / pixels / 1000)
            keep["saturation"].append(saturation / pixels)
            keep["difference"].append(change / block[0].size)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._rows:
                if kind is None:
                    self._take()
            if kind is None:
                self._finish()
        finally:
            self._rows_path.unlink(missing_ok=True)

    def _finish(self) -> None:
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bundle:
            with (
                bundle.open(_member("frames.npy"), "w", force_zip64=True) as member,
                self._rows_path.open("rb") as rows,
            ):
                head = {"descr": "|u1", "fortran_order": False, "shape": (self.count, HEIGHT, WIDTH, 3)}
                np.lib.format.write_array_header_1_0(member, head)
                while block := rows.read(1 << 20):
                    member.write(block)
            for name in _STATISTICS:
                column = io.BytesIO()
                np.lib.format.write_array(column, np.asarray(self._statistics[name], np.float32))
                bundle.writestr(_member(f"{name}.npy"), column.getvalue())


def _member(name: str) -> zipfile.ZipInfo:
    """A zip entry without a clock in it."""
    entry = zipfile.ZipInfo(name, _LONG_AGO)
    entry.compress_type = zipfile.ZIP_DEFLATED
    return entry
