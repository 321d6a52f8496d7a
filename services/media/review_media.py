"""The one decode pass that makes everything review needs.

Out come the all-intra proxy, its frame index, review audio, waveform peaks, sprite sheets and the features of every
frame, all with the source's own frames one to one: frame ``n`` is the ``n``-th decoded picture, shown at the source's
own time. Whatever decodes only in part makes the pass fail with the counts.

One thread demuxes and decodes; pictures, encoder and sound each have a thread and a bounded queue, so that memory is flat
in the video's length. The bytes depend on source, settings and library versions alone, so that a retry writes the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from contracts.values import Finding
from services.media import features
from services.media.containers import opened
from services.media.decode import VideoDecoding, chosen_video
from services.media.errors import translated
from services.media.frame_index import FrameIndex
from services.media.planes import first_plane
from services.media.probe import Probe
from services.media.proxy_video import ProxyEncoding, ProxyWriter, proved_index
from services.media.recipes import ReviewSettings
from services.media.review_sound import ReviewSound, write_review_sound
from services.media.sprites import Sprites, SpriteWriter, tile_interval
from services.media.upright import Size, Upright, upright_size
from services.media.workers import Crew, Pipe

_QUEUED_PIXELS = 1 << 24

Progress = Callable[[int, int], None]
"""Called with frames done and frames promised."""


@dataclass(frozen=True)
class ReviewMedia:
    """What the pass made. ``index`` is the proxy's frame index, whose PTS and key marks are the source's."""

    proxy: Path
    index: FrameIndex
    index_path: Path
    features: Path
    sprites: Sprites
    sound: ReviewSound | None
    findings: tuple[Finding, ...] = ()

    @property
    def frames(self) -> int:
        """Decoded frames of the source, and frames of the proxy."""
        return len(self.index)


@dataclass
class _Shown:
    """When each decoded frame is shown, in ticks of the source; 8 bytes a frame."""

    pts: array[int] = field(default_factory=lambda: array("q"))
    keys: set[int] = field(default_factory=set)


def make_review_media(
    source: Path, probe: Probe, out: Path, settings: ReviewSettings | None = None, progress: Progress | None = None
) -> ReviewMedia:
    """Decodes ``source`` once and writes everything into the folder ``out``.

    Raises:
        MediaError: ``media.corrupt`` or ``media.incomplete`` with counts, if not every promised frame decodes undamaged;
            ``media.disagreement`` if what was written does not agree with the source frame by frame.
    """
    settings = settings or ReviewSettings()
    with translated(f"making review media of {source.name}"), opened(source) as container:
        return _Pass(container, source.name, probe, out, settings, progress or _silent).run()


def _silent(done: int, total: int) -> None:
    """Progress that nobody wants to hear of."""


class _Pass:
    def __init__(
        self,
        container: InputContainer,
        name: str,
        probe: Probe,
        out: Path,
        settings: ReviewSettings,
        progress: Progress,
    ) -> None:
        video = probe.facts.video
        self._container = container
        self._probe = probe
        self._out = out
        self._settings = settings
        self._progress = progress
        self._timebase = video.timebase
        self._stream = chosen_video(container, video.stream_index, name)
        self._usual = max(1, round(1 / (video.rate * video.timebase)))
        self._decoding = VideoDecoding(
            self._stream,
            name=name,
            promised=probe.promised_frames,
            may_hide=probe.may_hide,
            usual_ticks=self._usual,
        )
        self._shown = _Shown()
        self._size = upright_size(
            video.width,
            video.height,
            sample_aspect_ratio=video.sample_aspect_ratio,
            rotation=video.rotation,
            max_height=settings.max_height,
        )
        self._sprites: Sprites | None = None
        self._sound: ReviewSound | None = None

    def run(self) -> ReviewMedia:
        out, video = self._out, self._probe.facts.video
        # Eight frames keep both sides busy; of very large pictures two have to do.
        depth = max(2, min(8, _QUEUED_PIXELS // (video.width * video.height)))
        with Crew() as crew:
            encoder: Pipe[tuple[VideoFrame, int]] = crew.pipe("proxy", self._encode)
            pictures: Pipe[VideoFrame] = crew.pipe(
                "pictures", lambda frames: self._picture(frames, encoder), depth=depth
            )
            sound = self._sound_pipe(crew)
            self._demux(pictures, sound)
            pictures.close()
            encoder.close()
            if sound is not None:
                sound.close()
        shown = np.frombuffer(self._shown.pts, np.int64)
        index = proved_index(
            out / "proxy.mp4",
            pts=shown,
            keys=self._seek_points(shown),
            last_duration=self._decoding.last_duration,
            rate=video.rate,
            timebase=self._timebase,
        )
        index_path = out / "index.bin"
        index_path.write_bytes(index.to_bytes())
        if self._sprites is None:
            raise AssertionError("the thread of pictures ends with the sprites, or with an error that was raised above")
        return ReviewMedia(
            proxy=out / "proxy.mp4",
            index=index,
            index_path=index_path,
            features=out / "features.npz",
            sprites=self._sprites,
            sound=self._sound,
            findings=self._findings(),
        )

    def _sound_pipe(self, crew: Crew) -> Pipe[Packet[AudioStream]] | None:
        facts = self._probe.facts.audio
        stream = self._container.streams[facts.stream_index] if facts is not None else None
        if not isinstance(stream, AudioStream):
            return None
        chosen = stream

        def write(packets: Iterator[Packet[AudioStream]]) -> None:
            self._sound = write_review_sound(
                packets,
                chosen,
                origin=self._probe.start,
                duration=self._probe.facts.duration,
                folder=self._out,
                bit_rate=self._settings.audio_bit_rate,
            )

        return crew.pipe("sound", write, depth=256)

    def _demux(self, pictures: Pipe[VideoFrame], sound: Pipe[Packet[AudioStream]] | None) -> None:
        total = self._probe.promised_frames
        streams = [self._stream]
        audio = self._probe.facts.audio
        if sound is not None and audio is not None:
            streams.append(self._container.streams[audio.stream_index])  # type: ignore[arg-type]
        for packet in self._container.demux(streams):
            if packet.stream.index == self._stream.index:
                self._decode(packet, pictures)  # type: ignore[arg-type]
                self._progress(self._decoding.frames, max(total, self._decoding.frames))
            elif sound is not None:
                sound.put(packet)  # type: ignore[arg-type]
        self._decoding.finish()

    def _decode(self, packet: Packet[VideoStream], pictures: Pipe[VideoFrame]) -> None:
        if packet.size and packet.is_keyframe and not packet.is_discard and packet.pts is not None:
            self._shown.keys.add(packet.pts)
        for _, pts, frame in self._decoding.decode(packet):
            self._shown.pts.append(pts)
            pictures.put(frame)

    def _picture(self, frames: Iterator[VideoFrame], encoder: Pipe[tuple[VideoFrame, int]]) -> None:
        """Turns frames upright, takes features and sprites from them, and sends them to the encoder."""
        settings = self._settings
        upright = Upright(self._size, deinterlace=self._probe.facts.video.interlaced)
        tile = _tile_size(self._size, settings.tile_height)
        every = tile_interval(
            self._probe.promised_frames, self._probe.facts.video.rate, Fraction(settings.tile_seconds)
        )
        sprites = SpriteWriter(self._out, tile.width, tile.height, every)
        small, tiles = VideoReformatter(), VideoReformatter()
        number = 0
        with features.FeatureWriter(self._out / "features.npz") as rows:
            for frame in _all_upright(frames, upright):
                rows.add(_rgb(small, frame, features.WIDTH, features.HEIGHT), first_plane(frame))
                if number % every == 0:
                    sprites.add(_rgb(tiles, frame, tile.width, tile.height))
                encoder.put((frame, number))
                number += 1
        self._sprites = sprites.finish(number)

    def _encode(self, frames: Iterator[tuple[VideoFrame, int]]) -> None:
        settings = self._settings
        encoding = ProxyEncoding(settings.preset, settings.crf, settings.encoder_threads)
        rate = self._probe.facts.video.rate
        pts = self._shown.pts
        with ProxyWriter(self._out / "proxy.mp4", self._size, rate, self._timebase, encoding) as writer:
            held: tuple[VideoFrame, int] | None = None
            # A frame lasts until the next is shown, and so each is written when the next has come.
            for frame, number in frames:
                if held is not None:
                    writer.write(held[0], pts[held[1]] - pts[0], pts[number] - pts[held[1]])
                held = (frame, number)
            if held is not None:
                writer.write(held[0], pts[held[1]] - pts[0], self._decoding.last_duration)
            writer.finish()

    def _seek_points(self, shown: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Frames of the source where decoding may start.

        There are none where its timestamps had to be mended: its packets cannot be found by them.
        """
        if self._decoding.mended:
            return np.zeros(0, np.bool_)
        return np.isin(shown, np.fromiter(self._shown.keys, np.int64, len(self._shown.keys)))

    def _findings(self) -> tuple[Finding, ...]:
        found = []
        if self._decoding.mended and not self._probe.findings:
            found.append(
                Finding(
                    code="media.timestamps_mended",
                    message=f"{self._decoding.mended} frames came without a time of their own or out of order.",
                )
            )
        if self._probe.facts.audio is not None and self._sound is None:
            found.append(
                Finding(code="media.audio_unreadable", message="Not one sample of the audio could be decoded.")
            )
        if self._sound is not None and self._sound.damaged:
            found.append(
                Finding(
                    code="media.audio_damaged",
                    message=f"{self._sound.damaged} audio packets could not be decoded; their time is silent.",
                )
            )
        if self._sound is not None and self._sound.converted:
            found.append(
                Finding(
                    code="media.audio_changes",
                    message=f"{self._sound.converted} samples of the audio come in another rate, layout or format than "
                    "its first; they were converted.",
                )
            )
        return tuple(found)


def _tile_size(size: Size, height: int) -> Size:
    height = min(height, size.height)
    return Size(max(2, 2 * round(Fraction(size.width * height, 2 * size.height))), height)


def _all_upright(frames: Iterator[VideoFrame], upright: Upright) -> Iterator[VideoFrame]:
    for frame in frames:
        yield from upright.push(frame)
    yield from upright.flush()


def _rgb(scaler: VideoReformatter, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
    """The frame as uint8[height, width, 3], area-averaged."""
    small = scaler.reformat(
        frame,
        width=width,
        height=height,
        format="rgb24",
        interpolation=Interpolation.AREA,
        threads=1,
    )
    return first_plane(small)
