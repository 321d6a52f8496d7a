"""One row per event type: its model, its topic, who produces it and who consumes it.

The flow diagram, the AsyncAPI document, the schemas and the consumers' routing are all made from this table.
"""

from __future__ import annotations

from dataclasses import dataclass

from contracts import topics
from contracts.events.base import Event
from contracts.events.v1 import clip, ingest, operations, video
from contracts.events.v2 import video as video_v2
from contracts.topics import Topic


@dataclass(frozen=True)
class Entry:
    """A published event type. A ``superseded_by`` type is still read, through its upcaster, and no longer written."""

    model: type[Event]
    topic: Topic
    producers: tuple[str, ...]
    consumers: tuple[str, ...]
    superseded_by: type[Event] | None = None

    @property
    def type(self) -> str:
        """The CloudEvents type."""
        return self.model.TYPE


def _video(model: type[Event], producer: str, *consumers: str) -> Entry:
    return Entry(model, topics.VIDEOS, (producer,), consumers)


def _clip(model: type[Event], producer: str, *consumers: str) -> Entry:
    return Entry(model, topics.CLIPS, (producer,), consumers)


CATALOG: tuple[Entry, ...] = (
    Entry(ingest.IngestRequested, topics.INGEST_REQUESTS, ("any", "review"), ("ingest",)),
    _video(video.VideoAccepted, "ingest", "review"),
    _video(video.VideoRejected, "ingest", "review"),
    _video(video.VideoDownloadStarted, "ingest", "review"),
    _video(video.VideoDownloaded, "ingest", "preprocess", "review"),
    _video(video.VideoDownloadFailed, "ingest", "review"),
    _video(video.VideoPreprocessStarted, "preprocess", "review"),
    _video(video.VideoProxied, "preprocess", "scenes", "review", "export", "preprocess"),
    _video(video.VideoMastered, "preprocess", "review", "export"),
    _video(video.VideoPreprocessFailed, "preprocess", "review"),
    _video(video.VideoScenesStarted, "scenes", "review"),
    Entry(
        video.VideoScenesDetected,
        topics.VIDEOS,
        ("scenes",),
        ("review",),
        superseded_by=video_v2.VideoScenesDetected,
    ),
    _video(video_v2.VideoScenesDetected, "scenes", "review"),
    _video(video.VideoScenesFailed, "scenes", "review"),
    _clip(clip.ClipCreated, "review"),
    _clip(clip.ClipApproved, "review", "export", "preprocess", "embed"),
    _clip(clip.ClipSkipped, "review", "embed"),
    _clip(clip.ClipArchived, "review", "export", "embed", "preprocess"),
    _clip(clip.ClipGrouped, "review"),
    _clip(clip.ClipUngrouped, "review"),
    _clip(clip.ClipSuperseded, "review", "embed"),
    _clip(clip.ClipEditUndone, "review", "export", "preprocess", "embed"),
    _clip(clip.ClipMasteringStarted, "preprocess", "review"),
    _clip(clip.ClipMastered, "preprocess", "review", "export"),
    _clip(clip.ClipMasterFailed, "preprocess", "review"),
    _clip(clip.ClipTagged, "review", "embed"),
    _clip(clip.ClipNoted, "review"),
    _clip(clip.ClipExportStarted, "export", "review"),
    _clip(clip.ClipExported, "export", "review", "embed"),
    _clip(clip.ClipExportFailed, "export", "review"),
    _clip(clip.ClipKeyframingStarted, "embed", "review"),
    _clip(clip.ClipKeyframed, "embed", "review", "embed"),
    _clip(clip.ClipKeyframeFailed, "embed", "review", "embed"),
    _clip(clip.ClipEmbeddingStarted, "embed", "review"),
    _clip(clip.ClipEmbedded, "embed", "review"),
    _clip(clip.ClipEmbeddingFailed, "embed", "review", "embed"),
    _clip(clip.ClipCleaned, "export", "review"),
    Entry(
        operations.StageProgress,
        topics.PROGRESS,
        ("ingest", "preprocess", "scenes", "export", "embed"),
        ("review",),
    ),
    Entry(operations.StageStalled, topics.PROGRESS, ("review",), ()),
    Entry(
        operations.DeadLetterRecorded,
        topics.DEAD_LETTERS,
        ("ingest", "preprocess", "scenes", "review", "export", "embed"),
        ("review",),
    ),
    Entry(operations.BrokerStarted, topics.GENERATION, ("stack",), ("review",)),
)

BY_TYPE: dict[str, Entry] = {entry.type: entry for entry in CATALOG}


def entry_of(event: Event | type[Event]) -> Entry:
    """The row of an event or event model."""
    return BY_TYPE[event.TYPE]


def topics_of(consumer: str) -> tuple[Topic, ...]:
    """The topics that a service must read, in a stable order."""
    wanted = {entry.topic for entry in CATALOG if consumer in entry.consumers}
    return tuple(topic for topic in topics.TOPICS if topic in wanted)
