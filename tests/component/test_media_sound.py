"""Sound stays with its pictures to the sample, wherever reading starts."""

from __future__ import annotations

import random
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
        parts = [
            part.to_ndarray().T if part.format.is_planar else part.to_ndarray().reshape(-1, part.layout.nb_channels)
            for part in source.samples(start, end)
        ]
    return np.concatenate(parts)


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "aac"), ("a.mkv", "aac"), ("b.mkv", "libmp3lame"), ("c.mkv", "flac"), ("a.mov", "pcm_s16le"),
     ("d.mkv", "libopus"), ("a.ts", "mp2")],
)  # fmt: skip
def test_a_range_is_the_part_of_the_whole(name: str, codec: str, tmp_path: Path):
    source = make_video(tmp_path / name, frames=150, audio=codec)
    facts = probe(source)
    stream, rate = facts.facts.audio.stream_index, facts.facts.audio.sample_rate
    duration = facts.facts.duration
    whole = heard(source, stream, Fraction(0), duration, facts.start)
    choose = random.Random(2)
    for _ in range(6):
        start = Fraction(choose.randrange(5000), 1000)
        end = start + Fraction(choose.randrange(10, 900), 1000)
        first, last = (sample_at(time + facts.start, rate) - sample_at(facts.start, rate) for time in (start, end))
        part = heard(source, stream, start, end, facts.start)
        assert np.abs(part.astype(float) - whole[first:last]).max() < 1e-5


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
