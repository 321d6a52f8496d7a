"""The manifest of a deliverable, version 1: what was delivered, from what, by what, and how it was checked.

A bundle without a manifest does not exist. The manifest holds no time of day and no random id, so the same clip, profile
and versions give the same manifest, byte for byte. A published version never changes its meaning; readers ignore fields
that they do not know. Its JSON Schema is published and guarded like those of the events.
"""

from __future__ import annotations

import json
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from contracts.values import Code, FrameRange, ObjectRef, ProfileName, Rational, Sha256, Tag, Title, Value, Verdict

SCHEMA_VERSION = "1.0"
SCHEMA_NAME = "heaters.manifest.v1"
CONTENT_TYPE = "application/json"

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,200}$")]


class PictureStream(Value):
    """The pictures of a delivered file, as read back from it."""

    codec: str
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    pixel_format: str
    frames: Annotated[int, Field(ge=1)]
    rate: Annotated[Rational, Field(description="Average frames per second.")]
    duration: Annotated[Rational, Field(description="Seconds.")]
    color_range: str = ""
    color_space: str = ""
    color_transfer: str = ""
    color_primaries: str = ""


class SoundStream(Value):
    """The sound of a delivered file, as read back from it."""

    codec: str
    sample_rate: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]
    layout: str
    duration: Annotated[Rational, Field(description="Seconds.")]


class ManifestFile(Value):
    """One file of the bundle. ``facts`` holds what else is known of it: size in pixels, source frame, cues, language."""

    role: Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]{1,40}$")]
    name: FileName
    size: Annotated[int, Field(ge=0, description="Bytes.")]
    sha256: Sha256
    content_type: str
    pictures: PictureStream | None = None
    sound: SoundStream | None = None
    facts: dict[str, str] = Field(default_factory=dict)


class Lineage(Value):
    """Where the clip comes from, exactly enough to cut it again."""

    video_id: UUID
    source: Annotated[ObjectRef, Field(description="The source file, as ingested.")]
    master: Annotated[ObjectRef | None, Field(description="The gold master; absent if the source itself was decoded.")]
    master_frames_sha256: Annotated[Sha256 | None, Field(description="Digest over the master's decoded frames.")] = None
    frames: FrameRange
    rate: Rational
    start: Annotated[Rational, Field(description="Seconds from the video's first frame.")]
    end: Annotated[Rational, Field(description="Seconds from the video's first frame.")]
    start_timecode: str
    end_timecode: Annotated[str, Field(description="Timecode of the frame after the last.")]


class ProfileUsed(Value):
    """The promise that the bundle keeps."""

    name: ProfileName
    version: Annotated[int, Field(ge=1)]
    sha256: Annotated[Sha256, Field(description="Digest over the whole profile.")]


class QcFinding(Value):
    """Something QC noticed. ``frames`` counts in the source's numbering; ``measured`` and ``limit`` are spelt with units.

    ``start`` and ``end`` say where in the clip it is; absent where it concerns the whole.
    """

    code: Code
    verdict: Verdict
    message: Annotated[str, StringConstraints(max_length=1000)]
    frames: FrameRange | None = None
    start: Annotated[Rational | None, Field(description="Seconds from the clip's start.")] = None
    end: Annotated[Rational | None, Field(description="Seconds from the clip's start.")] = None
    file: Annotated[str, Field(description="The file of the bundle that it concerns, if it is not the video.")] = ""
    measured: str = ""
    limit: str = ""


class Loudness(Value):
    """EBU R128, of the delivered samples; a value is absent where too little was heard to tell."""

    integrated: Annotated[float | None, Field(description="LUFS.")] = None
    range: Annotated[float | None, Field(description="LU.")] = None
    true_peak: Annotated[float | None, Field(description="dBTP.")] = None
    gain: Annotated[
        float | None, Field(description="Decibels by which the sound was changed to reach the profile's target.")
    ] = None


class QcReport(Value):
    """What was checked of the bundle, and what came of it."""

    verdict: Verdict
    checks: Annotated[tuple[str, ...], Field(description="Every rule that was applied.")]
    findings: tuple[QcFinding, ...] = ()
    loudness: Loudness | None = None
    frames: Annotated[int, Field(ge=0)]
    samples: Annotated[int, Field(ge=0)] = 0


class Manifest(Value):
    """A deliverable, whole."""

    schema_version: Literal["1.0"] = "1.0"
    clip_id: UUID
    trace_id: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    title: Title
    tags: tuple[Tag, ...] = ()
    profile: ProfileUsed
    lineage: Lineage
    files: Annotated[tuple[ManifestFile, ...], Field(min_length=1)]
    qc: QcReport
    tools: Annotated[dict[str, str], Field(description="Name and version of everything that decided the bytes.")]


def spelt(value: Value) -> bytes:
    """The one JSON spelling of a manifest or report: sorted keys, two spaces, UTF-8, a newline at the end."""
    return (json.dumps(value.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
