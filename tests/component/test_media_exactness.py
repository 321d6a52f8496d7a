"""Proxies are what a browser needs, masters keep what the source says of itself, and both have the same bytes again."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.master import make_master
from services.media.probe import probe
from services.media.review_media import make_review_media
from tests.support.made_videos import make_video
from tests.support.source_matrix import QUIET_265, make_source


def test_the_proxy_is_what_a_browser_needs(tmp_path: Path):
    source = make_source("late.mp4", tmp_path)
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
    source = make_video(tmp_path / "a.mp4", codec="libx265", options=QUIET_265, colour=colour, rotation=-90)
    master = make_master(source, probe(source), tmp_path)
    with FrameSource(master.path, master.index) as frames:
        for _, frame in frames.frames(FrameRange(start=5, end=7)):
            assert (frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc) == colour
            assert frame.rotation == -90
    assert probe(master.path).facts.video.color_transfer == "smpte2084"


LEAVES_EARLY = """
import sys
from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.frame_index import FrameIndex

index = FrameIndex.from_bytes(open(sys.argv[2], "rb").read())
for _ in range(5):
    with FrameSource(sys.argv[1], index, thread_count=3) as source:
        frames = source.frames(FrameRange(start=0, end=30))
        next(frames)
        frames.close()
print("left")
"""


def test_a_decoder_that_is_at_work_can_be_closed(tmp_path: Path):
    source = make_video(tmp_path / "a.mp4", frames=30, size=(1280, 720))
    master = make_master(source, probe(source), tmp_path)
    review = make_review_media(source, probe(source), tmp_path)
    for media, index in ((master.path, master.index), (review.proxy, review.index)):
        (spelt := tmp_path / "index").write_bytes(index.to_bytes())
        # In a process of its own: one that holds the interpreter's lock and waits for itself cannot even be timed out.
        arguments = [sys.executable, "-c", LEAVES_EARLY, media, spelt]
        assert subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60).stdout == "left\n"


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
