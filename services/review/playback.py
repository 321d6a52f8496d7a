"""What a player needs of a stored frame index and of the curves of an overview, cut out and kept at hand.

Pure but for the object store that is handed in. Indexes and blocks are kept by their digest, so a remade one is read anew.
"""

from __future__ import annotations

import io
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from contracts.values import ObjectRef
from services.chassis.objects import ObjectStore
from services.media.frame_index import FrameIndex
from services.review.domain.marks import Refused

MOST_FRAMES = 20_000
"""Frames of one slice."""
MOST_VALUES = 4_000
"""Points of a curve."""
LARGEST_CURVE = 50_000_000
"""Bytes of a stored curve that is read at all."""
KEPT = 16
BLOCK = 256 * 1024
"""Bytes that are read of a proxy around a frame: what lies beside it is asked for next."""
KEPT_BLOCKS = 256
KEPT_FOR = timedelta(seconds=60)
"""How long a block serves; an object that was deleted is gone by then."""
_PEAKS = struct.Struct("<4sHHIII")


@dataclass(frozen=True)
class Slice:
    """Frames ``[first, first + len(sizes))`` of a proxy: where their bytes lie side by side, and when they are shown."""

    first: int
    offset: int
    sizes: tuple[int, ...]
    pts: tuple[int, ...]


class Indexes:
    """Frame indexes read lately. Not for use from several threads at once without harm, but harmless: a race reads twice."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self._kept: OrderedDict[str, FrameIndex] = OrderedDict()

    def of(self, stored: ObjectRef) -> FrameIndex:
        """The index of a stored object. Raises the store's errors, or ``UnreadableIndex``."""
        found = self._kept.get(stored.sha256)
        if found is None:
            found = FrameIndex.from_bytes(self._objects.get_bytes(stored.key))
            self._kept[stored.sha256] = found
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return found


class Blocks:
    """Blocks of stored objects that were read lately, each by the digest of its object.

    A frame beside one that was asked for costs no read of the store. What is kept is what the digest names, even if another
    object lies there by now.
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self._clock = clock
        self._kept: OrderedDict[tuple[str, int], tuple[datetime, bytes]] = OrderedDict()

    async def read(
        self, sha256: str, size: int, start: int, end: int, fetch: Callable[[int, int], Awaitable[bytes]]
    ) -> bytes:
        """The bytes ``[start, end)`` of an object; ``fetch`` reads the blocks that are not at hand."""
        parts = []
        for number in range(start // BLOCK, (end - 1) // BLOCK + 1):
            first = number * BLOCK
            block = self._at_hand((sha256, number))
            if block is None:
                block = await fetch(first, min(size, first + BLOCK))
                self._keep((sha256, number), block)
            parts.append(block[max(0, start - first) : end - first])
        return b"".join(parts)

    def _at_hand(self, place: tuple[str, int]) -> bytes | None:
        until, block = self._kept.get(place, (None, b""))
        if until is None or until < self._clock():
            return None
        self._kept.move_to_end(place)
        return block

    def _keep(self, place: tuple[str, int], block: bytes) -> None:
        self._kept[place] = (self._clock() + KEPT_FOR, block)
        self._kept.move_to_end(place)
        while len(self._kept) > KEPT_BLOCKS:
            self._kept.popitem(last=False)


def cut(index: FrameIndex, start: int, end: int) -> Slice:
    """The slice of ``[start, end)``, cut to the video and to the most that is given at once.

    Raises ``Refused`` when no frame of the video is in it.
    """
    start, end = max(0, start), min(len(index), end)
    if start >= end:
        raise Refused(
            f"The video has the frames 0 to {len(index) - 1}; ask for some of them.", code="review.unknown_frame"
        )
    end = min(end, start + MOST_FRAMES)
    return Slice(
        start,
        index.address(start)[0],
        tuple(index.sizes[start:end].tolist()),
        tuple(index.pts[start:end].tolist()),
    )


def score_curve(data: bytes) -> tuple[int, list[float]] | None:
    """A detector's stored scores as ``(frames per value, values)``, each value the highest of its frames; None if unreadable."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as archive:
            curve = np.nan_to_num(np.asarray(archive["curve"], np.float64).ravel())
    except (ValueError, KeyError, OSError, zipfile.BadZipFile):
        return None
    if not len(curve):
        return None
    every = -(-len(curve) // MOST_VALUES)
    padded = np.concatenate((curve, np.repeat(curve[-1:], -len(curve) % every)))
    return every, [round(value, 4) for value in padded.reshape(-1, every).max(axis=1).tolist()]


def peak_curve(data: bytes) -> tuple[float, list[tuple[int, int]]] | None:
    """Stored waveform peaks as ``(seconds per value, [(lowest, highest)])``; None if unreadable."""
    if len(data) < _PEAKS.size:
        return None
    magic, version, _, rate, bucket, buckets = _PEAKS.unpack_from(data)
    if (magic, version) != (b"HPKS", 1) or not rate or len(data) != _PEAKS.size + 2 * buckets:
        return None
    pairs = np.frombuffer(data, np.int8, offset=_PEAKS.size).reshape(-1, 2)
    if not len(pairs):
        return None
    every = -(-len(pairs) // MOST_VALUES)
    padded = np.concatenate((pairs, np.repeat(pairs[-1:], -len(pairs) % every, axis=0))).reshape(-1, every, 2)
    lows, highs = padded[:, :, 0].min(axis=1).tolist(), padded[:, :, 1].max(axis=1).tolist()
    return every * bucket / rate, list(zip(lows, highs, strict=True))
