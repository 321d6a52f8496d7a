"""Small videos whose every frame carries its number, with flashes and clicks, made for render and export tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import numpy as np

from services.media.decode import AudioSource, FrameSource
from services.media.footage import Footage
from services.media.frame_index import FrameIndex

WIDTH, HEIGHT, BITS = 192, 96, 12
RATE = 48_000


def burnt(number: int, *, width: int = WIDTH, height: int = HEIGHT, flash: bool = False) -> np.ndarray:
    """An RGB picture that spells ``number`` in twelve black or white bars, on a ground that differs from frame to frame."""
    picture = np.full((height, width, 3), 60 + 9 * (number % 14), np.uint8)
    bar = width // BITS
    for bit in range(BITS):
        picture[: height // 2, bit * bar : (bit + 1) * bar] = 235 if number >> bit & 1 else 16
    if flash:
        picture[height // 2 :] = 255
    return picture


def read_number(picture: np.ndarray) -> int:
    """The number in an RGB picture of any size."""
    height, width = picture.shape[:2]
    bar = width / BITS
    levels = [
        picture[height // 8 : height // 3, int((bit + 0.3) * bar) : int((bit + 0.7) * bar)].mean()
        for bit in range(BITS)
    ]
    return sum(1 << bit for bit, level in enumerate(levels) if level > 128)


@dataclass(frozen=True)
class Made:
    path: Path
    pts: tuple[int, ...]
    timebase: Fraction
    rate: Fraction


def make_video(
    path: Path,
    frames: int = 72,
    *,
    rate: Fraction = Fraction(24),
    variable: bool = False,
    sound: bool = True,
    channels: str = "stereo",
    pictures: Sequence[np.ndarray] | None = None,
    samples: np.ndarray | None = None,
    flashes: frozenset[int] = frozenset(),
    pixel_format: str = "yuv420p",
    size: tuple[int, int] = (WIDTH, HEIGHT),
    sample_rate: int = RATE,
) -> Made:
    """A long-GOP H.264 file with B-frames; clicks of two milliseconds sound with the ``flashes``."""
    timebase = Fraction(1, 90_000)
    step = int(1 / rate / timebase)
    jitter = np.random.default_rng(5)
    gaps = [step + (int(jitter.integers(0, 4)) * 700 if variable else 0) for _ in range(frames)]
    pts = [0, *np.cumsum(gaps).tolist()]
    with av.open(str(path), "w") as output:
        video = output.add_stream(
            "libx264", rate=rate, options={"crf": "12", "preset": "veryfast", "g": "24", "bf": "2"}
        )
        video.width, video.height = size
        video.pix_fmt = pixel_format
        video.codec_context.time_base = timebase
        audio = None
        if sound:
            audio = output.add_stream("pcm_s16le" if path.suffix == ".mkv" else "aac", rate=sample_rate)
            audio.layout = channels
        for number in range(frames):
            shown = (
                pictures[number]
                if pictures is not None
                else burnt(number, width=size[0], height=size[1], flash=number in flashes)
            )
            frame = av.VideoFrame.from_ndarray(shown, format="rgb24")
            frame = frame.reformat(format=pixel_format)
            frame.pts, frame.time_base = pts[number], timebase
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        if audio is not None:
            total = int(pts[-1] * timebase * sample_rate)
            wave = (
                samples
                if samples is not None
                else click_track([pts[flash] * timebase for flash in flashes], total, sample_rate)
            )
            width = audio.layout.nb_channels
            planar = np.ascontiguousarray(np.tile(wave[:total].astype(np.float32), (width, 1)))
            resampler = av.AudioResampler(format=audio.format.name, layout=channels, rate=sample_rate)
            whole = av.AudioFrame.from_ndarray(planar, format="fltp", layout=channels)
            whole.sample_rate, whole.pts, whole.time_base = sample_rate, 0, Fraction(1, sample_rate)
            for block in (*resampler.resample(whole), *resampler.resample(None)):
                output.mux(audio.encode(block))
            output.mux(audio.encode(None))
    return Made(path, tuple(pts[:frames]), timebase, rate)


def hdr_source(path: Path, transfer: int = 16, frames: int = 8) -> Path:
    """A 10-bit BT.2020 source with the light metadata of its mastering screen."""
    params = (
        "log-level=none:hdr10=1:repeat-headers=1:max-cll=1000,400:"
        "master-display=G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
    )
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx265", rate=24, options={"crf": "8", "x265-params": params})
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p10le"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 9, 9, transfer
        for number in range(frames):
            frame = av.VideoFrame(128, 96, "yuv420p10le")
            for plane, level in zip(frame.planes, (300 + 20 * number, 500, 540), strict=True):
                plane.update(np.full(plane.buffer_size // 2, level, np.uint16).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def click_track(times: Sequence[Fraction], total: int, rate: int = RATE) -> np.ndarray:
    """Silence but for a two millisecond burst at each time."""
    wave = np.zeros(total, np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 4000 * np.arange(96) / rate)
    for time in times:
        start = int(time * rate)
        wave[start : start + 96] = burst[: max(0, total - start)]
    return wave


def index_of(path: Path) -> FrameIndex:
    """An index of a source file, from a decode of its own."""
    with av.open(str(path)) as file:
        stream = file.streams.video[0]
        timebase = Fraction(stream.time_base)
        found = []
        for frame in file.decode(stream):
            found.append((frame.pts, bool(frame.key_frame), frame.duration))
            width, height = frame.width, frame.height
        rate = Fraction(stream.average_rate)
    return FrameIndex(
        codec="",
        extradata=b"",
        width=width,
        height=height,
        rate=rate,
        timebase=timebase,
        pts=np.array([pts for pts, _, _ in found], np.int64),
        last_duration=found[-1][2] or int(1 / rate / timebase),
        keys=np.array([key for _, key, _ in found], np.bool_),
    )


def footage_of(path: Path, **facts: object) -> Footage:
    """The file as something to cut from; the file stays open as long as the footage lives."""
    index = index_of(path)
    with av.open(str(path)) as file:
        sound = file.streams.audio[0].index if file.streams.audio else None
        picture = file.streams.video[0].index
    return Footage(
        pictures=FrameSource(path, index, picture),
        sounds=partial(AudioSource, path, sound, origin=index.start) if sound is not None else None,
        frames=len(index),
        time_of=index.time,
        timebase=index.timebase,
        rate=index.rate,
        **facts,
    )


def decoded(path: Path) -> tuple[list[int], list[Fraction], np.ndarray | None]:
    """The numbers shown, their times in seconds, and the sound as float32[channels, samples] from time 0."""
    numbers, times, blocks = [], [], []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            numbers.append(read_number(frame.to_ndarray(format="rgb24")))
            times.append(Fraction(frame.pts * frame.time_base))
    with av.open(str(path)) as file:
        if not file.streams.audio:
            return numbers, times, None
        resampler = av.AudioResampler(format="fltp")
        for frame in file.decode(audio=0):
            blocks += [block.to_ndarray() for block in resampler.resample(frame)]
    return numbers, times, np.concatenate(blocks, axis=1)
