"""One rendition being written: its encoders, its file and the proof that the file holds what was meant.

A thread of its own shapes and encodes pictures and interleaves the sound; another decodes each packet on its way into
the file, so that every frame is proved to be there, at its exact time, decodable, and looking like the one that was
encoded. The finished file's own tables are read through a descriptor that was open before its first byte. The order of
packets depends on their times alone, so the same frames and samples give the same bytes however the threads ran.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.codec.context
from av.audio.frame import AudioFrame
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from contracts.values import FrameRange
from services.media import colour
from services.media.audio import SoundChain, Track, open_encoder
from services.media.containers import copied
from services.media.errors import Disagreement, EncodingFailed, UnsupportedPixels, translated
from services.media.footage import Footage
from services.media.layout import Layout, layout_of
from services.media.light import Light
from services.media.lossless import lossless_format
from services.media.measure import SoundFacts, SoundLimits
from services.media.overlay import Overlay
from services.media.profiles import AudioEncoding, Profile, VideoEncoding
from services.media.proof import Proof, Seen
from services.media.shaping import Chains, Colours, colours_of, delivered_size
from services.media.timebase import nearest
from services.media.workers import Crew, Pipe

# One encoder prints its settings to the terminal, unless this says that errors alone matter.
os.environ.setdefault("SVT_LOG", "1")

SOUND_AHEAD = Fraction(1, 2)
"""Seconds by which the sound is encoded ahead of the pictures; more than any encoder holds back."""

_X265 = {"bframes": "3", "ctu": "32", "frame-threads": "1", "pools": "2", "rc-lookahead": "4", "ref": "2"}
_SVT = {"lookahead": "8", "lp": "1"}
_FRUGAL: dict[int, dict[str, dict[str, str]]] = {
    1920 * 1080: {"libx264": {"rc-lookahead": "20"}, "libx265": _X265, "libsvtav1": _SVT},
    3840 * 2160: {
        "libx264": {"rc-lookahead": "10"},
        "libx265": {**_X265, "bframes": "2", "rc-lookahead": "3"},
        "libsvtav1": _SVT,
    },
}
"""What encoders are told of pictures with so many pixels or more, unless the profile says otherwise.

They hold every frame that they look ahead or work on at once: at 1920x1080 each costs 6 to 15 MB.
"""

_QUEUED_PIXELS = 7_400_000


def queue_depth(width: int, height: int) -> int:
    """How many pictures wait for a thread: 8 of ordinary size, 3 of 1920x1080, 2 of larger ones."""
    return max(2, min(8, _QUEUED_PIXELS // (width * height)))


def frugal(encoding: VideoEncoding, size: tuple[int, int]) -> dict[str, str]:
    """What keeps the encoder's memory within bounds for pictures of this size, and agrees with what the profile says."""
    reached = [told for pixels, told in sorted(_FRUGAL.items()) if size[0] * size[1] >= pixels]
    found = dict(reached[-1].get(encoding.encoder, {})) if reached else {}
    said = dict(encoding.options)
    if "bframes" in found and "rc-lookahead" in found:
        # x265 refuses to look ahead no further than it reorders.
        if "bframes" in said:
            found["rc-lookahead"] = str(max(int(found["rc-lookahead"]), int(said["bframes"]) + 1))
        elif "rc-lookahead" in said:
            found["bframes"] = str(max(0, min(int(found["bframes"]), int(said["rc-lookahead"]) - 1)))
    return found


ColourNames = tuple[str, str, str, str]
"""Range, matrix, transfer and primaries by name; empty where nothing is said."""


_X265_DELAY = 2
"""Frames by which the encoder delays the first one when it uses a pyramid of B-frames."""


@dataclass(frozen=True)
class Rendition:
    """One file that was written, as its decoder and its own tables tell.

    ``picture_difference`` is how far the worst frame lies from what was given to the encoder, as a share of the full
    range: 0 for a lossless profile. ``fault`` says what of the container's tables does not fit; it is empty for a whole
    file. ``colours_meant`` and ``pixel_format_meant`` are what the frames were to carry.
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
    colours_meant: ColourNames = ("", "", "", "")
    pixel_format_meant: str = ""
    fault: str = ""
    sound_codec: str = ""
    sample_rate: int | None = None
    channels: int | None = None
    layout: str = ""
    sound_duration: Fraction | None = None
    sound: SoundFacts | None = None


class Heard(Protocol):
    """How far the sound of a clip has come; asked by the thread that interleaves it."""

    def wait(self, until: Fraction | None) -> None:
        """Returns once all sound up to so many seconds, or all there is, was encoded."""
        ...


@dataclass
class _Muxed:
    """What went into the file: packets and bytes of each kind; where pictures end in ticks, and the sound in seconds."""

    packets: int = 0
    pictures_end: int = 0
    starts_with_key: bool = False
    sound_size: int = 0
    sound_end: Fraction = Fraction(0)


SoundsByForm = dict[tuple[AudioEncoding, float | None], SoundChain]
"""A clip's sound in each form that its renditions want, with the gain that it gets."""


class Writer:
    """One rendition being written. Its threads belong to the clip's crew: what fails in one ends them all."""

    def __init__(
        self,
        path: Path,
        profile: Profile,
        footage: Footage,
        frames: FrameRange,
        *,
        title: str,
        first: VideoFrame,
        light: Light | None,
        first_sound: AudioFrame | None,
        sounds: SoundsByForm,
        limits: SoundLimits,
        crew: Crew,
        heard: Heard,
        chains: Chains,
        gain: float | None = None,
        overlay: Overlay | None = None,
    ) -> None:
        self._path = path
        self._profile = profile
        self._footage = footage
        self._frames = frames
        self._heard = heard
        self._start = footage.time_of(frames.start)
        self._length = footage.time_of(frames.end) - self._start
        self._overlay = overlay
        encoding = profile.video
        self._chains = chains
        self._chain = chains.take(
            first,
            rotation=footage.rotation,
            size=delivered_size(first.width, first.height, footage.sample_aspect_ratio, footage.rotation, encoding),
            pixel_format=encoding.pixel_format_for(_depth(first)) or _kept_format(encoding, first.format.name),
            standard=encoding.standard_range,
            keeps_hdr=encoding.keeps_hdr,
            deinterlace=encoding.deinterlace and footage.interlaced,
        )
        self._tags = colours_of(first, encoding)
        # Open before the first byte, so that the finished file need not be opened again.
        self._descriptor: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        self._muxed = _Muxed()
        self._seen = Seen()
        self._durations: dict[int, int] = {}
        self._next = 0
        self._sound: SoundChain | None = None
        self._track: Track | None = None
        try:
            self._output: OutputContainer = av.open(
                str(path),
                "w",
                format=profile.container,
                options={"fflags": "+bitexact", **dict(profile.container_options)},
            )
        except BaseException:
            self._close_descriptor()
            raise
        try:
            self._output.metadata["title"] = title
            self._stream = self._open_pictures(light if encoding.keeps_hdr else None)
            if first_sound is not None:
                form = (profile.audio, gain)
                if form in sounds:
                    self._track = sounds[form].join(self._output)
                else:
                    sounds[form] = SoundChain(
                        self._output, profile.audio, first_sound, self._length, limits=limits, gain=gain
                    )
                    (self._track,) = sounds[form].tracks
                self._sound = sounds[form]
            self._output.start_encoding()
            self._proof = Proof(self._stream.codec_context)
        except BaseException:
            # A container left open keeps its file and its threads.
            self._output.close()
            self._close_descriptor()
            raise
        depth = queue_depth(first.width, first.height)
        self._packets: Pipe[Packet[Stream]] = crew.pipe(f"prove-{profile.name}", self._prove, depth=depth)
        self._pictures: Pipe[tuple[int, VideoFrame]] = crew.pipe(f"encode-{profile.name}", self._write, depth=depth)

    def _open_pictures(self, light: Light | None) -> VideoStream:
        encoding, footage = self._profile.video, self._footage
        params = list(light.params(encoding.encoder)) if light else []
        if encoding.encoder == "libx265" and len(self._frames) <= _X265_DELAY:
            # With as many frames as it reorders or fewer, the encoder gives decoding times that were never set.
            params.append(("bframes", "0"))
        options = encoding.encoder_options(params=params, unless_said=frugal(encoding, self._chain.size))
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
        context.color_range, context.colorspace = self._tags.range, self._tags.space
        context.color_trc, context.color_primaries = self._tags.transfer, self._tags.primaries
        context.flags |= int(av.codec.context.Flags.bitexact)
        open_encoder(context)
        return stream  # type: ignore[no-any-return]

    def _sample_aspect_ratio(self) -> Fraction:
        ratio = self._footage.sample_aspect_ratio or Fraction(1)
        if self._profile.video.square_pixels:
            return Fraction(1)
        return 1 / ratio if self._footage.rotation % 180 else ratio

    def put_picture(self, ordinal: int, frame: VideoFrame) -> None:
        """Queues a frame, which is the writer's own from then on; waits while the encoder is behind."""
        self._pictures.put((ordinal, frame))

    def end(self) -> None:
        """No more pictures come."""
        self._pictures.finish()

    def _write(self, items: Iterator[tuple[int, VideoFrame]]) -> None:
        with translated(f"encoding {self._path.name}"):
            try:
                for ordinal, frame in items:
                    for place, picture in self._chain.push(ordinal, frame):
                        self._encode(place, picture)
                for place, picture in self._chain.flush():
                    self._encode(place, picture)
                self._chains.give(self._chain)
                self._heard.wait(None)
                self._mux(self._stream.encode(None))
                self._mux_sound(None)
            finally:
                self._output.close()
            self._packets.finish()

    def _encode(self, ordinal: int, picture: VideoFrame) -> None:
        number = self._frames.start + ordinal
        base, begin = self._footage.timebase, self._next
        until = self._footage.time_of(number + 1) - self._start
        stop = until / base
        if stop.denominator != 1:
            raise Disagreement(f"Frame {number + 1} lies between two ticks of {base} s. Preprocess the video again.")
        self._next = int(stop)
        if picture.format.name != self._chain.pixel_format or (picture.width, picture.height) != self._chain.size:
            raise Disagreement(f"Frame {number} came out as {picture.format.name}, not as the profile says.")
        if self._overlay is not None:
            self._overlay.mark(picture)
        picture.pts, picture.time_base = begin, base
        # A decoded frame remembers its type, and an encoder would obey: every frame of an intra-only master would become
        # a key frame.
        picture.pict_type = PictureType.NONE
        _tag(picture, self._tags)
        self._durations[begin] = self._next - begin
        self._proof.expect(begin, picture)
        # Pictures are interleaved with sound up to their own time, and the sound is encoded that far first: a little
        # further, for what an encoder holds back.
        self._heard.wait(until + SOUND_AHEAD)
        self._mux(self._stream.encode(picture))

    def _mux(self, packets: Sequence[Packet[Stream]]) -> None:
        base = self._footage.timebase
        for packet in packets:
            duration = self._durations.pop(packet.pts, None) if packet.pts is not None else None
            if packet.pts is None or packet.dts is None or duration is None:
                raise EncodingFailed(
                    f"The encoder of {self._path.name} gave a packet without a time that it was given."
                )
            due = packet.pts
            packet.duration = duration
            self._mux_sound(packet.dts * base)
            self._packets.put(copied(packet))
            if self._muxed.packets == 0:
                self._muxed.starts_with_key = packet.is_keyframe
            self._output.mux(packet)
            self._refuse_shifted(packet, due)
            self._muxed.packets += 1
            self._muxed.pictures_end = max(self._muxed.pictures_end, due + duration)

    def _refuse_shifted(self, packet: Packet[Stream], due: int) -> None:
        """Compares the time that the container holds with the tick that was meant.

        MP4 holds every time exactly; Matroska rounds to its tick of a millisecond.
        """
        base = self._footage.timebase
        if packet.pts == due and packet.time_base == base:
            return
        tick = Fraction(packet.time_base or 1)
        at, meant = (packet.pts or 0) * tick, due * base
        if abs(at - meant) * 2 > (tick if self._profile.container == "matroska" else 0):
            raise Disagreement(
                f"{self._path.name} shows a frame at {float(at):.6f} s instead of {float(meant):.6f} s. It was not "
                "published; try again."
            )

    def _mux_sound(self, until: Fraction | None) -> None:
        # The order in the file is decided by timestamps alone, never by which thread was faster.
        sound = self._track.waiting if self._track else None
        while sound:
            head = sound[0]
            base = Fraction(head.time_base or 1)
            if until is not None and (head.dts or 0) * base > until:
                return
            sound.popleft()
            self._muxed.sound_size += head.size
            self._muxed.sound_end = max(self._muxed.sound_end, ((head.pts or 0) + (head.duration or 0)) * base)
            self._output.mux(head)

    def _prove(self, packets: Iterator[Packet[Stream]]) -> None:
        with translated(f"proving {self._path.name}"):
            self._seen = self._proof.read(packets)

    def result(self) -> Rendition:
        """What was written, once the crew's threads have ended.

        Raises ``media.disagreement`` if the file does not hold the frames it should, each at its time.
        """
        muxed, seen, due = self._muxed, self._seen, len(self._frames)
        if {muxed.packets, seen.shown} != {due} or not muxed.starts_with_key:
            raise Disagreement(
                f"{self._path.name} took {muxed.packets} packets, of which {seen.shown} frames decode; {due} are due. It "
                "was not published; try again."
            )
        if seen.misplaced or seen.damaged:
            raise Disagreement(
                f"{seen.misplaced} frames of {self._path.name} decode at another time than was meant, and {seen.damaged} "
                "are damaged. It was not published; try again."
            )
        layout = self._layout()
        told = self._sound
        stream = self._track.stream.codec_context if self._track else None
        tags = seen.colours
        # What the codec's own stream does not say, the container does.
        said = Colours(
            range=tags[0] or self._tags.range,
            space=tags[1] if tags[1] != colour.UNSPECIFIED else self._tags.space,
            transfer=tags[2] if tags[2] != colour.UNSPECIFIED else self._tags.transfer,
            primaries=tags[3] if tags[3] != colour.UNSPECIFIED else self._tags.primaries,
        )
        color_range, color_space, color_transfer, color_primaries = _named(said)
        return Rendition(
            profile=self._profile,
            path=self._path,
            width=seen.width,
            height=seen.height,
            pixel_format=seen.pixel_format,
            color_range=color_range,
            color_space=color_space,
            color_transfer=color_transfer,
            color_primaries=color_primaries,
            colours_meant=_named(self._tags),
            pixel_format_meant=self._chain.pixel_format,
            codec=seen.codec,
            frames=seen.shown,
            duration=muxed.pictures_end * self._footage.timebase,
            rate=Fraction(seen.shown) / (muxed.pictures_end * self._footage.timebase),
            faststart=layout.faststart,
            picture_difference=seen.worst,
            fault=layout.fault,
            sound_codec=stream.codec.canonical_name if stream else "",
            sample_rate=told.sample_rate if told else None,
            channels=told.channels if told else None,
            layout=stream.layout.name if stream else "",
            sound_duration=muxed.sound_end if told else None,
            sound=told.facts() if told else None,
        )

    def _layout(self) -> Layout:
        """The finished file's own tables, held against what went into it."""
        assert self._descriptor is not None  # noqa: S101 - closed here and by ``abort`` alone.
        found = layout_of(self._descriptor, self._profile.container)
        self._close_descriptor()
        sizes = [track.size for track in found.tracks[1:]]
        if found.fault:
            return found
        if not found.tracks or found.tracks[0].packets != self._muxed.packets:
            counted = found.tracks[0].packets if found.tracks else 0
            found.fault = f"its index counts {counted} pictures, {self._muxed.packets} were written"
        elif sum(sizes) != self._muxed.sound_size:
            found.fault = f"its index counts {sum(sizes)} bytes of sound, {self._muxed.sound_size} were written"
        return found

    def _close_descriptor(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def abort(self) -> None:
        """Frees what a writer holds beside its threads, which its crew has ended."""
        self._close_descriptor()


def _tag(picture: VideoFrame, tags: Colours) -> None:
    """Says on the frame what the stream says: some encoders believe the one, some the other."""
    picture.color_range, picture.colorspace = tags.range, tags.space
    picture.color_trc, picture.color_primaries = tags.transfer, tags.primaries


def _named(tags: Colours) -> ColourNames:
    return (
        colour.RANGES.get(tags.range, ""),
        colour.SPACES.get(tags.space, ""),
        colour.TRANSFERS.get(tags.transfer, ""),
        colour.PRIMARIES.get(tags.primaries, ""),
    )


def _depth(frame: VideoFrame) -> int:
    return max(component.bits for component in frame.format.components)


def _kept_format(encoding: VideoEncoding, name: str) -> str:
    """The pixel format that keeps the source's samples as they are, under a name the encoder knows."""
    if encoding.encoder == "ffv1":
        return lossless_format(name)
    # The deprecated full-range names mean the same planes; the range is tagged instead.
    name = name.replace("yuvj", "yuv")
    formats = av.Codec(encoding.encoder, "w").video_formats or []
    if name not in {known.name for known in formats}:
        raise UnsupportedPixels(
            f"{encoding.encoder} cannot hold {name} without loss. Ask for a delivery profile instead, such as delivery-h264."
        )
    return name
