"""What the API takes and gives, as models: every input is bounded, every answer documented."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

from contracts.values import MAX_FRAMES, Deliverable, Options, ProfileName, Source, Tag, Title
from services.review.domain.clip import ClipState
from services.review.domain.edits import MAX_NOTE, MAX_TAGS
from services.review.domain.video import VideoState
from services.review.editing import MOST_CLIPS

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
    title: Annotated[str, Field(description="Of its video.")]
    rate: Annotated[str | None, Field(description="Of its video, frames a second.", examples=["24000/1001"])]
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
    note: str
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
    entries: Annotated[list[UUID], Field(description="The videos that a list became; the list itself is rejected.")]


class VideoPage(BaseModel):
    """Some videos, newest first. ``next`` asks for the next page."""

    videos: list[VideoSummary]
    next: str | None


class ClipPage(BaseModel):
    """Some clips. ``next`` asks for the next page."""

    clips: list[ClipOut]
    next: str | None


class DeliveredOut(BaseModel):
    """A clip with its delivered files."""

    clip: ClipOut
    files: Annotated[
        dict[str, dict[str, FileOut]], Field(description="By profile and name, each under a short-lived address.")
    ]


class DeliveredPage(BaseModel):
    """Some delivered clips, the latest first. ``next`` asks for the next page."""

    deliverables: list[DeliveredOut]
    next: str | None


class EditOut(BaseModel):
    """An edit in the history. ``command`` is what was asked for."""

    id: UUID
    video_id: UUID
    kind: str
    by: str
    clips: list[UUID]
    made_at: datetime
    release_at: Annotated[datetime, Field(description="Until then an undo leaves no trace outside.")]
    undone_by: UUID | None
    redo_of: UUID | None
    redone_by: UUID | None
    command: dict[str, Any]


class EditPage(BaseModel):
    """Some edits, newest first. ``next`` asks for the next page."""

    edits: list[EditOut]
    next: str | None


class EditResult(BaseModel):
    """What became of an edit. ``unchanged`` says why there was nothing to do."""

    edit: EditOut | None
    unchanged: str | None
    repeated: Annotated[bool, Field(description="Whether this idempotency key was answered before.")]
    clips: Annotated[list[ClipOut], Field(description="The clips concerned, as they stand now.")]


class EditBody(Body):
    """An edit of one video's clips. ``versions`` are those the reviewer saw, in the order of ``clips``."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "command": "split",
                    "clips": ["8a1f3c52-1f0e-5b7e-8f2d-6f0b1f6a2c11"],
                    "versions": [1],
                    "at": 120,
                    "by": "ann",
                    "idempotency_key": "7d2c",
                }
            ]
        }
    )

    command: Literal["approve", "skip", "archive", "group", "ungroup", "split", "merge", "trim", "tag", "note"]
    clips: Annotated[list[UUID], Field(min_length=1, max_length=MOST_CLIPS)]
    versions: Annotated[list[Annotated[int, Field(ge=1, le=2**31 - 1)]], Field(max_length=MOST_CLIPS)]
    at: Annotated[int | None, Field(ge=0, le=MAX_FRAMES, description="split: the first frame of the second part.")] = (
        None
    )
    start: Annotated[int | None, Field(ge=0, le=MAX_FRAMES, description="trim: the first frame kept.")] = None
    end: Annotated[int | None, Field(ge=1, le=MAX_FRAMES, description="trim: the first frame after those kept.")] = None
    add: Annotated[list[Tag] | None, Field(max_length=MAX_TAGS, description="tag: the tags to give.")] = None
    remove: Annotated[list[Tag] | None, Field(max_length=MAX_TAGS, description="tag: the tags to take away.")] = None
    note: Annotated[str | None, Field(max_length=MAX_NOTE, description="note: the text; empty for none.")] = None
    profiles: Annotated[
        list[ProfileName] | None,
        Field(
            min_length=1,
            max_length=16,
            description="approve: what to deliver as; left out, what the video's request said.",
        ),
    ] = None
    by: Name = "reviewer"
    idempotency_key: Key | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.profiles is not None and self.command != "approve":
            raise ValueError("only approve takes profiles")
        if len(self.versions) != len(self.clips):
            raise ValueError("clips and versions have the same length")
        if self.command in ("split", "trim") and len(self.clips) != 1:
            raise ValueError(f"{self.command} takes one clip")
        if self.command == "split" and self.at is None:
            raise ValueError("split wants the frame to split at, as 'at'")
        if self.command == "trim" and (self.start is None or self.end is None or self.end <= self.start):
            raise ValueError("trim wants a 'start' and an 'end' after it")
        if self.command == "tag" and not (self.add or self.remove):
            raise ValueError("tag wants tags to 'add' or to 'remove'")
        if self.command == "note" and self.note is None:
            raise ValueError("note wants a 'note'; an empty one takes the old one away")
        return self

    def spelt(self) -> dict[str, Any]:
        """The edit as the history keeps it: what was asked, without who asked."""
        found: dict[str, Any] = json.loads(self.model_dump_json(exclude_none=True, exclude={"by", "idempotency_key"}))
        return found


class RestBody(Body):
    """What to do with every clip of a video that waits. ``expected`` is how many the person saw waiting."""

    command: Literal["approve", "skip", "archive"]
    expected: Annotated[int | None, Field(ge=0, le=MOST_CLIPS)] = None
    by: Name = "reviewer"
    idempotency_key: Key | None = None


class Seen(Body):
    """A clip as the person saw it."""

    id: UUID
    version: Annotated[int, Field(ge=1, le=2**31 - 1)]


class BatchBody(Body):
    """One command for clips of many videos; each video's part is an edit of its own, taken or refused as a whole."""

    command: Literal["approve", "skip", "archive", "tag"]
    clips: Annotated[list[Seen], Field(min_length=1, max_length=MOST_CLIPS)]
    add: Annotated[list[Tag] | None, Field(max_length=MAX_TAGS)] = None
    remove: Annotated[list[Tag] | None, Field(max_length=MAX_TAGS)] = None
    by: Name = "reviewer"
    idempotency_key: Annotated[str | None, Field(min_length=1, max_length=150)] = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.command == "tag" and not (self.add or self.remove):
            raise ValueError("tag wants tags to 'add' or to 'remove'")
        return self

    def spelt(self, clips: Sequence[Seen]) -> dict[str, Any]:
        """The edit of one video's clips, as the history keeps it."""
        more = {name: tags for name, tags in (("add", self.add), ("remove", self.remove)) if tags}
        return {
            "command": self.command,
            "clips": [str(clip.id) for clip in clips],
            "versions": [clip.version for clip in clips],
            **more,
        }


class ProblemOut(BaseModel):
    """Why a part of a batch was refused."""

    status: int
    code: str
    detail: str


class BatchPart(BaseModel):
    """What became of one video's part of a batch. ``problem`` says why nothing did."""

    video_id: UUID | None
    edit: EditOut | None
    unchanged: str | None
    problem: ProblemOut | None
    clips: Annotated[list[ClipOut], Field(description="The clips concerned, as they stand now.")]


class BatchResult(BaseModel):
    """What became of a batch, video by video."""

    results: list[BatchPart]


class BatchUndoBody(Body):
    """Edits to take back, in this order."""

    edits: Annotated[list[UUID], Field(min_length=1, max_length=500)]
    by: Name = "reviewer"


class RedoBody(Body):
    """Who makes an undone edit again."""

    by: Name = "reviewer"
    idempotency_key: Key | None = None


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
    etag: Annotated[str, Field(description="The answer's ETag; send it as If-Match or If-Range.")]
    content_type: str


class IndexSlice(BaseModel):
    """Where some frames of a proxy lie: the frame ``first_frame + n`` has ``sizes[n]`` bytes, the first starts at ``offset``."""

    video_id: UUID
    codec: Annotated[str, Field(examples=["avc1.64001f"])]
    description: Annotated[str, Field(description="The decoder's configuration (avcC), base64.")]
    width: int
    height: int
    rate: Annotated[str, Field(examples=["24000/1001"])]
    timebase: Annotated[str, Field(examples=["1/24000"])]
    frames_of_video: int
    first_frame: int
    offset: int
    sizes: list[int]
    pts: list[int]
    proxy: FileOut
    audio: FileOut | None
    expires_at: Annotated[datetime, Field(description="Until then the addresses are valid; ask again after it.")]


class ClipMedia(IndexSlice):
    """A clip's frames, with as many before and after as were asked for."""

    clip_id: UUID


class RangeOut(BaseModel):
    """A half-open range of frames."""

    start_frame: int
    end_frame: int


class CutOut(RangeOut):
    """A transition between shots."""

    kind: str
    confidence: float


class ScoresOut(BaseModel):
    """The detector's score curve; each value is the highest of ``every`` frames."""

    every: int
    values: list[float]


class PeaksOut(BaseModel):
    """The waveform: lowest and highest sample of each span of ``every_seconds``, -127 to 127."""

    every_seconds: float
    values: list[tuple[int, int]]


class ClipMark(RangeOut):
    """A clip on the overview."""

    id: UUID
    state: ClipState
    confidence: float


class OverviewOut(BaseModel):
    """A whole video at a glance. What was not made yet, or failed to be read, is absent."""

    video_id: UUID
    frames: int | None
    rate: str | None
    duration: float | None
    cuts: list[CutOut]
    scenes: list[RangeOut]
    scores: ScoresOut | None
    peaks: PeaksOut | None
    sprites: list[FileOut]
    sprite_map: dict[str, Any] | None
    captions: dict[str, FileOut]
    clips: list[ClipMark]
    decisions: Annotated[dict[ClipState, int], Field(description="How many clips are in which state.")]
    decisions_per_hour: Annotated[float, Field(description="Of the last ten minutes.")]


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
