"""A clip's sound on its way to a deliverable: every form of source, every codec of a profile, to the sample."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.values import FrameRange
from services.media.audio import SoundChain, SoundForm, as_float
from services.media.decode import AudioSource
from services.media.errors import Disagreement
from services.media.loudness import Gain, SoundSpool, gain_to, measured_gain
from services.media.profiles import PROFILES, AudioEncoding, LoudnessTarget
from services.media.render import Cut, Rendered, render
from tests.support.rendering import RATE, footage_of, make_video

KINDS = {"u8": np.uint8, "s16": np.int16, "s32": np.int32, "flt": np.float32, "dbl": np.float64}
AAC = PROFILES["delivery-h264"].audio
PCM = PROFILES["prores-422"].audio
FLAC = PROFILES["archive-ffv1"].audio
OPUS = AudioEncoding(encoder="libopus", sample_rates=(48_000,))
CONTAINERS = {"aac": "mp4", "pcm_s24le": "mov", "flac": "matroska", "libopus": "matroska"}


def blocks_of(
    wave: np.ndarray, *, form: str = "fltp", layout: str = "stereo", rate: int = RATE, block: int = 1000
) -> Iterator[av.AudioFrame]:
    """float[channels, samples] as frames of that sample format."""
    kind = KINDS[form.removesuffix("p")]
    if kind is np.uint8:
        samples = np.clip(np.rint(wave * 127 + 128), 0, 255).astype(kind)
    elif np.issubdtype(kind, np.integer):
        samples = np.clip(np.rint(wave * np.iinfo(kind).max), np.iinfo(kind).min, np.iinfo(kind).max).astype(kind)
    else:
        samples = wave.astype(kind)
    for start in range(0, wave.shape[1], block):
        part = samples[:, start : start + block]
        laid = part if form.endswith("p") else part.T.reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(laid), format=form, layout=layout)
        frame.sample_rate = rate
        yield frame


def through(
    encoding: AudioEncoding, blocks: Iterator[av.AudioFrame], length: Fraction, *, gain: float = 0.0
) -> tuple[np.ndarray, int, str, SoundChain]:
    """What a player hears of the encoded sound: float[channels, samples] from time 0, its rate and layout."""
    file = io.BytesIO()
    first = next(blocks)
    options = {"fflags": "+bitexact"} | (
        {"movie_timescale": "90000"} if CONTAINERS[encoding.encoder] != "matroska" else {}
    )
    with av.open(file, "w", format=CONTAINERS[encoding.encoder], options=options) as output:
        chain = SoundChain(output, encoding, first, length, gain=gain)
        for block in itertools.chain([first], blocks):
            chain.push(block)
        chain.finish()
        output.mux(chain.tracks[0].waiting)
    heard = []
    with av.open(io.BytesIO(file.getvalue())) as source:
        resampler = av.AudioResampler(format="flt")
        rate, layout = source.streams.audio[0].rate, source.streams.audio[0].layout.name
        for frame in source.decode(audio=0):
            heard += [as_float(block) for block in resampler.resample(frame)]
    return np.concatenate(heard, axis=1), rate, layout, chain


def tones(channels: int, samples: int, rate: int = RATE) -> np.ndarray:
    """A different tone in each channel."""
    time = np.arange(samples) / rate
    return np.stack([0.25 * np.sin(2 * np.pi * (300 + 200 * channel) * time) for channel in range(channels)])


@pytest.mark.parametrize("form", [kind + planar for kind in KINDS for planar in ("", "p")])
@pytest.mark.parametrize("encoding", [AAC, PCM, FLAC], ids=lambda each: each.encoder)
def test_every_form_of_samples_arrives_whole_and_in_place(form: str, encoding: AudioEncoding) -> None:
    wave = tones(2, 12_345)
    heard, rate, layout, chain = through(encoding, blocks_of(wave, form=form), Fraction(12_345, RATE))
    assert (rate, layout) == (RATE, "stereo")
    assert chain.facts().samples == 12_345
    # AAC's last frame is filled up; where an edit list says so, players stop before that.
    assert 0 <= heard.shape[1] - 12_345 < 1024
    middle = slice(2000, 10_000)
    worst = np.abs(heard[:, middle] - wave[:, middle]).max()
    assert worst < (0.05 if encoding is AAC else 0.012 if form.startswith("u8") else 0.0001)


@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6), ("7.1", 8)])
@pytest.mark.parametrize("encoding", [PCM, FLAC, OPUS], ids=lambda each: each.encoder)
def test_channels_keep_their_places(layout: str, channels: int, encoding: AudioEncoding) -> None:
    wave = tones(channels, 24_000)
    heard, _, said, _ = through(encoding, blocks_of(wave, form="flt", layout=layout), Fraction(1, 2))
    assert heard.shape[0] == channels
    assert said == layout
    for channel in range(channels):
        if encoding is OPUS and layout in ("5.1", "7.1") and channel == 3:
            # The codec keeps only what a woofer plays of this one.
            continue
        spectrum = np.abs(np.fft.rfft(heard[channel, 8000:20_000]))
        assert int(np.argmax(spectrum)) * RATE / 12_000 == pytest.approx(300 + 200 * channel, abs=8)


def test_eight_planes_are_interleaved_before_anything_touches_them(tmp_path: Path) -> None:
    path = tmp_path / "surround.mp4"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("aac", rate=RATE, layout="7.1")
        resampler = av.AudioResampler(format="fltp", layout="7.1", rate=RATE)
        for block in blocks_of(tones(8, 48_000), form="flt", layout="7.1"):
            for frame in resampler.resample(block):
                output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    with AudioSource(path, 0) as source:
        blocks = list(source.samples(Fraction(1, 10), Fraction(9, 10)))
    assert {block.format.name for block in blocks} == {"flt"}
    assert sum(block.samples for block in blocks) == 38_400
    heard, _, layout, _ = through(PCM, iter(blocks), Fraction(8, 10))
    assert (heard.shape, layout) == ((8, 38_400), "7.1")


def test_a_layout_that_is_not_said_is_taken_for_the_usual_one() -> None:
    frame = av.AudioFrame.from_ndarray(np.zeros((6, 10), np.float32), format="fltp", layout="6 channels")
    frame.sample_rate = RATE
    assert SoundForm.of(FLAC, frame, Fraction(1)).layout == "5.1"
    assert SoundForm.of(AAC, frame, Fraction(1)) == SoundForm(RATE, 2, "stereo", RATE)


@pytest.mark.parametrize("rate", [8000, 11_025, 22_050, 32_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("length", [Fraction(1, 24), Fraction(1001, 3000), Fraction(7, 9)])
def test_other_rates_are_resampled_without_a_shift(rate: int, length: Fraction) -> None:
    count = int(length * rate)
    wave = np.zeros((2, count))
    at = count // 2
    wave[:, at : at + max(2, rate // 1000)] = 0.8
    heard, out_rate, _, chain = through(PROFILES["broadcast-h264"].audio, blocks_of(wave, rate=rate), length)
    assert out_rate == 48_000
    assert chain.facts().samples == round(length * 48_000)
    loud = np.abs(heard).max(axis=0)
    assert int(np.argmax(loud > 0.3)) / 48_000 == pytest.approx(at / rate, abs=0.001)


@pytest.mark.parametrize("encoding", [AAC, OPUS], ids=lambda each: each.encoder)
@pytest.mark.parametrize("at", [0, 100, 1023, 1024, 5000, 9900])
def test_priming_is_cut_off_so_that_a_click_stays_where_it_was(encoding: AudioEncoding, at: int) -> None:
    wave = np.zeros((2, 10_000))
    wave[:, at : at + 96] = 0.8 * np.sin(2 * np.pi * 4000 * np.arange(96) / RATE)[: 10_000 - at]
    heard, *_ = through(encoding, blocks_of(wave), Fraction(10_000, RATE))
    loud = np.abs(heard).max(axis=0)
    assert abs(int(np.argmax(loud > 0.3 * loud.max())) - at) < RATE // 1000


def test_what_a_source_lacks_is_silence_and_what_is_too_much_is_cut() -> None:
    wave = np.full((2, 3000), 0.5)
    heard, *_ = through(PCM, blocks_of(wave), Fraction(5000, RATE))
    assert heard.shape[1] == 5000
    assert (heard[:, :3000] > 0.49).all()
    assert (heard[:, 3000:] == 0).all()
    heard, *_ = through(PCM, blocks_of(wave), Fraction(1234, RATE))
    assert heard.shape[1] == 1234


@pytest.mark.parametrize("milliseconds", [0.0, 1.0, 5.0])
def test_fades_touch_the_cut_edges_alone(milliseconds: float) -> None:
    faded = PCM.model_copy(update={"fade_milliseconds": milliseconds})
    wave = np.full((2, 9600), 0.5)
    heard, *_ = through(faded, blocks_of(wave), Fraction(9600, RATE))
    edge = int(milliseconds * 48)
    plain = heard[:, edge : 9600 - edge]
    assert np.abs(plain - 0.5).max() < 0.0001
    if edge:
        assert heard[0, 0] == 0
        assert (np.diff(heard[0, :edge]) > 0).all()
        assert heard[0, edge // 2] == pytest.approx(0.25, abs=0.02)
        assert (np.diff(heard[0, 9600 - edge :]) < 0).all()
        assert heard[0, -1] < 0.02


def test_a_clip_shorter_than_its_fades_is_still_whole() -> None:
    faded = PCM.model_copy(update={"fade_milliseconds": 5.0})
    heard, *_ = through(faded, blocks_of(np.full((2, 100), 0.5)), Fraction(100, RATE))
    assert heard.shape[1] == 100
    assert heard.max() > 0.4


@pytest.mark.parametrize(
    ("integrated", "peak", "gain"),
    [
        (-30.0, -12.0, Gain(7.0 - 0.01)),
        (-30.0, -3.0, Gain(2.0 - 0.01, held_by_peak=True)),
        (-15.0, -0.5, Gain(-8.0 - 0.01)),
        (-23.0, 0.5, Gain(-1.5 - 0.01, held_by_peak=True)),
        (-65.0, -50.0, Gain(30.0 - 0.01)),
        (None, -3.0, Gain(0.0)),
        (-30.0, None, Gain(0.0)),
    ],
)
def test_the_gain_reaches_for_the_target_and_stops_at_the_ceiling(
    integrated: float | None, peak: float | None, gain: Gain
) -> None:
    found = gain_to(LoudnessTarget(integrated=-23.0, true_peak=-1.0), integrated, peak)
    assert found.held_by_peak == gain.held_by_peak
    assert found.decibels == pytest.approx(gain.decibels, abs=0.011)
    if peak is not None:
        assert peak + found.decibels <= -1.0 or integrated is None


@pytest.mark.parametrize("level", [-40.0, -23.0, -12.0])
@pytest.mark.parametrize(("layout", "channels"), [("mono", 1), ("stereo", 2), ("5.1", 6)])
def test_the_delivered_loudness_is_the_target(level: float, layout: str, channels: int) -> None:
    wave = np.tile(10 ** (level / 20) * np.sin(2 * np.pi * 1000 * np.arange(3 * RATE) / RATE), (channels, 1))
    encoding, target = PROFILES["broadcast-h264"].audio, PROFILES["broadcast-h264"].loudness
    gain = measured_gain(blocks_of(wave, layout=layout), encoding, target, Fraction(3))
    *_, chain = through(encoding, blocks_of(wave, layout=layout), Fraction(3), gain=gain.decibels)
    assert chain.facts().loudness == pytest.approx(-23.0, abs=0.15)
    assert not gain.held_by_peak


def test_a_spiky_sound_is_held_by_its_peak(tmp_path: Path) -> None:
    wave = 0.01 * np.sin(2 * np.pi * 1000 * np.arange(96 * 1000 * 2) / RATE)
    wave[50_000:50_200] = 0.7 * np.sin(2 * np.pi * 500 * np.arange(200) / RATE)
    made = make_video(tmp_path / "spiky.mkv", 72, samples=wave.astype(np.float32)).path
    cut = Cut(FrameRange(start=0, end=72), (PROFILES["broadcast-h264"],), tmp_path / "out", "clip", "Spiky")
    ((_, outcome),) = render(footage_of(made), [cut])
    assert isinstance(outcome, Rendered)
    sound = outcome.renditions[0].sound
    assert -1.2 < sound.true_peak <= -0.95
    assert sound.loudness < -24
    assert not [path for path in (tmp_path / "out").iterdir() if path.is_file()]


def test_a_spool_gives_back_what_it_was_given_as_often_as_wanted(tmp_path: Path) -> None:
    wave = tones(6, 10_007)
    for form in ("s16", "fltp", "s32p"):
        spool = SoundSpool(tmp_path, blocks_of(wave, form=form, layout="5.1"))
        meant = [frame.to_ndarray() for frame in blocks_of(wave, form=form, layout="5.1")]
        for _ in range(2):
            found = list(spool.blocks())
            assert all(np.array_equal(one.to_ndarray(), two) for one, two in zip(found, meant, strict=True))
            assert {(frame.sample_rate, frame.layout.name, frame.format.name) for frame in found} == {
                (RATE, "5.1", form)
            }
        spool.close()
    assert list(tmp_path.iterdir()) == []
    mixed = itertools.chain(blocks_of(wave[:2]), blocks_of(wave[:2], form="s16"))
    with pytest.raises(Disagreement):
        SoundSpool(tmp_path, mixed)
    empty = SoundSpool(tmp_path, iter(()))
    assert list(empty.blocks()) == []
    empty.close()
