"""What is known of a source video, and the state and the clips that follow from it.

``evolve`` folds events into facts; any permutation of a video's events, with repetitions, gives the same facts.
The state is derived, never stored as a decision, and so is what is due: ``births`` names the clips that the facts call
for, the same whichever of those facts was heard last.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal
from uuid import UUID

from contracts.envelope import derived_id
from contracts.events.base import Event
from contracts.events.v1.clip import ClipCreated
from contracts.events.v1.video import (
    VideoAccepted,
    VideoDownloaded,
    VideoDownloadFailed,
    VideoDownloadStarted,
    VideoMastered,
    VideoPreprocessFailed,
    VideoPreprocessStarted,
    VideoProxied,
    VideoRejected,
    VideoScenesFailed,
    VideoScenesStarted,
)
from contracts.events.v2.video import VideoScenesDetected
from contracts.values import ErrorClass, Failure, FrameRange, Options, Tag, Transition, Value
from services.review.domain.marks import Mark, NoOp, Outcome, Refused, furthest, winner


class VideoState(StrEnum):
    """The states of SPEC's source video."""

    NEW = "new"
    DOWNLOADING = "downloading"
    DOWNLOADED = "downloaded"
    PREPROCESSING = "preprocessing"
    PREPROCESSED = "preprocessed"
    DETECTING_SCENES = "detecting_scenes"
    READY = "ready"
    DOWNLOAD_FAILED = "download_failed"
    PREPROCESS_FAILED = "preprocess_failed"
    DETECT_SCENES_FAILED = "detect_scenes_failed"
    REJECTED = "rejected"


class Facts(Value):
    """Everything heard of one video, each kind of fact at most once."""

    video_id: UUID
    accepted: VideoAccepted | None = None
    rejected: VideoRejected | None = None
    download: Mark | None = None
    downloaded: VideoDownloaded | None = None
    proxy: Mark | None = None
    proxied: VideoProxied | None = None
    master: Mark | None = None
    mastered: VideoMastered | None = None
    scenes: Mark | None = None
    detected: VideoScenesDetected | None = None

    @property
    def options(self) -> Options | None:
        """The request's options, as the furthest event carries them."""
        told = self.proxied or self.downloaded or self.accepted
        return told.options if told else None

    @property
    def title(self) -> str:
        """The title, which the download may have improved; empty while unknown."""
        told = self.proxied or self.downloaded or self.accepted
        return told.title if told else ""

    @property
    def tags(self) -> tuple[Tag, ...]:
        """The request's tags."""
        told = self.proxied or self.downloaded or self.accepted
        return told.tags if told else ()

    @property
    def duplicate_of(self) -> UUID | None:
        """The video whose content this one repeats: that one's clips are this one's."""
        return self.downloaded.duplicate_of if self.downloaded else None


@dataclass(frozen=True)
class Moved:
    """An event took the video from one state to another."""

    old: VideoState
    new: VideoState


def evolve(facts: Facts, event: Event) -> Facts:
    """The facts with one more event heard. Raises ``Refused`` for an event of another video or of no video."""
    if getattr(event, "video_id", None) != facts.video_id:
        raise Refused("The event tells of another video; fold it into that one's facts.", code="review.foreign_event")
    return facts.model_copy(update=_change(facts, event))


def _change(facts: Facts, event: Event) -> dict[str, object]:
    match event:
        case VideoAccepted():
            return {"accepted": winner(facts.accepted, event)}
        case VideoRejected():
            return {"rejected": winner(facts.rejected, event)}
        case VideoDownloadStarted():
            return {"download": furthest(facts.download, _started(event.run))}
        case VideoDownloadFailed():
            return {"download": furthest(facts.download, _failed(event.run, event.failure))}
        case VideoDownloaded():
            return {
                "download": furthest(facts.download, _succeeded(event.run)),
                "downloaded": winner(facts.downloaded, event),
            }
        case VideoPreprocessStarted():
            return {event.phase: furthest(_pass(facts, event.phase), _started(event.run))}
        case VideoPreprocessFailed():
            return {event.phase: furthest(_pass(facts, event.phase), _failed(event.run, event.failure))}
        case VideoProxied():
            return {"proxy": furthest(facts.proxy, _succeeded(event.run)), "proxied": winner(facts.proxied, event)}
        case VideoMastered():
            return {"master": furthest(facts.master, _succeeded(event.run)), "mastered": winner(facts.mastered, event)}
        case VideoScenesStarted():
            return {"scenes": furthest(facts.scenes, _started(event.run))}
        case VideoScenesFailed():
            return {"scenes": furthest(facts.scenes, _failed(event.run, event.failure))}
        case VideoScenesDetected():
            return {"scenes": furthest(facts.scenes, _succeeded(event.run)), "detected": winner(facts.detected, event)}
        case _:
            raise Refused(f"{event.TYPE} tells nothing about a video's state.", code="review.foreign_event")


def transition(facts: Facts, event: Event) -> tuple[Facts, Moved | NoOp]:
    """The facts with one more event heard, and what that did to the state."""
    after = evolve(facts, event)
    old, new = status(facts), status(after)
    if old is not new:
        return after, Moved(old, new)
    return after, NoOp.NOTHING_NEW if after == facts else NoOp.NOTED


def status(facts: Facts) -> VideoState:
    """The video's state. What has come furthest counts, whether or not what must have led there was heard.

    A master that failed shows as ``preprocess_failed`` even while clips can be reviewed: their export cannot start.
    """
    if facts.rejected:
        return VideoState.REJECTED
    if facts.duplicate_of:
        return VideoState.READY
    if _any_failed(facts.proxy, facts.master):
        return VideoState.PREPROCESS_FAILED
    if facts.scenes and facts.scenes.failed and not _is_spliced(facts):
        return VideoState.DETECT_SCENES_FAILED
    if facts.proxied and (facts.detected or _is_spliced(facts)):
        return VideoState.DETECT_SCENES_FAILED if _mismatch(facts) else VideoState.READY
    if facts.scenes and not _is_spliced(facts):
        return VideoState.DETECTING_SCENES
    if facts.proxied:
        return VideoState.PREPROCESSED
    if facts.proxy or facts.master:
        return VideoState.PREPROCESSING
    return _ingest_status(facts)


def _ingest_status(facts: Facts) -> VideoState:
    if facts.download is None:
        return VideoState.NEW
    return {
        Outcome.STARTED: VideoState.DOWNLOADING,
        Outcome.FAILED: VideoState.DOWNLOAD_FAILED,
        Outcome.SUCCEEDED: VideoState.DOWNLOADED,
    }[facts.download.outcome]


def error(facts: Facts) -> Failure | None:
    """Why the video stands in a failed or rejected state; none in any other."""
    match status(facts):
        case VideoState.REJECTED:
            return facts.rejected.failure if facts.rejected else None
        case VideoState.DOWNLOAD_FAILED:
            return facts.download.failure if facts.download else None
        case VideoState.PREPROCESS_FAILED:
            marks = (facts.proxy, facts.master)
            return next((mark.failure for mark in marks if mark and mark.failed), None)
        case VideoState.DETECT_SCENES_FAILED:
            return (facts.scenes.failure if facts.scenes and facts.scenes.failed else None) or _mismatch(facts)
        case _:
            return None


def births(facts: Facts) -> tuple[ClipCreated, ...]:
    """The clips that the facts call for: one for each shot, or one for the whole video when it is already cut.

    Empty until everything needed is known, and for ever for a duplicate or a rejected video. The ids follow from video,
    range and cause, so a repetition names the same clips.
    """
    proxied, detected = facts.proxied, facts.detected
    if proxied is None or facts.rejected or facts.duplicate_of:
        return ()
    if _is_spliced(facts):
        whole = FrameRange(start=0, end=proxied.frames)
        return (_birth(proxied, whole, "whole", "whole", 1.0),)
    if detected is None or _mismatch(facts):
        return ()
    cause = f"detected:{detected.detector.name}-{detected.detector.version}"
    certainty = _certainty(detected.clips, detected.transitions)
    return tuple(
        _birth(proxied, frames, "detected", cause, confidence)
        for frames, confidence in zip(detected.clips, certainty, strict=True)
    )


def clip_id_of(video_id: UUID, frames: FrameRange, cause: str) -> UUID:
    """A clip's id; its 32 hex digits are the clip's trace id too."""
    return derived_id("clip", video_id, frames.start, frames.end, cause)


def _birth(
    proxied: VideoProxied, frames: FrameRange, origin: Literal["detected", "whole"], cause: str, confidence: float
) -> ClipCreated:
    return ClipCreated(
        video_id=proxied.video_id,
        clip_id=clip_id_of(proxied.video_id, frames, cause),
        frames=frames,
        origin=origin,
        confidence=confidence,
        tags=proxied.tags,
    )


def _certainty(clips: tuple[FrameRange, ...], transitions: tuple[Transition, ...]) -> list[float]:
    """How sure each clip's two edges are: the least confidence among the transitions that touch them."""
    edges = [clip.start for clip in clips[1:]]
    at_edge = [1.0] * len(edges)
    for change in transitions:
        first = bisect_left(edges, change.frames.start)
        if first < len(edges) and edges[first] <= change.frames.end:
            at_edge[first] = min(at_edge[first], change.confidence)
    bounds = [1.0, *at_edge, 1.0]
    return [min(bounds[number], bounds[number + 1]) for number in range(len(clips))]


def _is_spliced(facts: Facts) -> bool:
    """Whether the video came already cut, so that it skips detection."""
    return facts.options is not None and not facts.options.needs_splicing


def _mismatch(facts: Facts) -> Failure | None:
    """Detection that counted other frames than the proxy has is not to be cut by."""
    if _is_spliced(facts) or not (facts.proxied and facts.detected) or facts.proxied.frames == facts.detected.frames:
        return None
    return Failure(
        stage="review",
        error_class=ErrorClass.PERMANENT,
        code="review.frames_disagree",
        message=(
            f"Scene detection saw {facts.detected.frames} frames and the proxy has {facts.proxied.frames}; "
            "run scene detection again on the present proxy."
        ),
    )


def _pass(facts: Facts, phase: Literal["proxy", "master"]) -> Mark | None:
    return facts.proxy if phase == "proxy" else facts.master


def _any_failed(*marks: Mark | None) -> bool:
    return any(mark is not None and mark.failed for mark in marks)


def _started(run: int) -> Mark:
    return Mark(run=run, outcome=Outcome.STARTED)


def _failed(run: int, failure: Failure) -> Mark:
    return Mark(run=run, outcome=Outcome.FAILED, failure=failure)


def _succeeded(run: int) -> Mark:
    return Mark(run=run, outcome=Outcome.SUCCEEDED)
