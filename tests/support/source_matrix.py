"""Sources as the world makes them, small, each of whose frames carries its number: what ``make_video`` is told for each."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from tests.support.made_videos import make_video, read_number

_RANDOM = random.Random(3)
IRREGULAR = np.cumsum([0] + [_RANDOM.choice([1, 3, 40, 41, 900, 2000]) for _ in range(59)]).tolist()
QUIET_265 = {"x265-params": "log-level=none:bframes=4:keyint=20"}
NTSC = Fraction(30_000, 1001)
SUBTITLES = "1\n00:00:00,200 --> 00:00:00,700\nGuten <i>Tag</i>\n\n2\n00:00:01,000 --> 00:00:04,000\nAuf Wiedersehen\n"
"""The second cue reaches past the video's end."""

MATRIX: dict[str, dict[str, Any]] = {
    "b_frames.mp4": {"options": {"bf": "3", "g": "20"}},
    "long_gop.mp4": {"frames": 130, "options": {"bf": "4", "g": "250", "b-pyramid": "normal"}, "audio": "aac"},
    "open_gop.mkv": {"frames": 90, "options": {"bf": "3", "g": "15", "x264-params": "open-gop=1"}},
    "open_gop.ts": {"frames": 90, "options": {"bf": "3", "g": "15", "x264-params": "open-gop=1"}, "audio": "mp2"},
    "open_gop_265.mp4": {"codec": "libx265", "frames": 70, "options": {"x265-params": "log-level=none:bframes=3:keyint=15:open-gop=1"}},
    "variable.mp4": {"pts": IRREGULAR, "timebase": Fraction(1, 90_000), "options": {"bf": "2"}},
    "variable.mkv": {"pts": IRREGULAR, "timebase": Fraction(1, 1000), "audio": "libopus"},
    "edit_list.mp4": {"pts": [n * 512 - 5120 for n in range(40)], "timebase": Fraction(1, 12_800), "audio": "aac"},
    "negative.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le", "pts": [n * 512 - 100 for n in range(40)], "timebase": Fraction(1, 12_800)},
    "late.mp4": {"pts": [n * 512 + 5120 for n in range(40)], "timebase": Fraction(1, 12_800), "audio": "aac"},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10"}},
    "odd_444.mkv": {"size": (161, 121), "pixel_format": "yuv444p"},
    "odd_420.webm": {"codec": "libvpx-vp9", "size": (161, 121)},
    "turned_left.mp4": {"rotation": 90},
    "turned_right.mp4": {"rotation": -90, "rate": NTSC},
    "upside_down.mp4": {"rotation": 180},
    "ten_bit.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": QUIET_265, "frames": 60},
    "ten_bit_422.mkv": {"pixel_format": "yuv422p10le", "options": {"g": "12"}},
    "eight_bit_422.mov": {"pixel_format": "yuv422p", "options": {"g": "12"}},
    "ten_bit_444.mkv": {"pixel_format": "yuv444p10le", "options": {"g": "12"}},
    "hdr_pq.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": QUIET_265, "colour": (1, 9, 9, 16)},
    "hdr_hlg.mkv": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": QUIET_265, "colour": (1, 9, 9, 18)},
    "interlaced.mkv": {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}},
    "interlaced_2.ts": {"codec": "mpeg2video", "options": {"flags": "+ildct+ilme", "bf": "2", "g": "12"}, "audio": "mp2"},
    "anamorphic.mp4": {"sample_aspect_ratio": Fraction(64, 45)},
    "rgb.mov": {"codec": "png", "pixel_format": "rgb24"},
    "intra_422.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le", "audio": "pcm_s16le"},
    "full_range.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "full_range.mp4": {"colour": (2, 1, 1, 1), "rate": Fraction(60_000, 1001)},
    "surround.mkv": {"audio": "flac", "layout": "5.1", "sample_rate": 44_100, "options": {"bf": "2"}},
    "av1.mp4": {"codec": "libsvtav1", "pixel_format": "yuv420p10le", "options": {"preset": "8", "crf": "18"}},
    "no_times.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "hidden_frames.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}, "frames": 80},
    "subtitled.mkv": {"audio": "aac", "options": {"bf": "2"}, "subtitles": SUBTITLES},
    "one_frame.mp4": {"frames": 1},
}  # fmt: skip

LEFT_OUT = {"edit_list.mp4": 10, "negative.mov": 1}
"""How many pictures at its beginning the edit list of a source leaves out."""


def make_source(name: str, folder: Path) -> Path:
    """The source of that name."""
    return make_video(folder / name, **MATRIX[name])


def numbers_of(name: str) -> range:
    """The numbers that its pictures carry, in order."""
    said = MATRIX[name]
    first = LEFT_OUT.get(name, 0)
    return range(first, len(said.get("pts", range(said.get("frames", 40)))))


def number_in(frame: av.VideoFrame, rotation: int = 0) -> int | None:
    """The number in a frame of any pixel format, turned back by the rotation with which the source is shown."""
    grey = frame.reformat(format="gray", threads=1)
    plane = grey.planes[0]
    luma = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: grey.height, : grey.width]
    return read_number(np.rot90(luma, -rotation // 90 % 4))
