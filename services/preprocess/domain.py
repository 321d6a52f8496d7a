"""What preprocess decides, without I/O: which work a downloaded video asks for, and which events its results become.

Two facts, made by two pieces of work: *proxied* (review can start) comes first, *mastered* (export can start) at lower
priority. With the mastering policy ``none`` there is no second piece: exports decode the source, and so a video is
mastered the moment its frames are counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field

from contracts.errors import Permanent
from contracts.events.base import Event
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


def marker(order: ProxyInput | MasterInput) -> str:
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
    """The second piece of work, if the video's mastering policy asks for one.

    Raises:
        Permanent: ``preprocess.mastering_not_supported``.
    """
    match event.options.mastering:
        case MasteringPolicy.EAGER:
            return MasterInput(video_id=event.video_id, source=event.object, settings=settings)
        case MasteringPolicy.NONE:
            return None
        case MasteringPolicy.APPROVED:
            raise Permanent(
                'Mastering only the approved ranges is not offered yet. Request the video again with mastering "eager" '
                '(the whole video) or "none" (exports decode the source).',
                code="preprocess.mastering_not_supported",
            )


def failure_event(video_id: UUID, run: int, phase: Literal["proxy", "master"], failure: Failure) -> Event:
    """A pass failed."""
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
    return (failure_event(order.video_id, run, "proxy", failure),)


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
    return (failure_event(order.video_id, run, "master", failure),)
