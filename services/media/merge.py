"""Putting a download together: stream copy of separate pictures and sound, and a light re-encode of faulty ones.

``merge`` changes no picture and no sample: it copies packets and shifts all times by one amount, so that what is
shown or heard first is at 0. ``normalise`` is for what a faulty merge left behind; a healthy file is never passed through it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from services.media.containers import audio_stream, opened, video_stream
from services.media.declared import declares_encryption
from services.media.decode import VideoDecoding
from services.media.errors import Encrypted, MediaError, NoVideoStream, translated
from services.media.probe import Probe
from services.media.proxy_video import refuse_leftovers
from services.media.review_sound import AAC_RATES
from services.media.sound import placed, placement_on
from services.media.workers import Crew, Pipe

Progress = Callable[[int, int], None]

_MP4_VIDEO = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4", "mpeg2video"})
_MP4_AUDIO = frozenset({"aac", "mp3", "ac3", "eac3", "opus", "flac", "alac"})
_LOSSY_8_BIT = frozenset({"yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p10le", "gray"})


def merge(video: Path, audio: Path, out: Path) -> Path:
    """Copies the video of one file and the audio of another into one file, whose path it gives.

    It is ``out`` with the suffix ``.mp4`` or ``.mkv``, whichever can hold both.

    Raises:
        MediaError: a file has no such stream, or cannot be read.
    """
    with translated(f"merging {video.name} and {audio.name}"), ExitStack() as ways_out:
        for each in (video, audio):
            if declares_encryption(each):
                raise Encrypted(f"{each.name} is encrypted (DRM) and cannot be read. Submit a copy without protection.")
        pictures = ways_out.enter_context(opened(video))
        sounds = ways_out.enter_context(opened(audio))
        picture, sound = video_stream(pictures), audio_stream(sounds)
        if picture is None:
            raise NoVideoStream(f"{video.name} holds no moving pictures. Download it again in another format.")
        if sound is None:
            raise MediaError(
                f"{audio.name} holds no audio. Download it again in another format.", code="media.no_audio_stream"
            )
        fits_mp4 = (
            picture.codec_context.codec.canonical_name in _MP4_VIDEO
            and sound.codec_context.codec.canonical_name in _MP4_AUDIO
        )
        path = out.with_suffix(".mp4" if fits_mp4 else ".mkv")
        options = {"movflags": "+faststart"} if fits_mp4 else {}
        output = ways_out.enter_context(
            av.open(
                str(path), "w", format="mp4" if fits_mp4 else "matroska", options={**options, "fflags": "+bitexact"}
            )
        )
        _copy(output, pictures, picture, sounds, sound)
    return path


def _copy(
    output: OutputContainer,
    pictures: InputContainer,
    picture: VideoStream,
    sounds: InputContainer,
    sound: AudioStream,
) -> None:
    picture_out = output.add_stream_from_template(picture)
    sound_out = output.add_stream_from_template(sound)
    queues = [_timed(pictures, picture), _timed(sounds, sound)]
    outs: list[Stream] = [picture_out, sound_out]
    heads = [next(queue, None) for queue in queues]
    # What is shown or heard first becomes 0: decoding times and an encoder's priming may lie before it.
    earliest = min(_start(stream, head) for stream, head in zip((picture, sound), heads, strict=True))
    while any(head is not None for head in heads):
        turn = min((head[0], place) for place, head in enumerate(heads) if head is not None)[1]
        head = heads[turn]
        heads[turn] = next(queues[turn], None)
        if head is None:
            continue
        packet = head[1]
        shift = round(earliest / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts - shift
        packet.dts = None if packet.dts is None else packet.dts - shift
        packet.stream = outs[turn]
        output.mux(packet)


def _start(stream: Stream, head: tuple[Fraction, Packet[Stream]] | None) -> Fraction:
    if stream.start_time is not None and stream.time_base is not None:
        return stream.start_time * Fraction(stream.time_base)
    return head[0] if head is not None else Fraction(0)


def _timed(container: InputContainer, stream: Stream) -> Iterator[tuple[Fraction, Packet[Stream]]]:
    """Packets with their decoding time in seconds."""
    last = Fraction(0)
    for packet in container.demux(stream):
        if packet.dts is None and packet.pts is None:
            continue
        ticks = packet.dts if packet.dts is not None else packet.pts
        last = (ticks or 0) * Fraction(packet.time_base)
        yield last, packet


def normalise(source: Path, probe: Probe, out: Path, progress: Progress | None = None) -> Path:
    """Re-encodes a faulty file to a fast-start MP4: H.264 (preset fast, CRF 23) with every frame at its own time, AAC.

    Raises:
        MediaError: ``media.corrupt`` or ``media.incomplete`` if frames are damaged or missing: those a re-encode would
            only hide.
    """
    path = out.with_suffix(".mp4")
    with translated(f"normalising {source.name}"), opened(source) as container:
        stream = container.streams[probe.facts.video.stream_index]
        if not isinstance(stream, VideoStream):
            raise NoVideoStream(f"{source.name} holds no moving pictures. Download it again in another format.")
        with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"}) as output:
            _normalise(container, stream, source.name, probe, output, progress)
    return path


def _normalise(
    container: InputContainer,
    stream: VideoStream,
    name: str,
    probe: Probe,
    output: OutputContainer,
    progress: Progress | None,
) -> None:
    facts = probe.facts.video
    form = facts.pixel_format if facts.pixel_format in _LOSSY_8_BIT else "yuv420p"
    pictures = output.add_stream(
        "libx264",
        rate=facts.rate,
        options={"preset": "fast", "crf": "23", "threads": "2", "x264-params": "cpu-independent=1"},
    )
    pictures.width, pictures.height, pictures.pix_fmt = facts.width // 2 * 2, facts.height // 2 * 2, form
    context = pictures.codec_context
    context.time_base = pictures.time_base = facts.timebase
    context.sample_aspect_ratio = facts.sample_aspect_ratio
    if facts.rotation:
        pictures.set_display_rotation(facts.rotation)
    decoding = VideoDecoding(
        stream,
        name=name,
        promised=probe.promised_frames,
        may_hide=probe.may_hide,
        usual_ticks=max(1, round(1 / (facts.rate * facts.timebase))),
    )
    audio = container.streams[probe.facts.audio.stream_index] if probe.facts.audio is not None else None
    sound_out = None
    if isinstance(audio, AudioStream):
        rate = audio.rate if audio.rate in AAC_RATES else 48_000
        sound_out = output.add_stream("aac", rate=rate, options={"flags": "+bitexact"})
        sound_out.codec_context.layout, sound_out.codec_context.format = "stereo", "fltp"
        sound_out.bit_rate = 160_000
    scaler = VideoReformatter()
    origin: int | None = None
    with Crew() as crew:
        # Only this thread writes to the file: packets of sound come back through a list that it empties.
        ready: list[Packet[AudioStream]] = []
        sound: Pipe[Packet[AudioStream]] | None = None
        if isinstance(audio, AudioStream) and sound_out is not None:
            chosen, chosen_out = audio, sound_out
            sound = crew.pipe(
                "sound",
                lambda packets: _encode_sound(packets, chosen, chosen_out, probe, ready.append),
                depth=256,
            )
        streams: list[Stream] = [stream] if audio is None else [stream, audio]
        for packet in container.demux(streams):
            if packet.stream.index != stream.index:
                if sound is not None:
                    sound.put(packet)  # type: ignore[arg-type]
                continue
            for number, pts, frame in decoding.decode(packet):  # type: ignore[arg-type]
                origin = pts if origin is None else origin
                shown = _plain(frame, pictures, scaler)
                shown.pts, shown.time_base, shown.pict_type = pts - origin, facts.timebase, 0
                output.mux(pictures.encode(shown))
                if number == 0:
                    refuse_leftovers(pictures, "libx264")
                if progress is not None:
                    progress(decoding.frames, max(decoding.frames, probe.promised_frames))
            while ready:
                output.mux(ready.pop(0))
        decoding.finish()
        if sound is not None:
            sound.close()
        output.mux(pictures.encode(None))
        while ready:
            output.mux(ready.pop(0))


def _plain(frame: VideoFrame, out: VideoStream, scaler: VideoReformatter) -> VideoFrame:
    if (frame.width, frame.height, frame.format.name) == (out.width, out.height, out.pix_fmt):
        return frame
    return scaler.reformat(frame, width=out.width, height=out.height, format=out.pix_fmt, threads=1)


def _encode_sound(
    packets: Iterator[Packet[AudioStream]],
    stream: AudioStream,
    out: AudioStream,
    probe: Probe,
    ready: Callable[[Packet[AudioStream]], None],
) -> None:
    def decoded() -> Iterator[av.AudioFrame]:
        for packet in packets:
            try:
                yield from stream.codec_context.decode(packet)
            except av.error.InvalidDataError:
                continue

    frames = decoded()
    first = next(frames, None)
    if first is None:
        return
    rate = first.sample_rate
    placement = placement_on(
        stream, sample_rate=rate, layout=first.layout.name, form=first.format.name, origin=probe.start
    )
    resampler = AudioResampler(format="fltp", layout="stereo", rate=out.rate)
    written = 0
    for frame in chain(placed(chain([first], frames), placement), [None]):
        for converted in resampler.resample(frame):
            converted.pts, converted.time_base = written, Fraction(1, out.rate)
            written += converted.samples
            for packet in out.encode(converted):
                ready(packet)
    for packet in out.encode(None):
        ready(packet)
