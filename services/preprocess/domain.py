"""What preprocess decides, without I/O: which work videos and approvals ask for, and which events the results become.

Two facts, made by two pieces of work: *proxied* (review can start) comes first, *mastered* (export can start) at lower
priority. The mastering policy says what the second piece is:

- ``eager``: a master of the whole video, asked for by the download;
- ``approved``: a master of each clip that is wanted, asked for by its approval, once the video is proxied;
- ``none``: there is none. Exports decode the source, and so a video is mastered the moment its frames are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.events.base import Event
from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipEditUndone,
    ClipMastered,
    ClipMasterFailed,
    ClipMasteringStarted,
)
from contracts.events.v1.video import (
    Proxy,
    ReviewAudio,
    VideoDownloaded,
    VideoMastered,
    VideoPreprocessFailed,
    VideoPreprocessStarted,
    VideoProxied,
)
from contracts.values import (
    CaptionAsset,
    Failure,
    Finding,
    FrameRange,
    MasteringPolicy,
    MediaFacts,
    ObjectRef,
    Options,
    Rational,
    Sha256,
    Tag,
    Title,
    Value,
)
from services.media.recipes import MasterSettings, ReviewSettings

Frames = Annotated[int, Field(ge=1)]


class ProxyInput(Value):
    """One video's review media: all that decides them, and what their event carries on."""

    video_id: UUID
    title: Title
    tags: tuple[Tag, ...] = ()
    options: Options
    source: ObjectRef
    media: MediaFacts
    captions: tuple[CaptionAsset, ...] = ()
    settings: ReviewSettings

    @property
    def folder(self) -> str:
        """Where the objects lie: other settings, another place."""
        return f"videos/{self.video_id}/proxy/{self.settings.name}/"


class ProxyResult(Value):
    """What the decode pass made."""

    frames: Frames
    rate: Rational
    duration: Rational
    proxy: Proxy
    index: ObjectRef
    features: ObjectRef
    sprites: tuple[ObjectRef, ...]
    sprite_map: ObjectRef
    audio: ReviewAudio | None = None
    peaks: ObjectRef | None = None
    findings: tuple[Finding, ...] = ()


class MasterInput(Value):
    """One video's lossless master."""

    video_id: UUID
    source: ObjectRef
    settings: MasterSettings

    @property
    def folder(self) -> str:
        """Where the objects lie: other settings, another place."""
        return f"videos/{self.video_id}/master/{self.settings.name}/"


class MasterResult(Value):
    """What the master holds."""

    frames: Frames
    master: ObjectRef
    index: ObjectRef
    frames_sha256: Sha256
    duration: Rational | None = None


class PartInput(Value):
    """The frames of one approved clip, to be mastered. ``version`` is the clip's since which it is wanted."""

    video_id: UUID
    clip_id: UUID
    version: int
    frames: FrameRange
    source: ObjectRef
    media: MediaFacts
    index: Annotated[
        ObjectRef, Field(description="The proxy's frame index, whose times and seek points are the source's.")
    ]
    settings: MasterSettings

    @property
    def folder(self) -> str:
        """Where the objects lie: among the clip's own, which go when it is archived."""
        return f"clips/{self.clip_id}/master/{self.settings.name}/"


class PartResult(Value):
    """What the master of a clip's frames holds."""

    master: ObjectRef
    index: ObjectRef
    frames_sha256: Sha256


class ClipFacts(Value):
    """What was heard of a clip. A version of 0 means: not heard. The highest version of each kind counts."""

    frames: FrameRange | None = None
    approved: int = 0
    approval_undone: int = 0
    archived: int = 0
    archive_undone: int = 0

    @property
    def is_wanted(self) -> bool:
        """Whether the clip is to be delivered."""
        return (
            self.frames is not None and self.approved > self.approval_undone and not self.archived > self.archive_undone
        )

    @property
    def wanted_since(self) -> int:
        """The version at which it last became wanted: by approval, or by an archiving taken back."""
        return max(self.approved, self.archive_undone)


def marker(order: ProxyInput | MasterInput | PartInput) -> str:
    """Where the finished result is kept: if it is there, the work is done."""
    return f"{order.folder}result.json"


def proxy_order(event: VideoDownloaded, settings: ReviewSettings) -> ProxyInput:
    """The first piece of work that a downloaded video asks for."""
    return ProxyInput(
        video_id=event.video_id,
        title=event.title,
        tags=event.tags,
        options=event.options,
        source=event.object,
        media=event.media,
        captions=event.captions,
        settings=settings,
    )


def master_order(event: VideoDownloaded, settings: MasterSettings) -> MasterInput | None:
    """The second piece of work, if the video's mastering policy asks for a master of the whole."""
    if event.options.mastering is not MasteringPolicy.EAGER:
        return None
    return MasterInput(video_id=event.video_id, source=event.object, settings=settings)


def heard(clip: ClipFacts, event: ClipApproved | ClipArchived | ClipEditUndone) -> ClipFacts:
    """The clip's facts with one more event; hearing it again, or after a later one, changes nothing."""
    if isinstance(event, ClipApproved):
        if event.version < clip.approved:
            return clip
        return clip.model_copy(update={"frames": event.frames, "approved": event.version})
    if isinstance(event, ClipArchived):
        return clip.model_copy(update={"archived": max(clip.archived, event.version)})
    if event.undone == "approve":
        return clip.model_copy(update={"approval_undone": max(clip.approval_undone, event.version)})
    if event.undone == "archive":
        return clip.model_copy(update={"archive_undone": max(clip.archive_undone, event.version)})
    return clip


def part_order(
    clip_id: UUID, clip: ClipFacts, proxied: VideoProxied | None, settings: MasterSettings
) -> PartInput | None:
    """The master to make of a clip's frames now, if there is one: the policy asks for it, and the clip is wanted."""
    if proxied is None or proxied.options.mastering is not MasteringPolicy.APPROVED:
        return None
    if clip.frames is None or not clip.is_wanted:
        return None
    return PartInput(
        video_id=proxied.video_id,
        clip_id=clip_id,
        version=clip.wanted_since,
        frames=clip.frames,
        source=proxied.source,
        media=proxied.media,
        index=proxied.index,
        settings=settings,
    )


def part_key(order: PartInput) -> str:
    """One key for each time that a clip becomes wanted."""
    return f"part:{order.clip_id}:{order.version}"


def _failure_event(video_id: UUID, run: int, phase: Literal["proxy", "master"], failure: Failure) -> Event:
    return VideoPreprocessFailed(video_id=video_id, run=run, phase=phase, failure=failure)


def proxy_started(order: ProxyInput, run: int) -> Sequence[Event]:
    """The decode pass began."""
    return (VideoPreprocessStarted(video_id=order.video_id, run=run, phase="proxy"),)


def proxied(order: ProxyInput, run: int, result: ProxyResult) -> Sequence[Event]:
    """Review can start; without a master to wait for, export can too."""
    events: list[Event] = [
        VideoProxied(
            video_id=order.video_id,
            run=run,
            title=order.title,
            tags=order.tags,
            options=order.options,
            source=order.source,
            media=order.media,
            captions=order.captions,
            frames=result.frames,
            rate=result.rate,
            duration=result.duration,
            proxy=result.proxy,
            index=result.index,
            features=result.features,
            sprites=result.sprites,
            sprite_map=result.sprite_map,
            audio=result.audio,
            peaks=result.peaks,
            findings=result.findings,
        )
    ]
    if order.options.mastering is MasteringPolicy.NONE:
        events.append(
            VideoMastered(video_id=order.video_id, run=run, policy=MasteringPolicy.NONE, frames=result.frames)
        )
    return events


def proxy_failed(order: ProxyInput, run: int, failure: Failure) -> Sequence[Event]:
    """The decode pass gave up."""
    return (_failure_event(order.video_id, run, "proxy", failure),)


def master_started(order: MasterInput, run: int) -> Sequence[Event]:
    """The lossless pass began."""
    return (VideoPreprocessStarted(video_id=order.video_id, run=run, phase="master"),)


def mastered(order: MasterInput, run: int, result: MasterResult) -> Sequence[Event]:
    """Export can start."""
    return (
        VideoMastered(
            video_id=order.video_id,
            run=run,
            policy=MasteringPolicy.EAGER,
            frames=result.frames,
            master=result.master,
            index=result.index,
            frames_sha256=result.frames_sha256,
        ),
    )


def master_failed(order: MasterInput, run: int, failure: Failure) -> Sequence[Event]:
    """The lossless pass gave up."""
    return (_failure_event(order.video_id, run, "master", failure),)


def part_started(order: PartInput, run: int) -> Sequence[Event]:
    """The clip's frames are being mastered."""
    return (ClipMasteringStarted(video_id=order.video_id, clip_id=order.clip_id, run=run, version=order.version),)


def part_mastered(order: PartInput, run: int, result: PartResult) -> Sequence[Event]:
    """Export of the clip can start."""
    return (
        ClipMastered(
            video_id=order.video_id,
            clip_id=order.clip_id,
            run=run,
            version=order.version,
            frames=order.frames,
            master=result.master,
            index=result.index,
            frames_sha256=result.frames_sha256,
        ),
    )


def part_failed(order: PartInput, run: int, failure: Failure) -> Sequence[Event]:
    """The clip has no master."""
    return (
        ClipMasterFailed(
            video_id=order.video_id, clip_id=order.clip_id, run=run, version=order.version, failure=failure
        ),
    )
