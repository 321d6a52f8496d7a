"""What a source file is, proved by reading it to its end.

The probe reads every packet (headers alone lie), counts what the file holds, measures its timestamps, and decodes only
the first pictures. It refuses what is no video, what is encrypted and what ends early, each with its own code. Damage
that only decoding can see is left to the decode pass, which compares its count with ``promised_frames``.
Memory: 9 bytes for each video packet.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from contracts.values import MAX_FRAMES, AudioFacts, Finding, FrameRange, MediaFacts, VideoFacts
from services.media import colour
from services.media.containers import audio_stream, is_moving_picture, opened, video_stream
from services.media.declared import declared_duration, declares_encryption
from services.media.errors import (
    Corrupt,
    DurationLie,
    EmptyFile,
    Encrypted,
    NoVideoStream,
    OverLimits,
    Truncated,
    UnsupportedCodec,
    explained,
    translated,
)
from services.media.nal_units import length_check

_HIDING_CODECS = frozenset({"vp8", "vp9", "mpeg4", "msmpeg4v3", "msmpeg4v2", "h263"})
"""Codecs with packets that show no picture of their own: alternate references, packed B-frames."""

_FIRST_PICTURES = 8
_TOLERABLE_AUDIO_GAP = Fraction(1, 2)
_TOLERABLE_DRIFT = Fraction(40, 1000)
"""Sound this far from its pictures is heard to be wrong."""
_HOLE = Fraction(1, 10)
"""A jump of the sound's times by this much is a hole, not a clock that runs wrong."""
_LONG_SHOWN = Fraction(5)
"""A picture must stand longer than this before it can be called a lie about the duration."""


@dataclass(frozen=True)
class ProbeLimits:
    """What this installation takes. ``None`` means no bound."""

    bytes: int | None = None
    seconds: Fraction | None = None
    pixels: int | None = None


@dataclass(frozen=True)
class SubtitleStream:
    """A subtitle track; ``text`` tells whether it can become captions (bitmaps cannot)."""

    index: int
    codec: str
    language: str
    title: str
    text: bool
    default: bool
    forced: bool


@dataclass(frozen=True)
class Chapter:
    """A named part of the video, in seconds on the source's own axis."""

    title: str
    start: Fraction
    end: Fraction


@dataclass(frozen=True)
class Probe:
    """What was proved.

    ``start``: time of the first video frame on the source's own axis, in seconds.
    ``audio_start``, ``audio_end``: likewise for the chosen audio.
    ``promised_frames``: how many pictures the decoder owes; ``may_hide`` that the codec may owe fewer without damage.
    """

    facts: MediaFacts
    bytes: int
    start: Fraction
    promised_frames: int
    may_hide: bool
    audio_start: Fraction | None = None
    audio_end: Fraction | None = None
    subtitles: tuple[SubtitleStream, ...] = ()
    chapters: tuple[Chapter, ...] = ()
    tags: dict[str, str] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


def probe(path: Path, *, limits: ProbeLimits | None = None) -> Probe:
    """Reads a file to its end.

    Raises:
        MediaError: ``media.empty_file``, ``media.not_a_video``, ``media.no_video_stream``, ``media.truncated``,
            ``media.corrupt``, ``media.drm``, ``media.codec_unsupported``, ``media.over_limits`` …
    """
    limits = limits or ProbeLimits()
    with translated(f"opening {path.name}"):
        size = path.stat().st_size
    if size == 0:
        raise EmptyFile(f"{path.name} is empty. The transfer may have failed: send the file again.")
    if limits.bytes is not None and size > limits.bytes:
        raise OverLimits(
            f"{path.name} has {size} bytes; this installation takes {limits.bytes}. Submit a smaller file."
        )
    with opened(path) as container, translated(f"reading {path.name}"):
        is_mp4 = "mov" in container.format.name
        if is_mp4 and declares_encryption(path):
            raise Encrypted(f"{path.name} is encrypted (DRM) and cannot be read. Submit a copy without protection.")
        declared = declared_duration(path) if is_mp4 else None
        return _read(container, path.name, size, limits, declared)


def _read(
    container: InputContainer, name: str, size: int, limits: ProbeLimits, declared: Fraction | None = None
) -> Probe:
    video = video_stream(container)
    if video is None:
        held = "audio only" if container.streams.audio else "no audio and no video"
        raise NoVideoStream(f"{name} holds no moving pictures ({held}). Submit a file with a video stream.")
    audio = audio_stream(container)
    if video.codec_context is None:
        raise UnsupportedCodec(f"No decoder here understands the video of {name}. Convert it to H.264 or H.265.")
    tally = _Tally(video, audio)
    try:
        for packet in container.demux():
            tally.take(packet)
    except (av.FFmpegError, OSError) as error:
        if isinstance(error, OSError) and not isinstance(error, av.FFmpegError):
            raise
        cause = explained(error, f"reading {name}")
        raise Truncated(f"{name} breaks off after {tally.video_packets} video packets. {cause.message}") from error
    if tally.encrypted:
        raise Encrypted(f"{name} is encrypted (DRM) and cannot be read. Submit a copy without protection.")
    if tally.video_packets == 0:
        raise NoVideoStream(f"The video stream of {name} holds no picture. Submit a file with a video in it.")
    _refuse_truncation(container, name, size, tally)
    if declared is not None and declared > 2 * tally.furthest + 2:
        raise DurationLie(
            f"{name} says that it lasts {float(declared):.1f} s, but all it holds ends at {float(tally.furthest):.1f} s. "
            "Fetch it again, or export it again at its origin."
        )
    first = _first_pictures(container, video, name)
    return _proved(container, video, audio, first, tally, name, size, limits)


_MOST_HOLES = 10_000


def _frame_ticks(audio: AudioStream) -> int:
    """Ticks of a packet's samples where the codec fixes their number; 0 where each packet tells its own."""
    samples = {"aac": 1024, "mp3": 1152, "mp2": 1152, "ac3": 1536}.get(audio.codec_context.codec.canonical_name, 0)
    if not samples or not audio.time_base or not audio.rate or audio.profile not in {None, "LC", "Main"}:
        return 0
    if audio.codec_context.frame_size not in {0, samples}:
        return 0
    ticks = samples / (audio.rate * audio.time_base)
    return int(ticks) if ticks.denominator == 1 else 0


class _Tally:
    """Counts packets as they pass; keeps timestamps of the chosen video alone."""

    def __init__(self, video: VideoStream, audio: AudioStream | None) -> None:
        self.video = video
        self.audio = audio
        self.pts = array("q")
        self.keys = array("b")
        self.untimed = 0
        self.video_packets = 0
        self.video_discarded = 0
        self.audio_packets = 0
        self.video_end: int | None = None
        self.video_frame_ticks = 0
        self.audio_start: int | None = None
        self.audio_end: int | None = None
        self.audio_last: int | None = None
        self.audio_excess = 0
        """Ticks by which the sound's times run ahead of its samples, holes not counted."""
        self.audio_holes: list[tuple[Fraction, Fraction]] = []
        self._audio_length = _frame_ticks(audio) if audio is not None else 0
        self._audio_hole = int(_HOLE / (audio.time_base or 1)) if audio is not None else 0
        self._whole = length_check(video.codec_context.codec.canonical_name, video.codec_context.extradata)
        self.furthest = Fraction(0)
        self.key_seen = False
        self.damaged_inside = 0
        self.misshapen = 0
        self.first_misshapen = 0
        self.damaged_last = False
        self.encrypted = False

    def take(self, packet: Packet[Stream]) -> None:
        if not packet.size:
            return
        at = packet.pts if packet.pts is not None else packet.dts
        if at is not None and packet.time_base:
            self.furthest = max(self.furthest, (at + (packet.duration or 0)) * packet.time_base)
        if packet.stream_index == self.video.index:
            self._take_video(packet)
        elif self.audio is not None and packet.stream_index == self.audio.index:
            self._take_audio(packet, at)

    def _take_video(self, packet: Packet[Stream]) -> None:
        self.encrypted |= packet.has_sidedata("encryption_info")
        if packet.is_discard:
            self.video_discarded += 1
            return
        self.video_packets += 1
        self.key_seen |= packet.is_keyframe
        # A recording that was joined midway begins with damaged remains; they lie before the first key picture.
        self.damaged_inside += packet.is_corrupt and self.key_seen
        if self._whole is not None and not self._whole(memoryview(packet)):
            self.misshapen += 1
            self.first_misshapen = self.first_misshapen or self.video_packets
        self.damaged_last = packet.is_corrupt
        if packet.pts is None:
            self.untimed += 1
        self.pts.append(packet.pts if packet.pts is not None else (packet.dts or 0))
        self.keys.append(1 if packet.is_keyframe else 0)
        end = self.pts[-1] + (packet.duration or 0)
        if self.video_end is None or end > self.video_end:
            self.video_end = end
            self.video_frame_ticks = packet.duration or 0

    def _take_audio(self, packet: Packet[Stream], at: int | None) -> None:
        self.encrypted |= packet.has_sidedata("encryption_info")
        if packet.is_discard:
            return
        self.audio_packets += 1
        if at is not None:
            self.audio_start = at if self.audio_start is None else min(at, self.audio_start)
            self.audio_end = max(self.audio_end or at, at + (packet.duration or 0))
            self._time_audio(at, packet)

    def _time_audio(self, at: int, packet: Packet[Stream]) -> None:
        """Holds the packet's time against what the samples before it last."""
        length = self._audio_length or packet.duration or 0
        if self.audio_last is not None and length:
            beyond = at - self.audio_last
            if abs(beyond) < self._audio_hole:
                self.audio_excess += beyond
            elif beyond > 0 and len(self.audio_holes) < _MOST_HOLES:
                base = packet.time_base or Fraction(1)
                self.audio_holes.append((self.audio_last * base, at * base))
        self.audio_last = at + length if length else None


def _refuse_truncation(container: InputContainer, name: str, size: int, tally: _Tally) -> None:
    remedy = "Transfer the file again, or export it again at its origin."
    streams = [stream for stream in (tally.video, tally.audio) if stream is not None]
    for stream in streams:
        entries = stream.index_entries
        missing = sum(1 for entry in entries if entry.pos + entry.size > size) if "mov" in container.format.name else 0
        if missing:
            raise Truncated(
                f"{name} is cut off: its index names {len(entries)} {stream.type} packets, of which {missing} lie beyond "
                f"the file's {size} bytes. {remedy}"
            )
    promised = tally.video.frames if "mov" in container.format.name else 0
    found = tally.video_packets + tally.video_discarded
    if found < promised:
        raise Truncated(f"{name} promises {promised} pictures and holds {found}. {remedy}")
    if container.format.name == "mpegts" and all(size % length for length in (188, 192, 204)):
        raise Truncated(f"{name} is cut off in the midst of a transport packet ({size} bytes). {remedy}")
    if tally.damaged_last:
        raise Truncated(
            f"{name} is cut off in the midst of its last picture, after {tally.video_packets} video packets. {remedy}"
        )
    if tally.damaged_inside:
        raise Corrupt(
            f"{tally.damaged_inside} of the {tally.video_packets} video packets of {name} arrived damaged. {remedy}"
        )
    declared = Fraction(container.duration or 0, av.time_base) + Fraction(
        min(container.start_time or 0, 0), av.time_base
    )
    trusted = any(kind in container.format.name for kind in ("matroska", "mov"))
    if trusted and declared - tally.furthest > max(Fraction(1), declared / 50):
        raise Truncated(
            f"{name} says that it lasts {float(declared):.2f} s, but its packets end at {float(tally.furthest):.2f} s. "
            f"{remedy}"
        )


def _first_pictures(container: InputContainer, video: VideoStream, name: str) -> list[VideoFrame]:
    """The first decoded pictures: what the header leaves open (pixel format, interlacing, colour) they tell."""
    pictures: list[VideoFrame] = []
    container.seek(0, backward=True)
    video.thread_type = "SLICE"
    try:
        for packet in container.demux(video):
            pictures += packet.decode()
            if len(pictures) >= _FIRST_PICTURES:
                break
    except av.FFmpegError as error:
        if not pictures:
            raise explained(error, f"decoding the first picture of {name}") from error
    if not pictures:
        raise Corrupt(f"Not one picture of {name} can be decoded. Export or fetch it again.")
    return pictures


def _proved(
    container: InputContainer,
    video: VideoStream,
    audio: AudioStream | None,
    pictures: list[VideoFrame],
    tally: _Tally,
    name: str,
    size: int,
    limits: ProbeLimits,
) -> Probe:
    findings: list[Finding] = []
    picture = pictures[0]
    timebase = Fraction(video.time_base or Fraction(1, 90_000))
    pts = np.frombuffer(tally.pts, np.int64)
    keys = np.frombuffer(tally.keys, np.int8)
    promised = _promised(pts, keys)
    shown = np.unique(pts)
    rate, frame_ticks = _rate(video, shown, timebase, tally)
    end = max(tally.video_end or 0, int(shown[-1]) + (tally.video_frame_ticks or frame_ticks))
    duration = (end - int(shown[0])) * timebase
    if limits.seconds is not None and duration > limits.seconds:
        raise OverLimits(
            f"{name} lasts {float(duration):.0f} s; this installation takes {float(limits.seconds):.0f}. Cut it first."
        )
    if limits.pixels is not None and picture.width * picture.height > limits.pixels:
        raise OverLimits(
            f"The pictures of {name} have {picture.width}x{picture.height} pixels; this installation takes "
            f"{limits.pixels} in all. Scale it down first."
        )
    if tally.video_packets > MAX_FRAMES:
        raise OverLimits(f"{name} holds {tally.video_packets} pictures; the limit is {MAX_FRAMES}. Cut it first.")
    variable = _is_variable(shown)
    findings += _timestamp_findings(pts, shown, timebase, tally, variable=variable)
    if tally.misshapen:
        findings.append(
            Finding(
                code="media.damaged_packets",
                message=f"{tally.misshapen} of {tally.video_packets} video packets are damaged; the first is packet "
                f"{tally.first_misshapen}.",
            )
        )
    if promised < tally.video_packets:
        findings.append(
            Finding(
                code="media.undecodable_start",
                message=f"{tally.video_packets - promised} pictures precede the first key picture and may not decode.",
            )
        )
    audio_facts, audio_start, audio_end = _audio(audio, tally)
    video_start = int(shown[0]) * timebase
    findings += _sound_findings(container, audio, tally)
    findings += _missing_findings(shown, timebase, tally)
    if audio_start is not None and audio_end is not None:
        findings += _audio_findings(video_start, video_start + duration, audio_start, audio_end)
    facts = MediaFacts(
        container=container.format.name,
        duration=duration,
        video=VideoFacts(
            stream_index=video.index,
            codec=video.codec_context.codec.canonical_name,
            profile=video.profile or "",
            width=picture.width,
            height=picture.height,
            pixel_format=picture.format.name,
            rate=rate,
            timebase=timebase,
            packets=tally.video_packets,
            variable_rate=variable,
            rotation=picture.rotation,
            sample_aspect_ratio=_square_unless_told(video),
            color_range=colour.RANGES.get(int(picture.color_range), ""),
            color_space=colour.SPACES.get(int(picture.colorspace), ""),
            color_transfer=colour.TRANSFERS.get(int(picture.color_trc), ""),
            color_primaries=colour.PRIMARIES.get(int(picture.color_primaries), ""),
            interlaced=any(frame.interlaced_frame for frame in pictures),
        ),
        audio=audio_facts,
        video_streams=max(1, sum(1 for stream in container.streams.video if is_moving_picture(stream))),
        audio_streams=len(container.streams.audio),
        subtitle_streams=len(container.streams.subtitles),
    )
    findings += _choices(container, video, audio if audio_facts is not None else None)
    return Probe(
        facts=facts,
        bytes=size,
        start=video_start,
        promised_frames=promised,
        may_hide=facts.video.codec in _HIDING_CODECS,
        audio_start=audio_start,
        audio_end=audio_end,
        subtitles=_subtitles(container),
        chapters=_chapters(container),
        tags={key.lower()[:100]: value[:1000] for key, value in sorted(container.metadata.items())[:100]},
        findings=tuple(findings),
    )


def _choices(container: InputContainer, video: VideoStream, audio: AudioStream | None) -> list[Finding]:
    """Says which track was taken where a file holds several, and which there were."""
    findings = []
    moving = [stream for stream in container.streams.video if is_moving_picture(stream)]
    if len(moving) > 1:
        held = ", ".join(f"{stream.index} ({stream.width}x{stream.height})" for stream in moving[:20])
        findings.append(
            Finding(
                code="media.video_track_chosen",
                message=f"Of {len(moving)} video tracks, {held}, the clips are cut from {video.index}.",
            )
        )
    if audio is not None and len(container.streams.audio) > 1:
        held = ", ".join(
            f"{stream.index} ({stream.language or 'no language'}, {stream.channels} channels)"
            for stream in container.streams.audio[:20]
        )
        findings.append(
            Finding(
                code="media.audio_track_chosen",
                message=f"Of {len(container.streams.audio)} audio tracks, {held}, {audio.index} is heard.",
            )
        )
    return findings


def _promised(pts: NDArray[np.int64], keys: NDArray[np.int8]) -> int:
    """Packets from the first key picture on that are shown at or after it: those before cannot be decoded."""
    places = np.flatnonzero(keys)
    if not len(places):
        return len(pts)
    first = int(places[0])
    return int(np.count_nonzero(pts[first:] >= pts[first]))


def _rate(video: VideoStream, shown: NDArray[np.int64], timebase: Fraction, tally: _Tally) -> tuple[Fraction, int]:
    """Average frames per second, and the usual length of a frame in ticks."""
    usual = int(np.median(np.diff(shown))) if len(shown) > 1 else tally.video_frame_ticks
    stated = video.average_rate or video.guessed_rate
    if stated and 0 < stated <= 1000:
        rate = Fraction(stated)
    elif len(shown) > 1:
        rate = (len(shown) - 1) / ((int(shown[-1]) - int(shown[0])) * timebase)
        rate = rate.limit_denominator(1001)
    else:
        rate = Fraction(25)
    return rate, max(1, usual or int(1 / (rate * timebase)))


def _is_variable(shown: NDArray[np.int64]) -> bool:
    steps = np.diff(shown)
    if len(steps) < 2:
        return False
    usual = float(np.median(steps))
    return bool(np.max(np.abs(steps - usual)) > max(1.0, usual / 100))


def _timestamp_findings(
    pts: NDArray[np.int64], shown: NDArray[np.int64], timebase: Fraction, tally: _Tally, *, variable: bool
) -> list[Finding]:
    findings = []
    faulty = tally.untimed + len(pts) - len(shown)
    if faulty:
        findings.append(
            Finding(code="media.timestamps_mended", message=f"{faulty} pictures come without a time of their own.")
        )
    steps = np.diff(shown)
    if not variable or len(steps) < 3:
        return findings
    usual = float(np.median(steps))
    steady = float(np.mean(np.abs(steps - usual) <= max(1.0, usual / 100)))
    gaps = np.flatnonzero(steps > 1.5 * usual)
    # Where nearly every step is the same, a long one is a hole; where steps vary anyway, it is the recording's nature.
    if steady > 0.9 and len(gaps):
        for gap in gaps[:20]:
            length = float(int(steps[gap]) * timebase)
            findings.append(
                Finding(
                    code="media.timestamp_gap",
                    message=f"No picture for {length:.3f} s after frame {int(gap)} ({len(gaps)} such gaps in all).",
                    frames=FrameRange(start=int(gap), end=int(gap) + 2),
                )
            )
    return findings


def _sound_findings(container: InputContainer, audio: AudioStream | None, tally: _Tally) -> list[Finding]:
    findings = []
    if container.streams.audio and tally.audio_packets == 0:
        findings.append(
            Finding(
                code="media.audio_empty", message="There is a sound track, but no sound in it: nothing will be heard."
            )
        )
    if audio is not None and audio.time_base:
        drift = tally.audio_excess * Fraction(audio.time_base)
        if abs(drift) > _TOLERABLE_DRIFT:
            way = "behind" if drift > 0 else "ahead of"
            findings.append(
                Finding(
                    code="media.audio_drift",
                    message=f"The sound's clock runs wrong: at its end it is {abs(float(drift)):.3f} s {way} its own samples.",
                )
            )
    return findings


def _missing_findings(shown: NDArray[np.int64], timebase: Fraction, tally: _Tally) -> list[Finding]:
    """Where pictures and sound lack at once, a part is missing; a picture that stands nearly all the time is a lie."""
    steps = np.diff(shown)
    findings: list[Finding] = []
    if len(steps) < 3:
        return findings
    usual = float(np.median(steps))
    steady = float(np.mean(np.abs(steps - usual) <= max(1.0, usual / 100)))
    for gap in np.flatnonzero(steps > 1.5 * usual)[:1000]:
        begin, end = (int(shown[gap]) + int(usual)) * timebase, int(shown[gap + 1]) * timebase
        silent = any(start < end and stop > begin for start, stop in tally.audio_holes)
        if end - begin > _HOLE and silent:
            findings.append(
                Finding(
                    code="media.missing_part",
                    message=f"{float(end - begin):.3f} s of pictures and sound are missing after frame {int(gap)}.",
                    frames=FrameRange(start=int(gap), end=int(gap) + 2),
                )
            )
            if len(findings) == 20:
                break
    longest = max(int(steps.max()), tally.video_frame_ticks) * timebase
    whole = (int(shown[-1]) - int(shown[0]) + tally.video_frame_ticks) * timebase
    if steady > 0.9 and longest > _LONG_SHOWN and 2 * longest > whole:
        findings.append(
            Finding(
                code="media.duration_lie",
                message=f"One picture is said to stand for {float(longest):.1f} s of {float(whole):.1f} s in all.",
            )
        )
    return findings


def _audio(audio: AudioStream | None, tally: _Tally) -> tuple[AudioFacts | None, Fraction | None, Fraction | None]:
    if audio is None or tally.audio_packets == 0:
        return None, None, None
    facts = AudioFacts(
        stream_index=audio.index,
        codec=audio.codec_context.codec.canonical_name,
        sample_rate=audio.rate or 1,
        channels=max(1, audio.channels),
        layout=audio.layout.name if audio.layout else "",
        packets=tally.audio_packets,
    )
    base = audio.time_base or Fraction(1, audio.rate or 1)
    start = tally.audio_start * base if tally.audio_start is not None else None
    end = tally.audio_end * base if tally.audio_end is not None else None
    return facts, start, end


def _audio_findings(
    video_start: Fraction, video_end: Fraction, audio_start: Fraction, audio_end: Fraction
) -> list[Finding]:
    findings = []
    for what, apart in (("begins", audio_start - video_start), ("ends", audio_end - video_end)):
        if abs(apart) > _TOLERABLE_AUDIO_GAP:
            when = "before" if apart < 0 else "after"
            findings.append(
                Finding(
                    code=f"media.audio_{what}_apart",
                    message=f"The audio {what} {abs(float(apart)):.3f} s {when} the video does.",
                )
            )
    return findings


def _square_unless_told(video: VideoStream) -> Fraction:
    ratio = video.sample_aspect_ratio
    return Fraction(ratio) if ratio and ratio > 0 else Fraction(1)


def _subtitles(container: InputContainer) -> tuple[SubtitleStream, ...]:
    bitmaps = {"dvd_subtitle", "dvb_subtitle", "hdmv_pgs_subtitle", "xsub", "dvb_teletext"}
    found = []
    for stream in container.streams.subtitles:
        codec = stream.codec_context.codec.canonical_name if stream.codec_context else "unknown"
        found.append(
            SubtitleStream(
                index=stream.index,
                codec=codec,
                language=stream.language or "",
                title=str(stream.metadata.get("title", ""))[:200],
                text=codec not in bitmaps and codec != "unknown",
                default=bool(stream.disposition & Disposition.default),
                forced=bool(stream.disposition & Disposition.forced),
            )
        )
    return tuple(found)


def _chapters(container: InputContainer) -> tuple[Chapter, ...]:
    found = []
    for chapter in container.chapters()[:1000]:
        base = chapter["time_base"] or Fraction(1)
        title = str(chapter["metadata"].get("title", ""))[:500]
        found.append(Chapter(title, chapter["start"] * base, chapter["end"] * base))
    return tuple(found)
