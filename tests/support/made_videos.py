"""Videos made for a test, with a number in every picture that a machine can read back, and a click at known samples.

The number is 16 bits and an 8-bit checksum as 24 light or dark blocks, so that it survives scaling, lossy coding,
rotation back and forth, and tone mapping.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
from av.container import OutputContainer
from av.packet import Packet

from services.media.scheduling import wait_turns

COLUMNS, ROWS = 6, 4


def numbered_luma(number: int, width: int, height: int) -> np.ndarray:
    """uint8[height, width]: the number's blocks, 235 for one and 16 for zero."""
    code = number << 8 | (number * 37 + 11) & 255
    bits = np.array([code >> place & 1 for place in range(24)], np.uint8).reshape(ROWS, COLUMNS)
    rows = np.arange(height) * ROWS // height
    columns = np.arange(width) * COLUMNS // width
    return np.where(bits[np.ix_(rows, columns)] == 1, 235, 16).astype(np.uint8)


def read_number(luma: np.ndarray) -> int | None:
    """The number in a picture (any linear brightness), or None if the checksum does not fit."""
    height, width = luma.shape
    code = 0
    threshold = (int(luma.max()) + int(luma.min())) / 2
    for place in range(24):
        row, column = divmod(place, COLUMNS)
        y, x = (2 * row + 1) * height // (2 * ROWS), (2 * column + 1) * width // (2 * COLUMNS)
        block = luma[max(0, y - 2) : y + 3, max(0, x - 2) : x + 3]
        code |= int(block.mean() > threshold) << place
    number, check = code >> 8, code & 255
    return number if (number * 37 + 11) & 255 == check else None


def luma_of(frame: av.VideoFrame) -> np.ndarray:
    """The first plane of an 8-bit planar frame, without padding."""
    plane = frame.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


def planes_of(frame: av.VideoFrame) -> bytes:
    """All planes of an 8-bit planar frame, luma and chroma, without padding."""
    return b"".join(
        np.ascontiguousarray(
            np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        ).tobytes()
        for plane in frame.planes
    )


def picture(number: int, width: int, height: int, pixel_format: str) -> av.VideoFrame:
    """A frame with the number in it, in any planar YUV or grey format, or one the scaler reaches without loss of it."""
    luma = numbered_luma(number, width, height)
    frame = av.VideoFrame(width, height, pixel_format)
    if pixel_format.startswith(("yuv", "gray")):
        deep = max(part.bits for part in frame.format.components)
        for place, plane in enumerate(frame.planes):
            rows = luma if place == 0 else np.full((plane.height, plane.width), 128, np.uint8)
            wide = rows if deep == 8 else rows.astype("<u2") << (deep - 8)
            padded = np.zeros((plane.height, plane.line_size // wide.itemsize), wide.dtype)
            padded[:, : plane.width] = wide
            plane.update(padded.tobytes()[: plane.buffer_size].ljust(plane.buffer_size, b"\0"))
        return frame
    grey = np.repeat(luma[..., None], 3, axis=2)
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(grey), format="rgb24").reformat(format=pixel_format)


def make_video(
    path: Path,
    *,
    frames: int = 40,
    size: tuple[int, int] = (192, 128),
    codec: str = "libx264",
    pixel_format: str = "yuv420p",
    rate: Fraction = Fraction(25),
    timebase: Fraction | None = None,
    pts: Sequence[int] | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
    rotation: int = 0,
    sample_aspect_ratio: Fraction | None = None,
    colour: tuple[int, int, int, int] | None = None,
    audio: str | None = None,
    audio_start: Fraction = Fraction(0),
    audio_seconds: Fraction | None = None,
    audio_block: int | Sequence[int] = 1024,
    audio_hole: tuple[Fraction, Fraction] | None = None,
    sample_rate: int = 48_000,
    layout: str = "stereo",
    subtitles: str | None = None,
) -> Path:
    """Writes a video whose frame n carries n. ``colour`` is (range, space, primaries, transfer) in code points.

    ``subtitles`` is the text of an SRT file, which becomes a track of its own.

    ``audio`` names a codec: clicks of one sample height lie at every half second from ``audio_start`` on. It is given
    blocks of ``audio_block`` samples, or of those sizes in turn; what lies in ``audio_hole`` (seconds) is left out.
    """
    timebase = timebase or 1 / rate
    times = list(pts) if pts is not None else [int(n / rate / timebase) for n in range(frames)]
    with av.open(str(path), "w", options=container_options or {}) as output:
        stream = output.add_stream(codec, rate=rate, options={"threads": "1", **(options or {})})
        stream.width, stream.height, stream.pix_fmt = *size, pixel_format
        stream.codec_context.time_base = stream.time_base = timebase
        if sample_aspect_ratio:
            stream.codec_context.sample_aspect_ratio = sample_aspect_ratio
        if colour:
            context = stream.codec_context
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = colour
        if rotation:
            stream.set_display_rotation(rotation)
        sound = output.add_stream(audio, rate=sample_rate, layout=layout) if audio else None
        packets = []
        for number, at in enumerate(times):
            frame = picture(number, *size, pixel_format)
            frame.pts, frame.time_base = at, timebase
            packets += stream.encode(frame)
        packets += stream.encode(None)
        wait_turns()
        if sound is not None:
            seconds = audio_seconds or (times[-1] - times[0]) * timebase + 1 / rate
            blocks = [audio_block] if isinstance(audio_block, int) else audio_block
            packets += _sound_packets(sound, audio_start, seconds, sample_rate, layout, blocks, audio_hole)
        words = list(_subtitle_packets(output, subtitles)) if subtitles is not None else []
        for packet in sorted([*packets, *words], key=lambda each: each.dts * Fraction(each.time_base)):
            output.mux(packet)
    return path


def spliced(path: Path, parts: Sequence[tuple[Path, int, int]], size: tuple[int, int] = (320, 180)) -> Path:
    """One silent video at 24 frames a second of parts of others: each is a file, its first frame, and how many."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"threads": "1", "preset": "ultrafast", "crf": "20"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        number = 0
        for file, first, count in parts:
            with av.open(str(file)) as source:
                for frame in islice(source.decode(video=0), first, first + count):
                    small = frame.reformat(*size, format="yuv420p")
                    small.pts, small.time_base = number, Fraction(1, 24)
                    output.mux(stream.encode(small))
                    number += 1
        output.mux(stream.encode(None))
    wait_turns()
    return path


def _subtitle_packets(output: OutputContainer, text: str) -> Iterator[Packet]:
    with av.open(io.BytesIO(text.encode()), format="srt") as file:
        track = output.add_stream_from_template(file.streams.subtitles[0])
        track.metadata["language"] = "ger"
        for packet in file.demux():
            if packet.dts is not None:
                packet.stream = track
                yield packet


def clicks(samples: int, sample_rate: int, channels: int) -> np.ndarray:
    """int16[channels, samples]: quiet noise-free ramp of channel marks, and a click at every half second."""
    sound = np.zeros((channels, samples), np.int16)
    sound[:, :: sample_rate // 2] = 20_000
    # A slow saw tells any two places apart within a second.
    sound += (np.arange(samples) % sample_rate // 48 + np.arange(channels)[:, None]).astype(np.int16)
    return sound


def _sound_packets(
    stream,
    start: Fraction,
    seconds: Fraction,
    rate: int,
    layout: str,
    blocks: Sequence[int],
    hole: tuple[Fraction, Fraction] | None,
) -> list:
    samples = int(seconds * rate)
    form = stream.codec_context.format.name
    channels = len(av.AudioLayout(layout).channels)
    whole = clicks(samples, rate, channels)
    resampler = av.AudioResampler(format=form, layout=layout, rate=rate)
    packets, first, at = [], int(start * rate), 0
    for block in cycle(blocks):
        if at >= samples:
            break
        part = np.ascontiguousarray(whole[:, at : at + block])
        left_out = hole is not None and hole[0] * rate <= first + at < hole[1] * rate
        frame = av.AudioFrame.from_ndarray(part, format="s16p", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, first + at, Fraction(1, rate)
        for converted in () if left_out else resampler.resample(frame):
            converted.pts, converted.time_base = first + at, Fraction(1, rate)
            packets += stream.encode(converted)
        at += block
    return packets + stream.encode(None)
