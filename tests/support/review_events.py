"""Sample events of one video and its clips, as review hears them."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from uuid import UUID

from contracts.events.base import Event
from contracts.events.v1 import clip, video
from contracts.events.v2.video import Detector, VideoScenesDetected
from contracts.values import (
    Deliverable,
    DeliverableFile,
    EmbeddingModel,
    ErrorClass,
    Failure,
    FrameRange,
    Keyframe,
    MasteringPolicy,
    MediaFacts,
    ObjectRef,
    Options,
    ReviewPolicy,
    Transition,
    TransitionKind,
    UrlSource,
    Verdict,
    VideoFacts,
)

VIDEO = UUID(int=1)
OTHER_VIDEO = UUID(int=2)
CLIP = UUID(int=101)
EDIT = UUID(int=201)
FRAMES = 300


def failure(code: str = "media.corrupt", stage: str = "preprocess") -> Failure:
    return Failure(stage=stage, error_class=ErrorClass.PERMANENT, code=code, message="Get a whole file and try again.")


def stored(key: str = "videos/1/proxy/r/proxy.mp4") -> ObjectRef:
    return ObjectRef(key=key, size=1000, sha256="ab" * 32)


def options(
    *, review: str = "human", needs_splicing: bool = True, profiles: tuple[str, ...] = ("delivery-h264",)
) -> Options:
    return Options(review=ReviewPolicy(review), needs_splicing=needs_splicing, profiles=profiles)


def media() -> MediaFacts:
    return MediaFacts(
        container="mp4",
        duration=Fraction(25, 2),
        video=VideoFacts(
            stream_index=0,
            codec="h264",
            width=640,
            height=360,
            pixel_format="yuv420p",
            rate=Fraction(24),
            timebase=Fraction(1, 24),
            packets=FRAMES,
        ),
    )


def accepted(video_id: UUID = VIDEO, **how) -> video.VideoAccepted:
    return video.VideoAccepted(
        video_id=video_id,
        source=UrlSource(url="https://example.org/v"),
        title="A film",
        tags=("tag",),
        options=options(**how),
    )


def downloaded(
    video_id: UUID = VIDEO, *, run: int = 1, duplicate_of: UUID | None = None, **how
) -> video.VideoDownloaded:
    return video.VideoDownloaded(
        video_id=video_id,
        run=run,
        title="A film",
        tags=("tag",),
        options=options(**how),
        object=stored(f"videos/{video_id}/source/a.mp4"),
        media=media(),
        method="primary",
        duplicate_of=duplicate_of,
        metadata={"uploader": "x", "b": 1},
    )


def proxied(video_id: UUID = VIDEO, *, run: int = 1, frames: int = FRAMES, **how) -> video.VideoProxied:
    return video.VideoProxied(
        video_id=video_id,
        run=run,
        title="A film",
        tags=("tag",),
        options=options(**how),
        source=stored(f"videos/{video_id}/source/a.mp4"),
        media=media(),
        frames=frames,
        rate=Fraction(24),
        duration=Fraction(25, 2),
        proxy=video.Proxy(**stored().model_dump(), codec="avc1.64001f", width=640, height=360),
        index=stored("videos/1/proxy/r/index.bin"),
        features=stored("videos/1/proxy/r/features.npz"),
        sprites=(stored("videos/1/proxy/r/sprites-000.jpg"),),
        sprite_map=stored("videos/1/proxy/r/sprites.json"),
    )


def mastered(video_id: UUID = VIDEO, *, run: int = 1) -> video.VideoMastered:
    return video.VideoMastered(video_id=video_id, run=run, policy=MasteringPolicy.NONE, frames=FRAMES)


def detected(
    video_id: UUID = VIDEO, *, run: int = 1, cuts: tuple[int, ...] = (100, 200), frames: int = FRAMES
) -> VideoScenesDetected:
    edges = (0, *cuts, frames)
    return VideoScenesDetected(
        video_id=video_id,
        run=run,
        detector=Detector(name="adaptive", version="1"),
        frames=frames,
        clips=tuple(FrameRange(start=a, end=b) for a, b in pairwise(edges)),
        transitions=tuple(
            Transition(kind=TransitionKind.CUT, frames=FrameRange(start=cut, end=cut + 1), confidence=0.5 + n % 5 / 10)
            for n, cut in enumerate(cuts)
        ),
    )


def video_events(run: int = 1, **how) -> dict[str, Event]:
    """Every event that review hears about a video, by name."""
    return {
        "accepted": accepted(**how),
        "rejected": video.VideoRejected(video_id=VIDEO, failure=failure("ingest.live", "ingest")),
        "download_started": video.VideoDownloadStarted(video_id=VIDEO, run=run),
        "downloaded": downloaded(run=run, **how),
        "download_failed": video.VideoDownloadFailed(
            video_id=VIDEO, run=run, failure=failure("ingest.not_found", "ingest")
        ),
        "proxy_started": video.VideoPreprocessStarted(video_id=VIDEO, run=run, phase="proxy"),
        "proxied": proxied(run=run, **how),
        "proxy_failed": video.VideoPreprocessFailed(video_id=VIDEO, run=run, phase="proxy", failure=failure()),
        "master_started": video.VideoPreprocessStarted(video_id=VIDEO, run=run, phase="master"),
        "mastered": mastered(run=run),
        "master_failed": video.VideoPreprocessFailed(video_id=VIDEO, run=run, phase="master", failure=failure()),
        "scenes_started": video.VideoScenesStarted(video_id=VIDEO, run=run),
        "detected": detected(run=run),
        "scenes_failed": video.VideoScenesFailed(video_id=VIDEO, run=run, failure=failure("scenes.failed", "scenes")),
    }


def deliverables() -> tuple[Deliverable, ...]:
    return (
        Deliverable(
            profile="delivery-h264",
            manifest=stored("clips/101/exports/delivery-h264/r/manifest.json"),
            files=(
                DeliverableFile(
                    role="video", name="clip.mp4", object=stored("clips/101/exports/delivery-h264/r/clip.mp4")
                ),
            ),
            verdict=Verdict.PASS,
        ),
    )


def created(clip_id: UUID = CLIP, start: int = 0, end: int = 100) -> clip.ClipCreated:
    return clip.ClipCreated(
        video_id=VIDEO, clip_id=clip_id, frames=FrameRange(start=start, end=end), origin="detected", tags=("tag",)
    )


def approved(clip_id: UUID = CLIP, *, edit_id: UUID = EDIT, version: int = 2) -> clip.ClipApproved:
    return clip.ClipApproved(
        video_id=VIDEO,
        clip_id=clip_id,
        edit_id=edit_id,
        version=version,
        by="ann",
        frames=FrameRange(start=0, end=100),
        title="A film",
        profiles=("delivery-h264",),
    )


def exported(clip_id: UUID = CLIP, *, video_id: UUID = VIDEO, run: int = 1) -> clip.ClipExported:
    return clip.ClipExported(
        video_id=video_id,
        clip_id=clip_id,
        run=run,
        frames=FrameRange(start=0, end=100),
        title="A film",
        deliverables=deliverables(),
    )


def work_events(clip_id: UUID = CLIP, *, video_id: UUID = VIDEO, run: int = 1) -> dict[str, Event]:
    """Every event that review hears about a clip from the workers, by name."""
    about = {"video_id": video_id, "clip_id": clip_id}
    return {
        "mastering_started": clip.ClipMasteringStarted(**about, run=run, version=2),
        "mastered": clip.ClipMastered(
            **about,
            run=run,
            version=2,
            frames=FrameRange(start=0, end=100),
            master=stored("clips/101/master/m/master.mkv"),
            index=stored("clips/101/master/m/index.bin"),
            frames_sha256="a" * 64,
        ),
        "master_failed": clip.ClipMasterFailed(
            **about, run=run, version=2, failure=failure("media.pictures_change", "preprocess")
        ),
        "export_started": clip.ClipExportStarted(**about, run=run),
        "exported": exported(clip_id, video_id=video_id, run=run),
        "export_failed": clip.ClipExportFailed(**about, run=run, failure=failure("export.disk_full", "export")),
        "keyframing_started": clip.ClipKeyframingStarted(**about, run=run),
        "keyframed": clip.ClipKeyframed(
            **about,
            run=run,
            strategy="uniform",
            title="A film",
            keyframes=(Keyframe(frame=3, object=stored("clips/101/keyframes/uniform/000.jpg")),),
        ),
        "keyframe_failed": clip.ClipKeyframeFailed(**about, run=run, failure=failure("embed.no_frame", "embed")),
        "embedding_started": clip.ClipEmbeddingStarted(**about, run=run),
        "embedded": clip.ClipEmbedded(
            **about, run=run, models=(EmbeddingModel(model_id="m", revision="1", dimensions=8, vectors=1),)
        ),
        "embedding_failed": clip.ClipEmbeddingFailed(**about, run=run, failure=failure("embed.no_model", "embed")),
        "cleaned": clip.ClipCleaned(**about, objects=3),
    }


def edit_events(clip_id: UUID = CLIP) -> dict[str, Event]:
    """Every event of people's making about a clip, by name; the approval is version 2, the rest version 3."""
    about = {"video_id": VIDEO, "clip_id": clip_id, "by": "ann", "edit_id": UUID(int=202), "version": 3}
    return {
        "created": created(clip_id),
        "approved": approved(clip_id),
        "skipped": clip.ClipSkipped(**about),
        "archived": clip.ClipArchived(**about),
        "grouped": clip.ClipGrouped(**about, group=(clip_id, UUID(int=102))),
        "ungrouped": clip.ClipUngrouped(**about, group=(UUID(int=102),)),
        "superseded": clip.ClipSuperseded(**about, children=(UUID(int=103), UUID(int=104))),
        "tagged": clip.ClipTagged(**about, tags=("tag", "other")),
        "noted": clip.ClipNoted(**about, note="Look twice."),
        "undone": clip.ClipEditUndone(**{**about, "edit_id": EDIT}, undone="approve"),
    }
