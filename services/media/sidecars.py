"""What goes with a clip beside its renditions, made from the same frames and samples while they pass.

``Aside`` takes every frame, in a thread of its own: it measures, and keeps the pictures of which poster, thumbnails,
contact sheet and sprites are made. Captions and the waveform need no frame. Nothing here ever opens a rendered file, and
the same clip gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from contracts.values import FrameRange
from services.media.captions import Cue, cut_captions, write_srt, write_vtt
from services.media.errors import Disagreement
from services.media.footage import Footage
from services.media.measure import PictureFacts, PictureLimits, PictureMeter
from services.media.overlay import marked
from services.media.pictures import (
    CELL_SIDE,
    POSTER_SIDE,
    SPRITE_SIDE,
    THUMBNAIL_SIDE,
    Cell,
    clock,
    contact_sheet,
    interest,
    jpeg,
    plan_pictures,
    shrink,
    sprite_sheet,
    waveform,
)
from services.media.planes import first_plane
from services.media.review_sound import BUCKETS_PER_SECOND, PEAKS_CONTENT_TYPE, PeakMeter
from services.media.shaping import Chains, PictureChain, display_size, fitted, is_wide, pixels
from services.media.timebase import timecode
from services.media.watermark import Watermark

METER_SIDE = 320
"""Of the small picture that is made of every frame: it is measured, and contact sheet and sprites are made from it."""

Rgb = NDArray[np.uint8]


@dataclass(frozen=True)
class Captions:
    """Cues of one language, on the axis of ``Footage.time_of``."""

    language: str
    cues: tuple[Cue, ...]


@dataclass(frozen=True)
class Sidecar:
    """A file that goes with every rendition of a clip, whole in memory."""

    role: str
    name: str
    data: bytes
    content_type: str
    facts: tuple[tuple[str, str], ...] = ()


class Aside:
    """Everything that is taken of a clip's pictures but its renditions; used by one thread at a time."""

    def __init__(
        self,
        footage: Footage,
        frames: FrameRange,
        limits: PictureLimits,
        chains: Chains,
        watermark: Watermark | None = None,
    ) -> None:
        self._footage = footage
        self._watermark = watermark
        self._frames = frames
        self._plan = plan_pictures(frames, rate=footage.rate)
        self._wanted = self._plan.wanted
        self._meter = PictureMeter(footage.time_of, limits=limits)
        self._chains = chains
        self._taken: list[PictureChain] = []
        self._cells: list[tuple[int, Rgb]] = []
        self._thumbnails: list[tuple[int, Rgb]] = []
        self._sprites: list[Rgb] = []
        self._best: tuple[float, int, VideoFrame] | None = None
        self._poster: tuple[int, Rgb] | None = None

    def read(self, items: Iterator[tuple[int, VideoFrame]]) -> None:
        """Takes ``(number, frame)`` for every frame of the clip, in order; the frames may be changed."""
        for number, frame in items:
            if not self._taken:
                self._take_chains(frame)
            small = self._shaped(self._small, frame)
            black = self._meter.add(number, first_plane(small))
            if number in self._wanted:
                self._keep(number, frame, small, black=black)
        if self._best is not None:
            _, number, frame = self._best
            self._best, self._poster = None, (number, self._large_picture(frame).copy())
        for chain in self._taken:
            self._chains.give(chain)

    def _take_chains(self, first: VideoFrame) -> None:
        footage = self._footage
        rotation = footage.rotation
        upright = display_size(first.width, first.height, footage.sample_aspect_ratio, rotation)
        # To bring HDR to an ordinary screen's colours costs far more than all else: only large pictures take it.
        self._wide = is_wide(first)
        self._small = self._chain(
            first,
            size=fitted(upright, METER_SIDE),
            pixel_format="yuv420p",
            rotation=rotation,
            flags="area",
            standard=not self._wide,
        )
        self._large = self._chain(first, size=fitted(upright, POSTER_SIDE), pixel_format="rgb24", rotation=rotation)
        # The table of colours that HDR needs is made for each chain: one for large pictures has to do.
        self._thumbnail = (
            None
            if self._wide
            else self._chain(
                first, size=fitted(upright, THUMBNAIL_SIDE), pixel_format="rgb24", rotation=rotation, flags="area"
            )
        )
        model = self._shaped(self._large if self._wide else self._small, first)
        self._cell, self._sprite = (
            self._chain(model, size=fitted(upright, side), pixel_format="rgb24", flags="area")
            for side in (CELL_SIDE, SPRITE_SIDE)
        )

    def _chain(self, first: VideoFrame, **facts: Any) -> PictureChain:
        self._taken.append(self._chains.take(first, **facts))
        return self._taken[-1]

    @staticmethod
    def _shaped(chain: PictureChain, frame: VideoFrame) -> VideoFrame:
        ((_, shaped),) = chain.push(0, frame)
        return shaped

    def _large_picture(self, frame: VideoFrame) -> Rgb:
        return self._marked(pixels(self._shaped(self._large, frame)))

    def _thumbnail_of(self, frame: VideoFrame) -> Rgb:
        if self._thumbnail is None:
            return shrink(self._large_picture(frame), THUMBNAIL_SIDE).copy()
        return self._marked(pixels(self._shaped(self._thumbnail, frame)).copy())

    def _marked(self, picture: Rgb) -> Rgb:
        return picture if self._watermark is None else marked(self._watermark, picture)

    def _keep(self, number: int, frame: VideoFrame, small: VideoFrame, *, black: bool) -> None:
        model = self._shaped(self._large, frame) if self._wide else small
        if number in self._plan.sprite_set:
            self._sprites.append(self._marked(pixels(self._shaped(self._sprite, model)).copy()))
        if number not in self._plan.large:
            return
        cell = self._marked(pixels(self._shaped(self._cell, model)).copy())
        if number in self._plan.sheet:
            self._cells.append((number, cell))
        if number in self._plan.thumbnails:
            self._thumbnails.append((number, self._thumbnail_of(frame)))
        score = -1.0 if black else interest(cell)
        if self._best is None or score > self._best[0]:
            # The frame alone is kept: of the candidates one becomes a large picture.
            self._best = (score, number, frame)

    def facts(self) -> PictureFacts:
        """What was measured.

        Raises ``media.disagreement`` if not every frame of the clip came by.
        """
        found = self._meter.facts()
        if found.frames != len(self._frames):
            raise Disagreement(f"{found.frames} frames of {len(self._frames)} passed the meter. Nothing was published.")
        return found

    def sidecars(self, stem: str, title: str) -> Iterator[Sidecar]:
        """Poster, thumbnails, contact sheet, sprite sheet and the sprites' map."""
        if self._poster is None:
            raise Disagreement(f"No picture of the clip {self._frames} could be taken. Nothing was published.")
        number, poster = self._poster
        yield _jpeg("poster", f"{stem}.poster.jpg", number, poster, quality=88)
        for place, (number, picture) in enumerate(self._thumbnails, start=1):
            yield _jpeg("thumbnail", f"{stem}.thumbnail-{place}.jpg", number, picture)
        footage, frames = self._footage, self._frames
        cells = [Cell(picture, f"{timecode(number, footage.rate)}  {number}") for number, picture in self._cells]
        length = footage.time_of(frames.end) - footage.time_of(frames.start)
        sheet = contact_sheet(title, f"frames {frames}, {clock(length)}", cells)
        facts = (("height", str(sheet.height)), ("pictures", str(len(cells))), ("width", str(sheet.width)))
        yield Sidecar("contact_sheet", f"{stem}.contact-sheet.jpg", jpeg(sheet), "image/jpeg", facts)
        yield from self._sprite_files(stem)

    def _sprite_files(self, stem: str) -> Iterator[Sidecar]:
        name = f"{stem}.sprites.jpg"
        sheet, columns, rows = sprite_sheet(self._sprites)
        height, width = self._sprites[0].shape[:2]
        facts = (("height", str(sheet.height)), ("pictures", str(len(self._sprites))), ("width", str(sheet.width)))
        yield Sidecar("sprites", name, jpeg(sheet, 75), "image/jpeg", facts)
        told: dict[str, Any] = {
            "version": 1,
            "frames": len(self._frames),
            "first_frame": self._frames.start,
            "every": self._plan.every,
            "tiles": len(self._sprites),
            "tile_width": width,
            "tile_height": height,
            "columns": columns,
            "rows": rows,
            "sheets": [name],
        }
        body = json.dumps(told, sort_keys=True, separators=(",", ":")).encode()
        yield Sidecar("sprite_map", f"{stem}.sprites.json", body, "application/json")


class Waves:
    """The clip's waveform, of its source's sound: peaks for programs and a picture for people."""

    def __init__(self, sample_rate: int) -> None:
        self._meter = PeakMeter(sample_rate)

    def add(self, samples: NDArray[np.float32]) -> None:
        """float32[channels, samples], full scale 1, in order."""
        self._meter.add(samples)

    def sidecars(self, stem: str) -> Iterator[Sidecar]:
        """The peaks and their picture."""
        data = self._meter.to_bytes()
        facts = (("buckets_per_second", str(BUCKETS_PER_SECOND)),)
        yield Sidecar("peaks", f"{stem}.peaks.bin", data, PEAKS_CONTENT_TYPE, facts)
        picture, width, height = waveform(data)
        told = (("height", str(height)), ("width", str(width)))
        yield Sidecar("waveform", f"{stem}.waveform.png", picture, "image/png", told)


def caption_sidecars(captions: Sequence[Captions], stem: str, start: Fraction, end: Fraction) -> Iterator[Sidecar]:
    """Each language as WebVTT and as SRT, cut to ``[start, end)`` seconds."""
    for each in captions:
        cues = cut_captions(each.cues, start, end)
        facts = (("cues", str(len(cues))), ("language", each.language))
        yield Sidecar("captions_vtt", f"{stem}.{each.language}.vtt", write_vtt(cues), "text/vtt", facts)
        yield Sidecar("captions_srt", f"{stem}.{each.language}.srt", write_srt(cues), "application/x-subrip", facts)


def _jpeg(role: str, name: str, number: int, picture: Rgb, *, quality: int = 85) -> Sidecar:
    height, width = picture.shape[:2]
    facts = (("frame", str(number)), ("height", str(height)), ("width", str(width)))
    return Sidecar(role, name, jpeg(picture, quality), "image/jpeg", facts)
