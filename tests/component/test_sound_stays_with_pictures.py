"""Clicks that sound with flashes stay with them, in every profile, wherever a clip starts, whatever the source's axis is."""

from __future__ import annotations

import random
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.values import FrameRange
from services.media.profiles import PROFILES
from services.media.render import Cut, Rendered, render
from tests.support.prepared import Prepared, footage, prepare

FRAMES, SIZE = 150, (160, 96)
FLASHES = frozenset(range(4, FRAMES, 17))
LENGTH = (30, 45)
SOURCES = {
    "primed_48000.mp4": {"codec": "aac", "sample_rate": 48_000},
    "primed_44100.mp4": {"codec": "aac", "sample_rate": 44_100, "rate": Fraction(30_000, 1001)},
    "sound_late_44100.mp4": {"codec": "aac", "sample_rate": 44_100, "sound_start": Fraction(1, 7)},
    "pictures_late_48000.mkv": {"codec": "libopus", "sample_rate": 48_000, "picture_start": Fraction(3, 10)},
    "layer_3_44100.mkv": {"codec": "libmp3lame", "sample_rate": 44_100, "rate": Fraction(24_000, 1001)},
    "stream_48000.ts": {"codec": "mp2", "sample_rate": 48_000, "rate": Fraction(50)},
    "plain_44100.mov": {"codec": "pcm_s16le", "sample_rate": 44_100, "picture_start": Fraction(1, 9)},
}


def burst(sample_rate: int) -> np.ndarray:
    """Two milliseconds of 4 kHz."""
    return 0.8 * np.sin(2 * np.pi * 4000 * np.arange(sample_rate // 500) / sample_rate)


def make_flashes(
    path: Path,
    *,
    codec: str,
    sample_rate: int,
    rate: Fraction = Fraction(25),
    sound_start: Fraction = Fraction(0),
    picture_start: Fraction = Fraction(0),
) -> Path:
    """A long-GOP video with white pictures at ``FLASHES``, and a burst that starts with each of them."""
    timebase = Fraction(1, 90_000)
    times = [picture_start + Fraction(round(n / rate / timebase)) * timebase for n in range(FRAMES)]
    total = int((times[-1] + 1 - sound_start) * sample_rate)
    wave = np.zeros(total)
    for flash in FLASHES:
        first = round((times[flash] - sound_start) * sample_rate)
        if first >= 0:
            wave[first : first + sample_rate // 500] = burst(sample_rate)
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=rate, options={"g": "48", "bf": "2", "threads": "1"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.time_base = timebase
        sound = output.add_stream(codec, rate=sample_rate, layout="stereo")
        if codec in ("aac", "libopus", "libmp3lame", "mp2"):
            sound.codec_context.bit_rate = 256_000
        packets = []
        for number, time in enumerate(times):
            level = 235 if number in FLASHES else 40
            frame = av.VideoFrame.from_ndarray(np.full((SIZE[1] * 3 // 2, SIZE[0]), 128, np.uint8), format="yuv420p")
            frame.planes[0].update(bytes([level]) * frame.planes[0].buffer_size)
            frame.pts, frame.time_base = int(time / timebase), timebase
            packets += video.encode(frame)
        packets += video.encode(None)
        resampler = av.AudioResampler(
            format=sound.format.name,
            layout="stereo",
            rate=sample_rate,
            frame_size=sound.codec_context.frame_size or 1024,
        )
        whole = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), format="fltp", layout="stereo")
        whole.sample_rate, whole.time_base = sample_rate, Fraction(1, sample_rate)
        at = round(sound_start * sample_rate)
        for block in (*resampler.resample(whole), *resampler.resample(None)):
            block.pts, block.time_base = at, Fraction(1, sample_rate)
            at += block.samples
            packets += sound.encode(block)
        packets += sound.encode(None)
        for packet in sorted(packets, key=lambda each: each.dts * Fraction(each.time_base)):
            output.mux(packet)
    return path


@pytest.fixture(scope="module", params=SOURCES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("flashes")
    return prepare(make_flashes(folder / request.param, **SOURCES[request.param]), folder)


def furthest_apart(path: Path, faded: Fraction) -> tuple[int, float]:
    """How many flashes a file shows, and by how many seconds the furthest click lies from its flash.

    Within ``faded`` seconds of the beginning nothing can be heard.
    """
    flashes: list[Fraction] = []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            grey = frame.reformat(width=16, height=8, format="gray", threads=1)
            if np.frombuffer(grey.planes[0], np.uint8).reshape(8, -1)[:, :16].mean() > 140:
                flashes.append(frame.pts * Fraction(frame.time_base))
    blocks, begins = [], None
    with av.open(str(path)) as file:
        rate = file.streams.audio[0].rate
        resampler = av.AudioResampler(format="fltp")
        for frame in file.decode(audio=0):
            if begins is None:
                begins = frame.pts * Fraction(frame.time_base)
            blocks += [block.to_ndarray()[0] for block in resampler.resample(frame)]
    heard = np.concatenate(blocks)
    template = burst(rate)
    worst = 0.0
    for flash in flashes:
        if flash - begins < faded:
            continue
        middle = round((flash - begins) * rate)
        low = max(0, middle - rate // 50)
        window = heard[low : middle + rate // 50 + len(template)]
        likeness = np.abs(np.correlate(window, template, "valid"))
        assert likeness.max() > 0.2 * len(template) * 0.8**2 / 2, "no click near the flash"
        worst = max(worst, abs((low + int(likeness.argmax())) / rate - float(flash - begins)))
    return len(flashes), worst


@pytest.mark.scaled
def test_clicks_stay_with_their_flashes_within_a_millisecond_in_every_profile(
    made: Prepared, tmp_path: Path, scale
) -> None:
    choose = random.Random(made.name)
    cuts = []
    for place in range(scale(1, 4)):
        start = choose.randrange(FRAMES - LENGTH[1])
        frames = FrameRange(start=start, end=start + choose.randint(*LENGTH))
        cuts.append(Cut(frames, tuple(PROFILES.values()), tmp_path / str(place), "clip", "A title"))
    with ExitStack() as ways_out:
        mastered = choose.random() < 0.5
        outcomes = dict(render(footage(made, ways_out, mastered=mastered), cuts))
    for place, cut in enumerate(cuts):
        outcome = outcomes[place]
        assert isinstance(outcome, Rendered), outcome
        due = len([flash for flash in FLASHES if flash in cut.frames])
        for rendition in outcome.renditions:
            shown, apart = furthest_apart(
                rendition.path, Fraction(rendition.profile.audio.fade_milliseconds or 0) / 1000
            )
            assert shown == due, rendition.profile.name
            assert apart < 0.001, (rendition.profile.name, made.name, cut.frames, apart)
