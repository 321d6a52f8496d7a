"""Names of the colour tags, as every FFmpeg tool spells them, and what an untagged picture is taken for.

The codec library speaks of colour in code points (ITU-T H.273); events, filters and people use names.
"""

from __future__ import annotations

RANGES = {1: "tv", 2: "pc"}
SPACES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    12: "chroma-derived-nc",
    13: "chroma-derived-c",
    14: "ictcp",
}
TRANSFERS = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
HDR_TRANSFERS = frozenset({16, 18})
"""PQ and HLG: pictures that an ordinary screen shows right only after tone mapping."""

UNSPECIFIED = 2


def assumed_space(space: int, width: int, height: int) -> str:
    """The YUV matrix of a picture: its tag, or for untagged ones BT.601 up to standard definition and BT.709 above."""
    if space in SPACES and space != 0:
        return SPACES[space]
    return "bt709" if width > 1024 or height > 576 else "smpte170m"


def assumed_range(color_range: int, pixel_format: str) -> str:
    """``tv`` or ``pc``: the tag, or the pixel format's own meaning."""
    if color_range in RANGES:
        return RANGES[color_range]
    return "pc" if pixel_format.startswith(("yuvj", "rgb", "bgr", "gbr", "0rgb", "0bgr", "pal")) else "tv"
