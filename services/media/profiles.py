"""Delivery profiles as data: what a deliverable's video and audio are, by name and version.

Why it exists: a profile is a promise to whoever receives the file. Changing what a profile makes raises its version, so
that a manifest always says which promise was kept. The table is validated when the module is imported; nothing in here
touches a codec, so a service may read it without loading one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from contracts.errors import Permanent
from contracts.values import ProfileName, Value

RENDER_VERSION = 2
"""Raised whenever rendering makes other bytes of the same input, profile and library versions."""

Container = Literal["mp4", "mov", "matroska"]

_CARRIES: dict[str, frozenset[str]] = {
    "mp4": frozenset({"libx264", "libx265", "libsvtav1", "aac"}),
    "mov": frozenset({"libx264", "libx265", "prores_ks", "prores_aw", "aac", "pcm_s16le", "pcm_s24le"}),
    "matroska": frozenset(
        {"libx264", "libx265", "libsvtav1", "ffv1", "prores_ks", "prores_aw", "aac", "flac", "libopus"}
    ),
}
"""The encoders whose streams each container takes; the muxers refuse or mangle the others."""

_CONTAINER_OPTIONS: dict[str, frozenset[str]] = {
    "mp4": frozenset({"movflags", "movie_timescale"}),
    "mov": frozenset({"movflags", "movie_timescale"}),
    "matroska": frozenset(),
}
"""The muxer options that a profile may set. The library only warns of a misspelt one, so they are checked here."""

_CONTENT_TYPES: dict[str, str] = {"mp4": "video/mp4", "mov": "video/quicktime", "matroska": "video/x-matroska"}
_EXTENSIONS: dict[str, str] = {"mp4": "mp4", "mov": "mov", "matroska": "mkv"}

Options = tuple[tuple[str, str], ...]


class VideoEncoding(Value):
    """How frames become a stream.

    ``pixel_format`` of ``None`` keeps the source's. ``longest_side`` and ``shortest_side`` cap the picture as displayed,
    so a portrait clip gets the same budget as a landscape one; a picture is never enlarged.
    """

    encoder: Literal["libx264", "libx265", "libsvtav1", "prores_ks", "prores_aw", "ffv1"]
    codec: Annotated[str, Field(description="What a probe of the result reports.")]
    pixel_format: str | None
    options: Annotated[Options, Field(description="Encoder options; a misspelt one makes the render fail.")] = ()
    longest_side: Annotated[int | None, Field(ge=16, le=16384, description="Pixels.")] = None
    shortest_side: Annotated[int | None, Field(ge=16, le=16384, description="Pixels.")] = None
    keyframe_seconds: Annotated[int | None, Field(ge=1, le=20, description="Longest wait for a key frame.")] = None
    square_pixels: Annotated[
        bool, Field(description="Whether the sample aspect ratio is applied, not only tagged.")
    ] = True
    deinterlace: Annotated[bool, Field(description="One progressive frame for each interlaced one.")] = True
    standard_range: Annotated[
        bool, Field(description="Whether HDR is brought to 8-bit BT.709, and full range to limited.")
    ] = True

    @model_validator(mode="after")
    def _caps_agree(self) -> Self:
        if self.longest_side and self.shortest_side and self.shortest_side > self.longest_side:
            message = "shortest_side is at most longest_side"
            raise ValueError(message)
        if len(dict(self.options)) != len(self.options):
            message = "an encoder option is given once"
            raise ValueError(message)
        return self


class AudioEncoding(Value):
    """How samples become a stream.

    A source rate that is not allowed is resampled to the first of ``sample_rates``;
    an empty tuple keeps every rate. ``max_channels`` of ``None`` keeps the layout.
    """

    encoder: Literal["aac", "libopus", "flac", "pcm_s16le", "pcm_s24le"]
    codec: str
    bit_rate_per_channel: Annotated[int | None, Field(ge=8_000, le=512_000, description="Bits a second.")] = None
    sample_format: str
    sample_rates: tuple[int, ...] = ()
    max_channels: Annotated[int | None, Field(ge=1, le=16)] = None
    options: Options = ()


class Profile(Value):
    """One named, versioned kind of deliverable."""

    name: ProfileName
    version: Annotated[int, Field(ge=1)]
    purpose: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    container: Container
    container_options: Options = ()
    video: VideoEncoding
    audio: AudioEncoding
    lossless: bool = False

    @model_validator(mode="after")
    def _container_carries(self) -> Self:
        for encoder in (self.video.encoder, self.audio.encoder):
            if encoder not in _CARRIES[self.container]:
                message = f"{self.container} does not carry {encoder}; see the table of what each container takes"
                raise ValueError(message)
        unknown = dict(self.container_options).keys() - _CONTAINER_OPTIONS[self.container]
        if unknown:
            message = f"{self.container} has no option called {', '.join(sorted(unknown))} that a profile may set"
            raise ValueError(message)
        if self.lossless and (self.video.standard_range or self.video.deinterlace or self.video.pixel_format):
            message = "a lossless profile changes no pixel: no pixel format, no deinterlacing, no range conversion"
            raise ValueError(message)
        return self

    @property
    def extension(self) -> str:
        """File name extension, without the dot."""
        return _EXTENSIONS[self.container]

    @property
    def content_type(self) -> str:
        """MIME type of the file."""
        return _CONTENT_TYPES[self.container]

    @property
    def label(self) -> str:
        """Name and version in one word, for logs and manifests: ``delivery-h264@1``."""
        return f"{self.name}@{self.version}"

    def fingerprint(self) -> str:
        """SHA-256 (hex) of everything the profile says: it changes whenever the bytes may."""
        body = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(body.encode()).hexdigest()


def _x264(preset: str, crf: int) -> Options:
    # The thread count is part of the promise: frame-threaded x264 gives other bytes for another number of threads.
    return (("crf", str(crf)), ("preset", preset), ("threads", "4"))


DELIVERY_H264 = Profile(
    name="delivery-h264",
    version=1,
    purpose="Plays everywhere: H.264 High 4:2:0 and AAC stereo in an MP4 that starts before it is whole.",
    container="mp4",
    # Edit lists are written in the movie's own ticks; the default of a millisecond would clip the last samples.
    container_options=(("movflags", "+faststart"), ("movie_timescale", "90000")),
    video=VideoEncoding(
        encoder="libx264",
        codec="h264",
        pixel_format="yuv420p",
        options=_x264("fast", 18),
        longest_side=3840,
        shortest_side=2160,
        keyframe_seconds=2,
    ),
    audio=AudioEncoding(
        encoder="aac",
        codec="aac",
        bit_rate_per_channel=96_000,
        sample_format="fltp",
        sample_rates=(48_000, 44_100),
        max_channels=2,
    ),
)

ARCHIVE_FFV1 = Profile(
    name="archive-ffv1",
    version=1,
    purpose="Keeps every bit: FFV1 level 3 with slice checksums and FLAC in Matroska, in the source's own pixel format.",
    container="matroska",
    video=VideoEncoding(
        encoder="ffv1",
        codec="ffv1",
        pixel_format=None,
        options=(
            ("coder", "0"),
            ("context", "0"),
            ("g", "1"),
            ("level", "3"),
            ("slicecrc", "1"),
            ("slices", "16"),
            ("threads", "4"),
        ),
        square_pixels=False,
        deinterlace=False,
        standard_range=False,
    ),
    audio=AudioEncoding(encoder="flac", codec="flac", sample_format="s32"),
    lossless=True,
)


def _table(profiles: Iterable[Profile]) -> MappingProxyType[str, Profile]:
    rows: dict[str, Profile] = {}
    for profile in profiles:
        if profile.name in rows:
            message = f"two profiles are called {profile.name}"
            raise ValueError(message)
        rows[profile.name] = profile
    return MappingProxyType(rows)


PROFILES = _table((DELIVERY_H264, ARCHIVE_FFV1))
"""Every profile that may be asked for, by name."""


def profile_named(name: str) -> Profile:
    """The profile called ``name``.

    Raises ``Permanent`` with code ``profile.unknown`` that lists the known ones.
    """
    profile = PROFILES.get(name)
    if profile is None:
        message = f"there is no export profile called {name!r}; ask for one of {', '.join(sorted(PROFILES))}"
        raise Permanent(message, code="profile.unknown")
    return profile
