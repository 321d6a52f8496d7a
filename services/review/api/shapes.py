"""What the API takes and gives, as models: every input is bounded, every answer documented."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from contracts.values import MAX_FRAMES, Deliverable, FrameRange, Options, Source, Tag, Title
from services.review.domain.clip import ClipState
from services.review.domain.edits import (
    ApproveClips,
    ArchiveClips,
    Command,
    GroupClips,
    MergeClips,
    SkipClips,
    SplitClip,
    Target,
    TrimClip,
    UngroupClips,
)
from services.review.domain.video import VideoState

MAX_CLIPS_OF_AN_EDIT = 5_000

Name = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
Key = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class Body(BaseModel):
    """Base of every request body: unknown fields are refused, for they would be silently lost."""

    model_config = ConfigDict(extra="forbid")

    @model_validator(mode="before")
    @classmethod
    def _is_storable(cls, given: Any) -> Any:
        if _holds_nul(given):
            raise ValueError("texts hold no NUL character")
        return given


def _holds_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_holds_nul(item) for pair in value.items() for item in pair)
    return isinstance(value, list) and any(_holds_nul(item) for item in value)


class ErrorOut(BaseModel):
    """Why something failed."""

    code: str
    message: str
    stage: str


class ProgressOut(BaseModel):
    """How far a piece of work has come."""

    work_id: UUID
    clip_id: UUID | None
    stage: str
    kind: str
    phase: str
    done: float
    total: float | None
    unit: str
    fraction: float | None
    speed: float | None
    eta_seconds: float | None
    changed_at: datetime


class ClipOut(BaseModel):
    """A clip as it stands."""

    id: UUID
    video_id: UUID
    state: ClipState
    start_frame: int
    end_frame: Annotated[int, Field(description="The first frame after the clip.")]
    version: Annotated[int, Field(description="Send it with an edit; a stale one is refused.")]
    trace_id: str
    approved_by: str | None
    is_virtual: bool
    origin: str
    confidence: Annotated[float, Field(description="How sure its edges are, 0 to 1.")]
    tags: list[str]
    parents: list[UUID]
    children: list[UUID]
    grouped_with: list[UUID]
    last_edit: Annotated[UUID | None, Field(description="The edit that an undo would take back first.")]
    deliverables: list[Deliverable]
    error: ErrorOut | None
    created_at: datetime
    changed_at: datetime


class VideoSummary(BaseModel):
    """A video in a list. A duplicate stands as its original does."""

    id: UUID
    source: Annotated[Source | None, Field(description="Absent while the request itself is unheard of.")]
    state: VideoState
    title: str
    tags: list[str]
    frames: int | None
    rate: Annotated[str | None, Field(examples=["24000/1001"])]
    duration: Annotated[float | None, Field(description="Seconds.")]
    error: ErrorOut | None
    duplicate_of: UUID | None
    mastered: bool
    trace_id: str
    created_at: datetime
    changed_at: datetime
    progress: list[ProgressOut]
    clip_states: Annotated[dict[ClipState, int], Field(description="How many clips are in which state.")]


class VideoOut(VideoSummary):
    """A video with its clips; a duplicate shows those of its original."""

    clips: list[ClipOut]


class VideoPage(BaseModel):
    """Some videos, newest first. ``next`` asks for the next page."""

    videos: list[VideoSummary]
    next: str | None


class ClipPage(BaseModel):
    """Some clips. ``next`` asks for the next page."""

    clips: list[ClipOut]
    next: str | None


class EditOut(BaseModel):
    """An edit in the history."""

    id: UUID
    video_id: UUID
    kind: str
    by: str
    clips: list[UUID]
    made_at: datetime
    release_at: Annotated[datetime, Field(description="Until then an undo leaves no trace outside.")]
    undone_by: UUID | None


class EditPage(BaseModel):
    """A video's latest edits, newest first."""

    edits: list[EditOut]


class EditResult(BaseModel):
    """What became of an edit. ``unchanged`` says why there was nothing to do."""

    edit: EditOut | None
    unchanged: str | None
    repeated: Annotated[bool, Field(description="Whether this idempotency key was answered before.")]
    clips: Annotated[list[ClipOut], Field(description="The clips concerned, as they stand now.")]


class EditBody(Body):
    """An edit of one video's clips. ``versions`` are those the reviewer saw, in the order of ``clips``."""

    command: Literal["approve", "skip", "archive", "group", "ungroup", "split", "merge", "trim"]
    clips: Annotated[list[UUID], Field(min_length=1, max_length=MAX_CLIPS_OF_AN_EDIT)]
    versions: Annotated[list[Annotated[int, Field(ge=1, le=2**31 - 1)]], Field(max_length=MAX_CLIPS_OF_AN_EDIT)]
    at: Annotated[int | None, Field(ge=0, le=MAX_FRAMES, description="split: the first frame of the second part.")] = (
        None
    )
    start: Annotated[int | None, Field(ge=0, le=MAX_FRAMES, description="trim: the first frame kept.")] = None
    end: Annotated[int | None, Field(ge=1, le=MAX_FRAMES, description="trim: the first frame after those kept.")] = None
    by: Name = "reviewer"
    idempotency_key: Key | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if len(self.versions) != len(self.clips):
            raise ValueError("clips and versions have the same length")
        if self.command in ("split", "trim") and len(self.clips) != 1:
            raise ValueError(f"{self.command} takes one clip")
        if self.command == "split" and self.at is None:
            raise ValueError("split wants the frame to split at, as 'at'")
        if self.command == "trim" and (self.start is None or self.end is None or self.end <= self.start):
            raise ValueError("trim wants a 'start' and an 'end' after it")
        return self

    def told(self) -> Command:
        """The command that the body spells."""
        targets = tuple(Target(clip, version) for clip, version in zip(self.clips, self.versions, strict=True))
        match self.command:
            case "approve":
                return ApproveClips(targets)
            case "skip":
                return SkipClips(targets)
            case "archive":
                return ArchiveClips(targets)
            case "group":
                return GroupClips(targets)
            case "ungroup":
                return UngroupClips(targets)
            case "merge":
                return MergeClips(targets)
            case "split":
                return SplitClip(targets[0], self.at or 0)
            case "trim":
                return TrimClip(targets[0], FrameRange(start=self.start or 0, end=self.end or 1))


class UndoBody(Body):
    """Who takes an edit back."""

    by: Name = "reviewer"


class RequestBody(Body):
    """A request to ingest a video."""

    source: Source
    title: Title | None = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=100)] = ()
    options: Options = Options()
    idempotency_key: Annotated[Key | None, Field(description="Requests with the same key are one request.")] = None


class RequestResult(BaseModel):
    """The request on its way. The video appears under ``video_id`` once ingest has taken it."""

    event_id: UUID
    idempotency_key: str
    video_id: UUID


class LogEntry(BaseModel):
    """An event as review heard or decided it. ``position`` is what ``after`` takes."""

    position: str
    id: UUID
    type: str
    subject: str
    video_id: UUID | None
    clip_id: UUID | None
    origin: str
    trace_id: str
    happened_at: Annotated[datetime, Field(description="When it happened, as its producer says.")]
    recorded_at: Annotated[datetime, Field(description="When review took it in.")]
    body: dict[str, Any]


class LogPage(BaseModel):
    """Some events, oldest first. ``next`` is the position to go on after."""

    events: list[LogEntry]
    next: str | None


class FileOut(BaseModel):
    """A stored object under a signed, short-lived address."""

    url: str
    size: int
    sha256: str
    content_type: str


class MediaOut(BaseModel):
    """Everything a player needs. Addresses end after ``expires_in`` seconds; ask again then."""

    expires_in: int
    codec: str
    width: int
    height: int
    proxy: FileOut
    index: FileOut
    audio: FileOut | None
    peaks: FileOut | None
    sprites: list[FileOut]
    sprite_map: Annotated[dict[str, Any] | None, Field(description="How tiles lie on the sheets.")]
    captions: dict[str, FileOut]


class DeadLetterOut(BaseModel):
    """A message that a consumer could not use."""

    id: UUID
    consumers: list[str]
    topic: str
    partition: int
    offset: int
    code: str
    reason: str
    state: Literal["open", "replayed", "discarded"]
    recorded_at: datetime
    acted_at: datetime | None
    acted_by: str | None


class DeadLetterPage(BaseModel):
    """Some dead letters, newest first."""

    dead_letters: list[DeadLetterOut]
    next: str | None


class DeadLetterDetail(DeadLetterOut):
    """A dead letter with the message as it came; ``text`` is its body where that is text."""

    key_base64: str | None
    value_base64: str | None
    text: str | None
    headers: list[tuple[str, str]]


class ActBody(Body):
    """Who deals with a dead letter."""

    by: Name = "operator"
