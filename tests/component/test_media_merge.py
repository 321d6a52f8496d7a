"""Downloads in two parts become one file without touching a packet; faulty ones are re-encoded frame for frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.errors import MediaError
from services.media.merge import merge, normalise
from services.media.probe import probe
from tests.support.made_videos import luma_of, make_video, read_number


def packets(path: Path, kind: str) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(**{kind: 0}) if packet.size]


@pytest.mark.parametrize(
    ("video", "audio", "suffix"),
    [("v.mp4", ("a.m4a", "aac"), ".mp4"), ("v.webm", ("a.webm", "libopus"), ".mkv"), ("v.ts", ("a.ts", "aac"), ".mp4")],
)
def test_two_parts_become_one_file_that_starts_at_zero(video: str, audio: tuple[str, str], suffix: str, tmp_path: Path):
    codec = "libvpx" if video.endswith("webm") else "libx264"
    pictures = make_video(tmp_path / video, codec=codec, frames=50, options={"g": "12"})
    sounds = make_video(tmp_path / audio[0], codec=codec, frames=50, audio=audio[1])
    path = merge(pictures, sounds, tmp_path / "merged.part")
    assert path.suffix == suffix
    facts = probe(path)
    assert facts.promised_frames == 50
    assert min(facts.start, facts.audio_start) <= Fraction(1, 10)
    assert abs(facts.start - facts.audio_start) < Fraction(1, 10)
    if not video.endswith("ts"):
        assert packets(path, "video") == packets(pictures, "video")
        assert packets(path, "audio") == packets(sounds, "audio")


def test_a_part_without_its_stream_is_refused(tmp_path: Path):
    silent = make_video(tmp_path / "v.mp4")
    with pytest.raises(MediaError) as caught:
        merge(silent, silent, tmp_path / "merged")
    assert caught.value.code == "media.no_audio_stream"


@pytest.mark.parametrize("changes", [{}, {"rotation": -90, "size": (161, 121), "pixel_format": "yuv444p"}])
def test_normalising_keeps_every_frame_at_its_time(changes: dict, tmp_path: Path):
    times = [0, 40, 81, 200, 240, 900, 940]
    source = make_video(
        tmp_path / "a.mp4", pts=[t + 300 for t in times], timebase=Fraction(1, 1000), audio="aac", **changes
    )
    path = normalise(source, probe(source), tmp_path / "normal.part")
    facts = probe(path)
    assert (facts.facts.video.codec, facts.facts.audio.codec, facts.start) == ("h264", "aac", 0)
    assert facts.facts.video.rotation == changes.get("rotation", 0)
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    with FrameSource(path, None, facts.facts.video.stream_index) as frames:
        got = [(read_number(luma_of(frame)), frame.pts * frame.time_base)
               for _, frame in frames.frames(FrameRange(start=0, end=len(times)))]  # fmt: skip
    assert got == [(number, Fraction(t, 1000)) for number, t in enumerate(times)]
