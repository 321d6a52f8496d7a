"""Frame n is frame n everywhere: a number in every picture is read back from proxies and masters of awkward sources."""

from __future__ import annotations

import random
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.digest import FrameDigest
from services.media.features import load_features
from services.media.frame_index import FrameIndex
from services.media.master import make_master
from services.media.probe import probe
from services.media.review_media import make_review_media
from tests.support.made_videos import luma_of, make_video, read_number

_RANDOM = random.Random(3)
_IRREGULAR = np.cumsum([0] + [_RANDOM.choice([1, 3, 40, 41, 900, 2000]) for _ in range(59)]).tolist()
_QUIET_265 = {"x265-params": "log-level=none:bframes=4:keyint=20"}

SOURCES = {
    "b_frames.mp4": {"options": {"bf": "3", "g": "20"}},
    "open_gop.mkv": {"frames": 90, "options": {"bf": "3", "g": "15", "x264-params": "open-gop=1"}},
    "open_gop.ts": {"frames": 90, "options": {"bf": "3", "g": "15", "x264-params": "open-gop=1"}, "audio": "mp2"},
    "variable.mp4": {"pts": _IRREGULAR, "timebase": Fraction(1, 90_000), "options": {"bf": "2"}},
    "variable.mkv": {"pts": _IRREGULAR, "timebase": Fraction(1, 1000), "audio": "libopus"},
    "edit_list.mp4": {"pts": [n * 512 - 5120 for n in range(40)], "timebase": Fraction(1, 12_800), "audio": "aac"},
    "late.mp4": {"pts": [n * 512 + 5120 for n in range(40)], "timebase": Fraction(1, 12_800), "audio": "aac"},
    "fragmented.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "10"}},
    "odd_444.mkv": {"size": (161, 121), "pixel_format": "yuv444p"},
    "odd_420.webm": {"codec": "libvpx-vp9", "size": (161, 121)},
    "turned_left.mp4": {"rotation": 90},
    "turned_right.mp4": {"rotation": -90},
    "upside_down.mp4": {"rotation": 180},
    "ten_bit.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": _QUIET_265, "frames": 60},
    "hdr_pq.mp4": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": _QUIET_265, "colour": (1, 9, 9, 16)},
    "hdr_hlg.mkv": {"codec": "libx265", "pixel_format": "yuv420p10le", "options": _QUIET_265, "colour": (1, 9, 9, 18)},
    "interlaced.mkv": {"options": {"flags": "+ildct+ilme", "x264-params": "tff=1"}},
    "anamorphic.mp4": {"sample_aspect_ratio": Fraction(64, 45)},
    "rgb.mov": {"codec": "png", "pixel_format": "rgb24"},
    "intra_422.mov": {"codec": "prores_ks", "pixel_format": "yuv422p10le", "audio": "pcm_s16le"},
    "full_range.avi": {"codec": "mjpeg", "pixel_format": "yuvj420p"},
    "no_times.avi": {"codec": "mpeg4", "options": {"bf": "2"}},
    "hidden_frames.webm": {"codec": "libvpx", "options": {"auto-alt-ref": "1", "lag-in-frames": "16"}, "frames": 80},
    "one_frame.mp4": {"frames": 1},
}


def shown(frame, rotation: int) -> np.ndarray:
    """The luma turned back as the source has it."""
    return np.rot90(luma_of(frame), -rotation // 90 % 4)


@pytest.mark.parametrize("name", SOURCES)
def test_every_frame_has_its_number_in_proxy_and_master(name: str, tmp_path: Path):
    source = make_video(tmp_path / name, **SOURCES[name])
    facts = probe(source)
    review, master = tmp_path / "review", tmp_path / "master"
    review.mkdir()
    master.mkdir()
    made = make_review_media(source, facts, review)
    count = made.frames
    first = 10 if name == "edit_list.mp4" else 0
    assert count == len(SOURCES[name].get("pts", range(SOURCES[name].get("frames", 40)))) - first

    index = FrameIndex.from_bytes(made.index_path.read_bytes())
    with FrameSource(made.proxy, index) as proxy:
        frames = list(proxy.frames(FrameRange(start=0, end=count)))
    rotation = facts.facts.video.rotation
    assert [read_number(shown(frame, rotation)) for _, frame in frames] == list(range(first, first + count))
    assert [frame.pts for _, frame in frames] == index.pts.tolist()
    assert len(load_features(made.features.read_bytes())) == count

    gold = make_master(source, facts, master)
    digest, source_digest = FrameDigest(), FrameDigest()
    with FrameSource(gold.path, gold.index) as kept:
        for _, frame in kept.frames(FrameRange(start=0, end=count)):
            digest.add(frame)
            assert frame.rotation == rotation
    assert digest.hexdigest() == gold.frames_sha256
    assert np.array_equal(gold.index.pts, index.pts)
    if facts.facts.video.pixel_format not in {"yuvj420p", "rgb24"}:
        with FrameSource(source, None, facts.facts.video.stream_index) as original:
            for _, frame in original.frames(FrameRange(start=0, end=count)):
                source_digest.add(frame)
        assert source_digest.hexdigest() == gold.frames_sha256


@pytest.mark.parametrize(
    "name", ["open_gop.mkv", "open_gop.ts", "b_frames.mp4", "variable.mp4", "no_times.avi", "fragmented.mp4"]
)
def test_any_range_of_a_long_gop_source_is_the_one_decoded_from_its_start(name: str, tmp_path: Path):
    source = make_video(tmp_path / name, **SOURCES[name])
    facts = probe(source)
    made = make_review_media(source, facts, tmp_path)
    index, count = made.index.without_addresses(), made.frames
    choose = random.Random(7)
    with FrameSource(source, index, facts.facts.video.stream_index) as frames:
        for _ in range(8):
            start = choose.randrange(count)
            end = choose.randrange(start + 1, min(count, start + 9) + 1)
            got = list(frames.frames(FrameRange(start=start, end=end)))
            assert [number for number, _ in got] == list(range(start, end))
            assert [read_number(shown(frame, 0)) for _, frame in got] == list(range(start, end))
            assert [frame.pts for _, frame in got] == index.pts[start:end].tolist()


def test_the_proxy_is_what_a_browser_needs(tmp_path: Path):
    source = make_video(tmp_path / "source.mp4", **SOURCES["late.mp4"])
    made = make_review_media(source, probe(source), tmp_path)
    data = made.proxy.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    assert b"elst" not in data
    assert b"soun" not in data
    assert made.index.codec == "avc1." + made.index.extradata[1:4].hex()
    offset, size = made.index.address(len(made.index) - 1)
    assert offset + size <= len(data)
    assert made.index.start == Fraction(2, 5)


def test_the_master_keeps_colour_tags_and_rotation(tmp_path: Path):
    colour = (1, 9, 9, 16)
    source = make_video(tmp_path / "a.mp4", codec="libx265", options=_QUIET_265, colour=colour, rotation=-90)
    master = make_master(source, probe(source), tmp_path)
    with FrameSource(master.path, master.index) as frames:
        for _, frame in frames.frames(FrameRange(start=5, end=7)):
            assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == colour
            assert frame.rotation == -90
    assert probe(master.path).facts.video.color_transfer == "smpte2084"


def test_the_same_source_gives_the_same_bytes(tmp_path: Path):
    source = make_video(tmp_path / "source.mkv", frames=60, audio="libopus", options={"bf": "2"})
    facts = probe(source)
    folders = []
    for name in ("once", "again"):
        folder = tmp_path / name
        folder.mkdir()
        make_review_media(source, facts, folder)
        (folder / "master").mkdir()
        make_master(source, facts, folder / "master")
        folders.append(
            {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        )
    assert folders[0].keys() == folders[1].keys()
    assert [name for name in folders[0] if folders[0][name] != folders[1][name]] == []
