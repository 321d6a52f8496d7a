"""One rendition being written: its encoders, its file and the proof that the file holds what was meant.

A thread of its own encodes pictures, interleaves the sound and reads the finished file back: every frame is there, at its
exact time, decodes, and looks like the one that was encoded. The order of packets depends on their times alone, so the
same frames and samples give the same bytes however the threads ran.
"""

from __future__ import annotations

import os
import queue
import threading
from array import array
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.codec.context
import numpy as np
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from contracts.errors import Cancelled
from contracts.values import FrameRange
from services.media import colour
from services.media.audio import SoundChain, open_encoder
from services.media.errors import Disagreement, EncodingFailed, UnsupportedPixels, translated
from services.media.footage import Footage
from services.media.light import light_of
from services.media.measure import SoundFacts, SoundLimits
from services.media.profiles import Profile, VideoEncoding
from services.media.shaping import PictureChain, colours_of, delivered_size
from services.media.timebase import nearest

# One encoder prints its settings to the terminal, unless this says that errors alone matter.
os.environ.setdefault("SVT_LOG", "1")

QUEUE_FRAMES = 8
GRID = (12, 16)
"""Rows and columns of the samples by which a decoded frame is compared with the encoded one."""

Look = NDArray[Any]


@dataclass(frozen=True)
class Rendition:
    """One file that was written, as it reads back.

    ``picture_difference`` is how far the worst frame lies from what was given to the encoder, as a share of the full
    range: 0 for a lossless profile.
    """

    profile: Profile
    path: Path
    width: int
    height: int
    pixel_format: str
    color_range: str
    color_space: str
    color_transfer: str
    color_primaries: str
    codec: str
    frames: int
    duration: Fraction
    rate: Fraction
    faststart: bool
    picture_difference: float
    sound_codec: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    layout: str = ""
    sound_duration: Fraction | None = None
    sound: SoundFacts | None = None


@dataclass(frozen=True)
class _Picture:
    frame: VideoFrame
    pts: int
    duration: int


class Writer:
    """One rendition being written: a file, its encoders, and the thread that feeds the picture encoder and the muxer."""

    def __init__(
        self,
        path: Path,
        profile: Profile,
        footage: Footage,
        frames: FrameRange,
        *,
        title: str,
        first: VideoFrame,
        first_sound: AudioFrame | None,
        limits: SoundLimits,
    ) -> None:
        self._path = path
        self._profile = profile
        self._footage = footage
        self._frames = frames
        self._start = footage.time_of(frames.start)
        self._length = footage.time_of(frames.end) - self._start
        encoding = profile.video
        self._chain = PictureChain(
            first,
            rotation=footage.rotation,
            size=delivered_size(first.width, first.height, footage.sample_aspect_ratio, footage.rotation, encoding),
            pixel_format=encoding.pixel_format_for(_depth(first)) or _kept_format(encoding, first.format.name),
            standard=encoding.standard_range,
            keeps_hdr=encoding.keeps_hdr,
            deinterlace=encoding.deinterlace and footage.interlaced,
        )
        self._output: OutputContainer = av.open(
            str(path), "w", format=profile.container, options={"fflags": "+bitexact", **dict(profile.container_options)}
        )
        try:
            self._output.metadata["title"] = title
            self._stream = self._open_pictures(first)
            self._sound: SoundChain | None = None
            if first_sound is not None:
                self._sound = SoundChain(self._output, profile.audio, first_sound, self._length, limits=limits)
            self._output.start_encoding()
        except BaseException:
            # A container left open keeps its file and its threads.
            self._output.close()
            raise
        self._queue: queue.Queue[_Picture | list[Packet[Stream]] | None] = queue.Queue(QUEUE_FRAMES)
        self._abandoned = threading.Event()
        self._looks: list[Look] = []
        self._threads = ThreadPoolExecutor(1, thread_name_prefix=f"encode-{profile.name}")
        self._work: Future[Rendition] = self._threads.submit(self._write)

    def _open_pictures(self, first: VideoFrame) -> VideoStream:
        encoding, footage = self._profile.video, self._footage
        light = light_of(first) if encoding.keeps_hdr else None
        options = encoding.encoder_options(more_params=light.params(encoding.encoder) if light else ())
        if encoding.keyframe_seconds is not None:
            options["g"] = str(max(1, nearest(footage.rate * encoding.keyframe_seconds)))
        stream: Any = self._output.add_stream(encoding.encoder, rate=footage.rate, options=options)
        context = stream.codec_context
        context.width, context.height = self._chain.size
        context.pix_fmt = self._chain.pixel_format
        context.time_base = footage.timebase
        stream.time_base = footage.timebase
        context.sample_aspect_ratio = self._sample_aspect_ratio()
        if self._profile.sample_entry is not None:
            context.codec_tag = self._profile.sample_entry
        tags = colours_of(first, encoding)
        context.color_range, context.colorspace = tags.range, tags.space
        context.color_trc, context.color_primaries = tags.transfer, tags.primaries
        context.flags |= int(av.codec.context.Flags.bitexact)
        open_encoder(context)
        return stream  # type: ignore[no-any-return]

    def _sample_aspect_ratio(self) -> Fraction:
        ratio = self._footage.sample_aspect_ratio or Fraction(1)
        if self._profile.video.square_pixels:
            return Fraction(1)
        return 1 / ratio if self._footage.rotation % 180 else ratio

    def put_picture(self, ordinal: int, frame: VideoFrame) -> None:
        """Scales a frame and queues it; waits while the encoder is behind."""
        for place, picture in self._chain.push(ordinal, frame):
            self._put(self._timed(place, picture))

    def put_sound(self, block: AudioFrame) -> None:
        """Encodes a block of samples and queues the packets."""
        if self._sound is not None:
            self._put(self._sound.push(block))

    def end(self) -> None:
        """Queues what was held back, and the end."""
        for place, picture in self._chain.flush():
            self._put(self._timed(place, picture))
        if self._sound is not None:
            self._put(self._sound.finish())
        self._put(None)

    def _timed(self, ordinal: int, picture: VideoFrame) -> _Picture:
        number = self._frames.start + ordinal
        begin = (self._footage.time_of(number) - self._start) / self._footage.timebase
        stop = (self._footage.time_of(number + 1) - self._start) / self._footage.timebase
        if begin.denominator != 1 or stop.denominator != 1:
            raise Disagreement(
                f"Frame {number} lies between two ticks of {self._footage.timebase} s. Preprocess the video again."
            )
        if picture.format.name != self._chain.pixel_format or (picture.width, picture.height) != self._chain.size:
            raise Disagreement(f"Frame {number} came out as {picture.format.name}, not as the profile says.")
        return _Picture(picture, int(begin), int(stop - begin))

    def _put(self, item: _Picture | list[Packet[Stream]] | None) -> None:
        while True:
            if self._work.done():
                self._work.result()
                raise EncodingFailed(f"The encoder of {self._path.name} stopped early. Try the export again.")
            try:
                self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue
            return

    def _write(self) -> Rendition:
        durations: dict[int, int] = {}
        sound: deque[Packet[Stream]] = deque()

        def mux(packets: Sequence[Packet[Stream]]) -> None:
            for packet in packets:
                if packet.pts is None or packet.dts is None:
                    raise EncodingFailed(f"The encoder of {self._path.name} gave a packet without a time.")
                packet.duration = durations.pop(packet.pts)
                self._mux_sound(sound, packet.dts * self._footage.timebase)
                self._output.mux(packet)

        with translated(f"encoding {self._path.name}"):
            try:
                while (item := self._queue.get()) is not None:
                    if isinstance(item, _Picture):
                        item.frame.pts, item.frame.time_base = item.pts, self._footage.timebase
                        # A decoded frame remembers its type, and an encoder would obey: every frame of an intra-only
                        # master would become a key frame.
                        item.frame.pict_type = PictureType.NONE
                        durations[item.pts] = item.duration
                        self._looks.append(_look(item.frame))
                        mux(self._stream.encode(item.frame))
                    else:
                        sound.extend(item)
                if not self._abandoned.is_set():
                    mux(self._stream.encode(None))
                    self._mux_sound(sound, None)
            finally:
                self._output.close()
        if self._abandoned.is_set():
            raise Cancelled(f"{self._path.name} was given up before its end. Nothing was published.")
        return self._read_back()

    def _mux_sound(self, sound: deque[Packet[Stream]], until: Fraction | None) -> None:
        # The order in the file is decided by timestamps alone, never by which thread was faster.
        while sound:
            head = sound[0]
            begins = head.dts * head.time_base if head.dts is not None and head.time_base is not None else Fraction(0)
            if until is not None and begins > until:
                return
            self._output.mux(sound.popleft())

    def result(self) -> Rendition:
        """Waits until the file is written and read back.

        Raises ``media.disagreement`` if the file does not hold the frames it should, each at its time.
        """
        rendition = self._work.result()
        self._threads.shutdown()
        return rendition

    def _read_back(self) -> Rendition:
        with translated(f"reading back {self._path.name}"), av.open(str(self._path)) as file:
            video = file.streams.video[0]
            video.thread_type = "FRAME"
            video.codec_context.thread_count = 2
            sound = file.streams.audio[0] if file.streams.audio else None
            shown, first_is_key, sound_end = array("q"), False, Fraction(0)
            worst, seen = 0.0, 0
            for packet in file.demux():
                if packet.stream_index == video.index:
                    for frame in packet.decode():
                        if not isinstance(frame, VideoFrame):
                            continue
                        worst = max(worst, self._difference(seen, frame))
                        seen += 1
                if packet.size == 0 or packet.pts is None or packet.time_base is None:
                    continue
                if packet.stream_index == video.index:
                    first_is_key = first_is_key or (not shown and packet.is_keyframe)
                    shown.append(packet.pts)
                else:
                    sound_end = max(sound_end, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if {len(shown), seen, len(self._looks)} != {len(self._frames)} or not first_is_key:
                raise Disagreement(
                    f"{self._path.name} took {len(self._looks)} frames and reads back with {len(shown)}, of which {seen} "
                    f"decode; {len(self._frames)} are due. It was not published; try again."
                )
            last = self._refuse_shifted(sorted(shown), Fraction(video.time_base or 1))
            context: Any = video.codec_context
            told = self._sound
            return Rendition(
                profile=self._profile,
                path=self._path,
                width=video.width,
                height=video.height,
                pixel_format=str(context.pix_fmt),
                color_range=colour.RANGES.get(int(context.color_range), ""),
                color_space=colour.SPACES.get(int(context.colorspace), ""),
                color_transfer=colour.TRANSFERS.get(int(context.color_trc), ""),
                color_primaries=colour.PRIMARIES.get(int(context.color_primaries), ""),
                codec=context.codec.canonical_name,
                frames=len(shown),
                duration=last,
                rate=Fraction(len(self._frames)) / self._length,
                faststart=_starts_fast(self._path),
                picture_difference=round(worst, 4),
                sound_codec=sound.codec_context.codec.canonical_name if sound else "",
                sample_rate=sound.sample_rate if sound else None,
                channels=sound.layout.nb_channels if sound else None,
                layout=sound.layout.name if sound else "",
                sound_duration=sound_end if sound else None,
                sound=told.facts() if told else None,
            )

    def _difference(self, place: int, frame: VideoFrame) -> float:
        """How far a decoded frame lies from the one that was encoded, as a share of the full range."""
        if place >= len(self._looks):
            return 1.0
        now, meant = _look(frame), self._looks[place]
        if now.shape != meant.shape:
            return 1.0
        depth = float((1 << frame.format.components[0].bits) - 1)
        return float(np.abs(now.astype(np.int32) - meant.astype(np.int32)).mean()) / depth

    def _refuse_shifted(self, shown: Sequence[int], timebase: Fraction) -> Fraction:
        """Compares when frames are shown with when they should be; gives the end of the last, in seconds.

        MP4 holds every time exactly; Matroska rounds to its tick of a millisecond.
        """
        number = self._frames.start
        for number, ticks in enumerate(shown, start=self._frames.start):
            due = self._footage.time_of(number) - self._start
            if abs(ticks * timebase - due) * 2 > (timebase if self._profile.container == "matroska" else 0):
                raise Disagreement(
                    f"{self._path.name} shows frame {number} at {float(ticks * timebase):.6f} s instead of "
                    f"{float(due):.6f} s. It was not published; try again."
                )
        return shown[-1] * timebase + self._footage.time_of(number + 1) - self._footage.time_of(number)

    def abort(self) -> None:
        """Stops the thread and closes the file, finished or not."""
        self._abandoned.set()
        while not self._work.done():
            try:
                while True:
                    self._queue.get_nowait()
            except queue.Empty:
                pass
            try:
                self._queue.put(None, timeout=0.2)
            except queue.Full:
                continue
            wait([self._work], timeout=0.2)
        self._threads.shutdown()


def _look(frame: VideoFrame) -> Look:
    """A grid of samples of the first plane, enough to tell one picture from another."""
    deep = frame.format.components[0].bits > 8
    plane = frame.planes[0]
    rows = np.frombuffer(memoryview(plane), np.uint16 if deep else np.uint8).reshape(plane.height, -1)
    down = np.linspace(0, plane.height - 1, min(GRID[0], plane.height)).astype(np.intp)
    across = np.linspace(0, plane.width - 1, min(GRID[1], plane.width)).astype(np.intp)
    return np.asarray(rows[np.ix_(down, across)]).copy()


def _depth(frame: VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def _kept_format(encoding: VideoEncoding, name: str) -> str:
    """The pixel format that keeps the source's samples as they are, under a name the encoder knows."""
    # The deprecated full-range names mean the same planes; the range is tagged instead.
    name = name.replace("yuvj", "yuv")
    formats = av.Codec(encoding.encoder, "w").video_formats or []
    if name not in {known.name for known in formats}:
        raise UnsupportedPixels(
            f"{encoding.encoder} cannot hold {name} without loss. Ask for a delivery profile instead, such as delivery-h264."
        )
    return name


def _starts_fast(path: Path) -> bool:
    """Whether an MP4's index stands before its samples; False for other containers."""
    with path.open("rb") as file:
        while head := file.read(8):
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in (b"moov", b"mdat"):
                return kind == b"moov"
            if size < 8:
                return False
            file.seek(size - 8, 1)
    return False
