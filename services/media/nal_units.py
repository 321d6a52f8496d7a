"""Whether a packet of H.264 or H.265 still has the form that it was written with, seen without decoding.

In MP4 and Matroska each unit is preceded by its length, so that overwritten or missing bytes nearly always leave lengths
that do not add up. It costs a few steps per unit.
"""

from __future__ import annotations

from collections.abc import Callable

Check = Callable[[memoryview], bool]


def length_check(codec: str, extradata: bytes | None) -> Check | None:
    """The check for a stream, by its codec and its decoder configuration; nothing where units carry no lengths."""
    if not extradata or extradata[0] != 1:
        return None
    if codec == "h264" and len(extradata) >= 7:
        width = (extradata[4] & 3) + 1
    elif codec == "hevc" and len(extradata) >= 23:
        width = (extradata[21] & 3) + 1
    else:
        return None
    return lambda packet: is_whole(packet, width)


def is_whole(packet: memoryview, width: int) -> bool:
    """Whether the units' lengths add up to the packet's, and each unit begins as a unit does."""
    place, end, empty = 0, len(packet), 0
    while place + width <= end:
        length = int.from_bytes(packet[place : place + width], "big")
        place += width
        if length == 0:
            empty += 1
            if empty > 1:
                return False
            continue
        if place + length > end or packet[place] & 0x80:
            return False
        place += length
    return place == end
