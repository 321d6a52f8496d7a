"""Facts about a source video, from the request to the birth of its clips."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from contracts.events.base import VideoEvent
from contracts.values import (
    CaptionAsset,
    Failure,
    Finding,
    FrameNumber,
    MasteringPolicy,
    MediaFacts,
    ObjectRef,
    Options,
    Rational,
    Run,
    Sha256,
    Source,
    Tag,
    Title,
)


class VideoAccepted(VideoEvent):
    """Ingest has taken the request; the video now has an id."""

    TYPE: ClassVar[str] = "heaters.video.accepted.v1"

    source: Source
    title: Title
    tags: tuple[Tag, ...] = ()
    options: Options


class VideoRejected(VideoEvent):
    """Ingest will not take this source, now or later."""

    TYPE: ClassVar[str] = "heaters.video.rejected.v1"

    failure: Failure
    entries: Annotated[
        tuple[UUID, ...],
        Field(max_length=10_000, description="The videos that were requested instead, when the source is a list."),
    ] = ()


class VideoDownloadStarted(VideoEvent):
    """The source is on its way into the store."""

    TYPE: ClassVar[str] = "heaters.video.download_started.v1"

    run: Run = 1


class VideoDownloaded(VideoEvent):
    """The source lies in the store, whole, and its content is known."""

    TYPE: ClassVar[str] = "heaters.video.downloaded.v1"

    run: Run = 1
    title: Title
    tags: tuple[Tag, ...] = ()
    options: Options
    object: ObjectRef
    media: MediaFacts
    method: Literal["upload", "object", "primary", "fallback"]
    normalised: Annotated[bool, Field(description="Whether a faulty merge was re-encoded.")] = False
    duplicate_of: Annotated[UUID | None, Field(description="The video that already has this content.")] = None
    captions: tuple[CaptionAsset, ...] = ()
    metadata: Annotated[
        dict[str, Any], Field(description="Uploader, URL, licence, chapters … as the source tells.")
    ] = Field(default_factory=dict)
    findings: tuple[Finding, ...] = ()


class VideoDownloadFailed(VideoEvent):
    """The source could not be fetched; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.video.download_failed.v1"

    run: Run = 1
    failure: Failure


class VideoPreprocessStarted(VideoEvent):
    """A pass over the source began."""

    TYPE: ClassVar[str] = "heaters.video.preprocess_started.v1"

    run: Run = 1
    phase: Literal["proxy", "master"]


class Proxy(ObjectRef):
    """The all-intra review proxy: every frame an IDR, one to one with the source's frames."""

    codec: Annotated[str, Field(description='RFC 6381 codec string, for example "avc1.64001f".')]
    width: Annotated[int, Field(ge=2)]
    height: Annotated[int, Field(ge=2)]


class ReviewAudio(ObjectRef):
    """The review audio, an object of its own."""

    codec: str
    sample_rate: Annotated[int, Field(ge=1)]
    channels: Annotated[int, Field(ge=1)]


class VideoProxied(VideoEvent):
    """Review can start: the proxy and everything that hangs on it exist."""

    TYPE: ClassVar[str] = "heaters.video.proxied.v1"

    run: Run = 1
    title: Title
    tags: tuple[Tag, ...] = ()
    options: Options
    source: ObjectRef
    media: MediaFacts
    frames: Annotated[int, Field(ge=1, description="Decoded frames; the same in source, master and proxy.")]
    rate: Rational
    duration: Annotated[Rational, Field(description="Seconds.")]
    proxy: Proxy
    index: Annotated[ObjectRef, Field(description="The frame index.")]
    features: Annotated[ObjectRef, Field(description="Small frames and statistics, one row per frame.")]
    sprites: tuple[ObjectRef, ...] = ()
    sprite_map: ObjectRef | None = None
    audio: ReviewAudio | None = None
    peaks: ObjectRef | None = None
    captions: tuple[CaptionAsset, ...] = ()
    findings: tuple[Finding, ...] = ()


class VideoMastered(VideoEvent):
    """Export can start. ``master`` is absent when the policy is to decode the source itself.

    With the policy ``approved`` there is no such fact: each clip has a master of its own, told by ``ClipMastered``.
    """

    TYPE: ClassVar[str] = "heaters.video.mastered.v1"

    run: Run = 1
    policy: MasteringPolicy
    frames: Annotated[int, Field(ge=1)]
    master: ObjectRef | None = None
    index: Annotated[ObjectRef | None, Field(description="The master's own frame index.")] = None
    frames_sha256: Annotated[
        Sha256 | None, Field(description="Digest over every decoded frame of the source, equal to the master's.")
    ] = None


class VideoPreprocessFailed(VideoEvent):
    """A pass over the source failed; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.video.preprocess_failed.v1"

    run: Run = 1
    phase: Literal["proxy", "master"]
    failure: Failure


class VideoScenesStarted(VideoEvent):
    """Shot detection began."""

    TYPE: ClassVar[str] = "heaters.video.scenes_started.v1"

    run: Run = 1


class VideoScenesDetected(VideoEvent):
    """Shots were found, as bare cuts. Superseded by version 2, which types the transitions."""

    TYPE: ClassVar[str] = "heaters.video.scenes_detected.v1"

    run: Run = 1
    detector: Annotated[str, StringConstraints(max_length=40)]
    detector_version: Annotated[str, StringConstraints(max_length=40)]
    frames: Annotated[int, Field(ge=1)]
    cuts: Annotated[
        tuple[FrameNumber, ...], Field(max_length=20_000, description="First frame of each shot but the first.")
    ] = ()


class VideoScenesFailed(VideoEvent):
    """Shot detection failed; an operator may resume."""

    TYPE: ClassVar[str] = "heaters.video.scenes_failed.v1"

    run: Run = 1
    failure: Failure
