"""JPEG stills of given frames, upright and with square pixels, from any file that frames can be read of by number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction

from contracts.values import FrameRange
from services.media.containers import MediaFile, named, opened, video_stream
from services.media.decode import FrameSource
from services.media.errors import NoVideoStream
from services.media.frame_index import FrameIndex
from services.media.pictures import jpeg
from services.media.shaping import PictureChain, display_size, fitted, pixels


def stills(
    file: MediaFile,
    numbers: Iterable[int],
    *,
    index: FrameIndex | None = None,
    stream_index: int | None = None,
    sample_aspect_ratio: Fraction | None = None,
    longest_side: int = 768,
    quality: int = 90,
) -> Iterator[tuple[int, bytes]]:
    """``(number, JPEG)`` for each distinct frame number, in ascending order.

    With an index only what is needed is read; without one, frames are counted from 0. ``stream_index`` and
    ``sample_aspect_ratio`` left out are the file's own. Pictures are shrunk to ``longest_side`` pixels, never enlarged.
    Raises ``MediaError`` if a frame is missing or damaged.
    """
    if stream_index is None or sample_aspect_ratio is None:
        with opened(file) as container:
            stream = video_stream(container)
            if stream is None:
                raise NoVideoStream(f"{named(file)} holds no moving pictures. Ask for stills of a video.")
            stream_index = stream.index if stream_index is None else stream_index
            sample_aspect_ratio = Fraction(stream.sample_aspect_ratio or 1) or Fraction(1)
    with FrameSource(file, index, stream_index) as source:
        for number in sorted(set(numbers)):
            for found, frame in source.frames(FrameRange(start=number, end=number + 1)):
                seen = display_size(frame.width, frame.height, sample_aspect_ratio, frame.rotation)
                chain = PictureChain(
                    frame, size=fitted(seen, longest_side), pixel_format="rgb24", rotation=frame.rotation
                )
                pictures = [picture for _, picture in (*chain.push(0, frame), *chain.flush())]
                yield found, jpeg(pixels(pictures[0]), quality)


def frame_times(file: MediaFile) -> tuple[tuple[Fraction, ...], Fraction]:
    """When each frame of a file's video is shown, in seconds from its first, and how long the video lasts.

    Only packets are read; nothing is decoded. Raises ``NoVideoStream`` if the file has none.
    """
    with opened(file) as container:
        stream = video_stream(container)
        if stream is None or stream.time_base is None:
            raise NoVideoStream(f"{named(file)} holds no moving pictures. Ask for the times of a video.")
        shown = sorted(
            (packet.pts, packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None
        )
        if not shown:
            return (), Fraction(0)
        ticks, first = Fraction(stream.time_base), shown[0][0]
        times = tuple((pts - first) * ticks for pts, _ in shown)
        usual = times[-1] - times[-2] if len(times) > 1 else ticks
        return times, times[-1] + (shown[-1][1] * ticks or usual)
