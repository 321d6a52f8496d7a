"""Opening media files safely, choosing what to read from them, and making packets that are in none.

Guarantees: only formats that hold moving pictures or sound are opened, so that a text file never becomes a "video" and
a playlist never makes this process read another file or address; a container is closed on every way out.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from services.media.errors import NotAVideo, translated

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,mpegts,mpeg,mpegvideo,avi,flv,asf,mxf,ogg,nut,dv,gxf,rm,ivf,"
    "h264,hevc,m4v,obu,gif,mp3,wav,flac,aac,ac3,eac3,aiff,w64,caf,wv,ape,opus"
)
"""Demuxers that may be used. No playlist (hls, dash, concat), no image sequence, no text renderer."""

MediaFile = str | Path | BinaryIO | Any
"""A path, or a seekable binary file such as a reader over range requests."""

_NO_PICTURE = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image


def named(file: MediaFile) -> str:
    """How an error speaks of a file: by its name alone, never by its folder."""
    return Path(file).name if isinstance(file, (str, Path)) else str(getattr(file, "name", "") or "the media file")


@contextmanager
def opened(file: MediaFile) -> Iterator[InputContainer]:
    """The file as a container, closed afterwards.

    Raises:
        NotAVideo: no format that the house reads.
    """
    target = os.fspath(file) if isinstance(file, (str, Path)) else file
    if hasattr(target, "seek"):
        target.seek(0)  # An open file may have been read before; a container begins at its beginning.
    options = {"format_whitelist": FORMATS, "protocol_whitelist": "file,pipe"}
    try:
        container = av.open(target, mode="r", options=options, metadata_errors="replace")
    except (av.error.InvalidDataError, av.error.ArgumentError, av.error.DemuxerNotFoundError) as error:
        raise NotAVideo(
            f"{named(file)} is no readable media file: its header is missing, cut off or of an unknown kind. Submit an "
            "MP4, MOV, MKV, WebM, AVI, MPEG-TS or similar file; if it plays elsewhere, its end may not have arrived."
        ) from error
    except (av.FFmpegError, OSError) as error:
        with translated(f"opening {named(file)}"):
            raise error from None
    try:
        yield container
    finally:
        container.close()


def is_moving_picture(stream: Stream) -> bool:
    """Whether the stream holds moving pictures: a cover of a song or a thumbnail track does not."""
    return isinstance(stream, VideoStream) and not stream.disposition & _NO_PICTURE


def video_stream(container: InputContainer) -> VideoStream | None:
    """The video to work on: a default stream before others, then the largest picture, then the first."""
    candidates = [stream for stream in container.streams.video if is_moving_picture(stream)]
    return max(
        candidates,
        key=lambda stream: (
            stream.codec_context is not None,
            bool(stream.disposition & Disposition.default),
            (stream.width or 0) * (stream.height or 0) if stream.codec_context is not None else 0,
            -stream.index,
        ),
        default=None,
    )


def audio_stream(container: InputContainer) -> AudioStream | None:
    """The audio to work on: a default stream before others, then most channels, then the first.

    A commentary or a description for the blind is taken only if nothing else is there.
    """
    candidates = [stream for stream in container.streams.audio if stream.codec_context is not None and stream.rate]
    return max(
        candidates,
        key=lambda stream: (
            not stream.disposition & (Disposition.comment | Disposition.visual_impaired | Disposition.descriptions),
            bool(stream.disposition & Disposition.default),
            stream.channels,
            -stream.index,
        ),
        default=None,
    )


def packet_of(data: bytes) -> Packet[Stream]:
    """The bytes as a packet of no stream yet, in memory of FFmpeg's own.

    One that refers to Python's memory is freed under the interpreter's lock. A decoder's threads free the packets that they have
    decoded: they would wait for that lock, while whoever closes the decoder holds it and waits for them.
    """
    packet: Packet[Stream] = Packet(len(data))
    packet.update(data)
    return packet


def copied(packet: Packet[Stream]) -> Packet[Stream]:
    """All that the packet says as another packet, of no stream yet: a muxer rewrites the one that it is given."""
    twin = packet_of(bytes(packet))
    twin.pts, twin.dts, twin.duration = packet.pts, packet.dts, packet.duration
    twin.time_base = packet.time_base
    twin.is_keyframe = packet.is_keyframe
    for said in packet.iter_sidedata():
        twin.set_sidedata(said)
    return twin
