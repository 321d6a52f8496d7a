"""Values that events and services share: ids, frame ranges, exact ratios, object references.

Guarantees: every value is immutable, validates itself, and has one JSON spelling. Media time
is never a float: rates, timebases and durations are ratios of integers, spelt ``"24000/1001"``.
"""

from __future__ import annotations

from enum import StrEnum
from fractions import Fraction
from typing import Annotated, Any, Literal, NewType
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

VideoId = NewType("VideoId", UUID)
ClipId = NewType("ClipId", UUID)

Code = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+(\.[a-z0-9_]+)+$", max_length=100)]
"""What is the matter, for programs to branch on: lower case, parted by dots, the first part names whose matter it is."""

MAX_FRAMES = 50_000_000
"""Upper bound of a frame number: more than 230 hours at 60 frames a second."""


class Value(BaseModel):
    """Base of every value and event body: immutable; what a newer producer adds is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", ser_json_bytes="base64")


def _to_fraction(value: Any) -> Fraction:
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        message = 'a ratio is spelt "numerator/denominator", for example "24000/1001"'
        raise ValueError(message)  # noqa: TRY004 - pydantic reports a ValueError as a validation error.
    try:
        return Fraction(value)
    except ZeroDivisionError as error:
        message = "a ratio's denominator is never zero"
        raise ValueError(message) from error


def spell_ratio(value: Fraction) -> str:
    """The one JSON spelling of a ratio, with its denominator even when that is 1."""
    return f"{value.numerator}/{value.denominator}"


Rational = Annotated[
    Fraction,
    BeforeValidator(_to_fraction),
    PlainSerializer(spell_ratio, return_type=str),
    WithJsonSchema({"type": "string", "pattern": r"^-?[0-9]+/[1-9][0-9]*$", "examples": ["24000/1001"]}),
]
"""An exact ratio of integers (a frame rate in frames per second, a timebase or a duration in seconds)."""

FrameNumber = Annotated[int, Field(ge=0, le=MAX_FRAMES)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
ObjectKey = Annotated[str, StringConstraints(min_length=1, max_length=1024)]
Title = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
Tag = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=100)]
Note = Annotated[str, StringConstraints(strip_whitespace=True, max_length=4000)]
ProfileName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
Language = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,35}$")]
Run = Annotated[int, Field(ge=1, description="1 for the first go, one more for each resumption by an operator.")]


class FrameRange(Value):
    """Half-open range ``[start, end)`` of frame numbers in presentation order; never empty."""

    start: FrameNumber
    end: FrameNumber

    @model_validator(mode="after")
    def _is_not_empty(self) -> FrameRange:
        if self.end <= self.start:
            message = f"a frame range holds at least one frame, but [{self.start}, {self.end}) is empty"
            raise ValueError(message)
        return self

    def __len__(self) -> int:
        return self.end - self.start

    def __contains__(self, frame: int) -> bool:
        return self.start <= frame < self.end

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"

    def overlaps(self, other: FrameRange) -> bool:
        """Whether the two ranges share a frame."""
        return self.start < other.end and other.start < self.end


class ObjectRef(Value):
    """An object in the store: what a consumer needs to fetch it and to prove that it is the one meant."""

    key: ObjectKey
    size: Annotated[int, Field(ge=0, description="Bytes.")]
    sha256: Sha256
    content_type: Annotated[str, StringConstraints(max_length=255)] = "application/octet-stream"


class ErrorClass(StrEnum):
    """What a consumer of a failure may expect of another try."""

    RETRYABLE = "retryable"
    PERMANENT = "permanent"
    CANCELLED = "cancelled"


class Finding(Value):
    """Something noticed that a person should know of: never silent, never fatal by itself."""

    code: Code
    message: Annotated[str, StringConstraints(max_length=1000)]
    frames: FrameRange | None = None


class Failure(Value):
    """Why a stage gave up, in terms a program can branch on and a person can act on."""

    stage: Annotated[str, StringConstraints(max_length=40)]
    error_class: ErrorClass
    code: Code
    message: Annotated[str, StringConstraints(min_length=1, max_length=2000)]
    attempts: Annotated[int, Field(ge=0)] = 1
    trace_id: Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{32})?$")] = ""
    findings: Annotated[
        tuple[Finding, ...], Field(max_length=100, description="What exactly was found wrong, and in which frames.")
    ] = ()


class UrlSource(Value):
    """A page or file that yt-dlp can fetch."""

    kind: Literal["url"] = "url"
    url: Annotated[str, StringConstraints(min_length=1, max_length=4096)]
    most_entries: (
        Annotated[
            int,
            Field(
                ge=0,
                le=100_000,
                description="How many videos a list behind the address may bring; 0: it must be one video. None: as the "
                "installation allows.",
            ),
        ]
        | None
    ) = None


class ObjectSource(Value):
    """An object that already lies in the bucket."""

    kind: Literal["object"] = "object"
    key: ObjectKey
    name: Annotated[str, StringConstraints(max_length=500)] = ""


class UploadSource(Value):
    """An upload made through the API."""

    kind: Literal["upload"] = "upload"
    upload_id: UUID
    name: Annotated[str, StringConstraints(max_length=500)] = ""


Source = Annotated[UrlSource | ObjectSource | UploadSource, Field(discriminator="kind")]


class ReviewPolicy(StrEnum):
    """Who decides over detected clips: a person, or nobody (every clip is approved at once)."""

    HUMAN = "human"
    AUTO = "auto"


class MasteringPolicy(StrEnum):
    """Which frames get a lossless master: all at once, those of approved clips, or none."""

    EAGER = "eager"
    APPROVED = "approved"
    NONE = "none"


class Options(Value):
    """What the requester wants done; decided once, carried by the video's events."""

    needs_splicing: bool = True
    review: ReviewPolicy = ReviewPolicy.HUMAN
    mastering: MasteringPolicy = MasteringPolicy.EAGER
    detector: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")] = "adaptive"
    profiles: Annotated[tuple[ProfileName, ...], Field(min_length=1, max_length=16)] = ("delivery-h264",)
    caption_languages: Annotated[tuple[Language, ...], Field(max_length=50)] = ()


class VideoFacts(Value):
    """The chosen video stream as it lies in the source file."""

    stream_index: Annotated[int, Field(ge=0)]
    codec: str
    profile: str = ""
    width: Annotated[int, Field(ge=1, description="Coded pixels, before rotation and sample aspect ratio.")]
    height: Annotated[int, Field(ge=1)]
    pixel_format: str
    rate: Annotated[Rational, Field(description="Average frames per second.")]
    timebase: Rational
    packets: Annotated[int, Field(ge=0, description="Packets counted by reading the file to its end.")]
    variable_rate: bool = False
    rotation: int = 0
    sample_aspect_ratio: Rational = Fraction(1)
    color_range: str = ""
    color_space: str = ""
    color_transfer: str = ""
    color_primaries: str = ""
    interlaced: bool = False


class AudioFacts(Value):
    """The chosen audio stream."""

    stream_index: Annotated[int, Field(ge=0)]
    codec: str
    sample_rate: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]
    layout: str = ""
    packets: Annotated[int, Field(ge=0)]


class MediaFacts(Value):
    """What a probe proved of a source file."""

    container: str
    duration: Annotated[Rational, Field(description="Seconds from the first to the end of the last video frame.")]
    video: VideoFacts
    audio: AudioFacts | None = None
    video_streams: Annotated[int, Field(ge=1)] = 1
    audio_streams: Annotated[int, Field(ge=0)] = 0
    subtitle_streams: Annotated[int, Field(ge=0)] = 0


class CaptionAsset(Value):
    """Captions kept with a video, as WebVTT on the source's own timeline."""

    language: Language
    origin: Literal["embedded", "sidecar", "downloaded", "automatic"]
    object: ObjectRef


class TransitionKind(StrEnum):
    """How one shot becomes the next."""

    CUT = "cut"
    FADE = "fade"
    DISSOLVE = "dissolve"
    WIPE = "wipe"


class Transition(Value):
    """A change of shot: the range of frames that belong to it; a cut spans the new shot's first frame only."""

    kind: TransitionKind
    frames: FrameRange
    confidence: Annotated[float, Field(ge=0, le=1)]


class DeliverableFile(Value):
    """One file of a deliverable; ``name`` is relative to the bundle."""

    role: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")]
    object: ObjectRef


class Verdict(StrEnum):
    """What QC makes of a deliverable."""

    PASS = "pass"  # noqa: S105 - a verdict, not a password.
    WARN = "warn"
    FAIL = "fail"


class Deliverable(Value):
    """An export bundle. Its manifest is written last: without one it does not exist."""

    profile: ProfileName
    manifest: ObjectRef
    files: tuple[DeliverableFile, ...]
    verdict: Verdict
    finding_codes: Annotated[
        tuple[Code, ...], Field(max_length=100, description="What QC noticed, each once; the manifest tells where.")
    ] = ()


class Keyframe(Value):
    """A still of a clip; ``frame`` counts in the source's own numbering."""

    frame: FrameNumber
    object: ObjectRef
    time: Annotated[Rational | None, Field(description="Seconds from the clip's first frame.")] = None
    sharpness: Annotated[
        float | None, Field(ge=0, description="Mean squared difference of neighbouring luma pixels, for ranking.")
    ] = None


class EmbeddingModel(Value):
    """The model that made a clip's vectors, exactly enough to make them again."""

    model_id: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    revision: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    dimensions: Annotated[int, Field(ge=1, le=16_000)]
    vectors: Annotated[int, Field(ge=1)]
