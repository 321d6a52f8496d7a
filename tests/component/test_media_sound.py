"""Sound stays with its pictures to the sample, wherever reading starts."""

from __future__ import annotations

import random
from collections import Counter
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from services.media.decode import AudioSource
from services.media.master import make_master
from services.media.probe import probe
from services.media.review_media import make_review_media
from services.media.timebase import sample_at
from tests.support.made_videos import clicks, make_video


def heard(path: Path, stream: int, start: Fraction, end: Fraction, origin: Fraction) -> np.ndarray:
    """[samples, channels]"""
    with AudioSource(path, stream, origin=origin) as source:
        return read(source, start, end)


def read(source: AudioSource, start: Fraction, end: Fraction) -> np.ndarray:
    """[samples, channels]"""
    return np.concatenate(
        [
            part.to_ndarray().T if part.format.is_planar else part.to_ndarray().reshape(-1, part.layout.nb_channels)
            for part in source.samples(start, end)
        ]
    )


def full_scale(sound: np.ndarray) -> float:
    return 1.0 if sound.dtype.kind == "f" else float(np.iinfo(sound.dtype).max)


def joined(transport_packets: bytes) -> bytes:
    """The transport packets counted anew, so that nothing seems lost where one file ends and another begins."""
    data, counts = bytearray(transport_packets), Counter()
    for at in range(0, len(data), 188):
        pid = (data[at + 1] & 0x1F) << 8 | data[at + 2]
        counts[pid] += data[at + 3] >> 4 & 1
        data[at + 3] = data[at + 3] & 0xF0 | counts[pid] & 0xF
    return bytes(data)


LATE = Fraction(1234, 10_000)


@pytest.mark.parametrize(
    ("name", "codec", "rate", "start"),
    [
        ("a.mp4", "aac", 48_000, 0), ("a.mp4", "aac", 44_100, LATE), ("a.mkv", "aac", 48_000, 0),
        ("a.mkv", "aac", 44_100, LATE), ("a.flv", "aac", 44_100, 0), ("b.mkv", "libmp3lame", 44_100, 0),
        ("c.mkv", "flac", 44_100, LATE), ("c.mkv", "mp2", 44_100, 0), ("c.mkv", "ac3", 44_100, LATE),
        ("a.mov", "pcm_s16le", 48_000, 0), ("d.mkv", "libopus", 48_000, 0), ("d.webm", "libopus", 48_000, LATE),
        ("a.ts", "mp2", 48_000, 0), ("a.ts", "aac", 44_100, LATE),
    ],
)  # fmt: skip
def test_a_range_is_the_part_of_the_whole_to_the_sample(
    name: str, codec: str, rate: int, start: Fraction, tmp_path: Path
):
    video = {"codec": "libvpx", "options": {"deadline": "realtime"}} if name.endswith(".webm") else {}
    source = make_video(
        tmp_path / name, frames=150, audio=codec, sample_rate=rate, audio_start=Fraction(start), **video
    )
    facts = probe(source)
    stream = facts.facts.audio.stream_index
    duration = facts.facts.duration
    choose = random.Random(2)
    with AudioSource(source, stream, origin=facts.start) as reader:
        whole = read(reader, Fraction(0), duration)
        # A click a half second and hardly anything between: what is half a millisecond off is wholly different.
        assert np.abs(whole).max() > 0.3 * full_scale(whole)
        for beginning in [*(Fraction(choose.randrange(5000), 1000) for _ in range(9)), Fraction(0), Fraction(1, 50)]:
            end = beginning + Fraction(choose.randrange(10, 900), 1000)
            first, last = (
                sample_at(time + facts.start, rate) - sample_at(facts.start, rate) for time in (beginning, end)
            )
            part = read(reader, beginning, end)
            # Decoders add noise of their own below the third digit.
            assert np.abs(part.astype(float) - whole[first:last]).max() <= 1e-3 * full_scale(whole)


def test_rounded_times_of_unlike_packets_move_a_range_by_less_than_a_millisecond(tmp_path: Path):
    source = make_video(
        tmp_path / "a.mkv", frames=150, audio="pcm_s16le", audio_block=[777, 1301, 450], audio_start=LATE
    )
    whole = heard(source, 1, Fraction(0), Fraction(6), Fraction(0))[:, 0]
    clicked = np.flatnonzero(whole > 15_000)
    assert len(clicked) == 12
    for click in clicked[2:]:
        start = Fraction(int(click), 48_000) - Fraction(1, 10)
        (found,) = np.flatnonzero(heard(source, 1, start, start + Fraction(1, 5), Fraction(0))[:, 0] > 15_000)
        assert abs(found - 4800) <= 48


@pytest.mark.parametrize(("name", "codec"), [("a.mp4", "aac"), ("a.ts", "aac"), ("a.mkv", "ac3")])
def test_a_range_is_the_same_whatever_was_read_before(name: str, codec: str, tmp_path: Path):
    source = make_video(tmp_path / name, frames=100, audio=codec, sample_rate=44_100)
    for start in (Fraction(0), Fraction(21, 10)):
        alone = heard(source, 1, start, start + 1, Fraction(0))
        with AudioSource(source, 1) as reader:
            read(reader, Fraction(0), Fraction(3))
            assert np.array_equal(read(reader, start, start + 1), alone)


@pytest.mark.parametrize(("rate", "layout"), [(48_000, "mono"), (32_000, "stereo"), (32_000, "mono")])
def test_sound_that_changes_its_form_midway_is_converted(rate: int, layout: str, tmp_path: Path):
    first = make_video(tmp_path / "1.ts", frames=50, audio="mp2")
    # The muxer moves a video that begins at 0 by two frames, to make room for pictures that are decoded early.
    second = make_video(
        tmp_path / "2.ts",
        pts=range(52, 102),
        audio="mp2",
        audio_start=Fraction(52, 25),
        sample_rate=rate,
        layout=layout,
    )
    both = tmp_path / "both.ts"
    both.write_bytes(joined(first.read_bytes() + second.read_bytes()))
    facts = probe(both)
    made = make_review_media(both, facts, tmp_path)
    master = make_master(both, facts, tmp_path)
    assert "media.audio_changes" in {finding.code for finding in made.findings}
    for path, stream, origin in ((both, 1, facts.start), (master.path, 1, Fraction(0))):
        with AudioSource(path, stream, origin=origin) as source:
            assert (source.sample_rate, source.layout) == (48_000, "stereo")
            sound = read(source, Fraction(0), Fraction(4))
            late = read(source, Fraction(3), Fraction(4))
        loud = np.flatnonzero(np.abs(sound[:, 0].astype(float)) > 0.1 * full_scale(sound))
        found = np.array([loud[0], *loud[1:][np.diff(loud) > 4800]])
        # A click at every half second, but for the one under the padding with which the first part's last frame ends.
        assert np.abs(found - 24_000 * np.array([0, 1, 2, 3, 5, 6, 7])).max() <= 48
        assert np.abs(late.astype(float)).max() > 0.1 * full_scale(late)


def test_holes_are_told_of_source_and_master_alike(tmp_path: Path):
    hole = (Fraction(2), Fraction(5, 2))
    source = make_video(
        tmp_path / "a.mkv", frames=100, audio="pcm_s16le", audio_block=4800, audio_start=Fraction(1, 2),
        audio_seconds=Fraction(3), audio_hole=hole,
    )  # fmt: skip
    master = make_master(source, probe(source), tmp_path)
    for path in (source, master.path):
        with AudioSource(path, 1) as sound:
            assert len(read(sound, Fraction(0), Fraction(4))) == 4 * 48_000
            assert np.abs(np.array(sound.holes, float) - [(0, 0.5), (2, 2.5), (3.5, 4)]).max() < 0.001
            read(sound, Fraction(9, 4), Fraction(11, 4))
            assert np.abs(np.array(sound.holes, float) - [(0, 0.25)]).max() < 0.001
            read(sound, Fraction(11, 4), Fraction(13, 4))
            assert sound.holes == ()


@pytest.mark.parametrize("layout", ["stereo", "5.1", "mono"])
def test_the_master_keeps_every_sample_and_the_layout(layout: str, tmp_path: Path):
    source = make_video(tmp_path / "a.mov", frames=50, audio="pcm_s16le", layout=layout)
    facts = probe(source)
    master = make_master(source, facts, tmp_path)
    kept = probe(master.path).facts.audio
    assert kept.layout == layout
    sound = heard(master.path, kept.stream_index, Fraction(0), Fraction(2), Fraction(0))
    assert np.array_equal(sound.T, clicks(96_000, 48_000, sound.shape[1]))


def test_sound_that_starts_late_is_silent_until_then_in_master_and_review(tmp_path: Path):
    source = make_video(tmp_path / "a.mkv", frames=100, audio="flac", audio_start=Fraction(1, 2))
    facts = probe(source)
    master = make_master(source, facts, tmp_path)
    made = make_review_media(source, facts, tmp_path)
    exact = heard(master.path, 1, Fraction(0), Fraction(2), Fraction(0))[:, 0]
    assert not exact[:24_000].any()
    assert exact[24_000] > 19_000
    review = heard(made.sound.audio, 0, Fraction(0), Fraction(2), Fraction(0))[:, 0]
    assert abs(int(np.argmax(np.abs(review[12_000:36_000]))) - 12_000) <= 2
    assert made.sound.channels == 2
    peaks = made.sound.peaks.read_bytes()
    assert peaks[:4] == b"HPKS"
    assert len(peaks) == 20 + 2 * 400


def test_review_sound_lasts_as_long_as_the_pictures(tmp_path: Path):
    for name, seconds in (("short.mp4", Fraction(1)), ("long.mp4", Fraction(9))):
        source = make_video(tmp_path / name, frames=75, audio="aac", audio_seconds=seconds)
        facts = probe(source)
        made = make_review_media(source, facts, tmp_path)
        with AudioSource(made.sound.audio, 0) as sound:
            assert sound.damaged == 0
        assert abs(probe_audio_end(made.sound.audio) - facts.facts.duration) < Fraction(1, 20)


def probe_audio_end(path: Path) -> Fraction:
    import av

    with av.open(str(path)) as container:
        return Fraction(container.duration, av.time_base)
