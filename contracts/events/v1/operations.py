"""Facts for whoever watches the system: progress, stalls and dead letters."""

from __future__ import annotations

from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import AwareDatetime, Field, StringConstraints

from contracts.events.base import Event
from contracts.values import Code, Value

StageName = Annotated[str, StringConstraints(pattern=r"^[a-z]{1,40}$")]


class StageProgress(Event):
    """How far a long piece of work has come. Lossy by nature: the next one replaces it."""

    TYPE: ClassVar[str] = "heaters.stage.progress.v1"

    stage: StageName
    kind: Annotated[str, StringConstraints(max_length=40)]
    work_id: UUID
    video_id: UUID
    clip_id: UUID | None = None
    phase: Annotated[str, StringConstraints(max_length=40)] = ""
    done: Annotated[float, Field(ge=0)]
    total: Annotated[float | None, Field(ge=0, description="Absent while the end is unknown.")] = None
    unit: Annotated[str, StringConstraints(max_length=20)] = "frames"
    fraction: Annotated[float | None, Field(ge=0, le=1)] = None
    speed: Annotated[float | None, Field(ge=0, description="Units a second.")] = None
    eta_seconds: Annotated[float | None, Field(ge=0)] = None

    @property
    def subject(self) -> str:
        return f"clip/{self.clip_id}" if self.clip_id else f"video/{self.video_id}"

    @property
    def key(self) -> str:
        return str(self.video_id)


class StageStalled(Event):
    """A video or clip has stood in one state for longer than it should."""

    TYPE: ClassVar[str] = "heaters.stage.stalled.v1"

    stage: StageName
    video_id: UUID
    clip_id: UUID | None = None
    state: Annotated[str, StringConstraints(max_length=40)]
    since: AwareDatetime
    message: Annotated[str, StringConstraints(max_length=1000)]

    @property
    def subject(self) -> str:
        return f"clip/{self.clip_id}" if self.clip_id else f"video/{self.video_id}"

    @property
    def key(self) -> str:
        return str(self.video_id)


class OriginalHeader(Value):
    """A Kafka header exactly as it came: its bytes may be no text at all."""

    name: Annotated[str, StringConstraints(max_length=1000)]
    value_base64: str


class DeadLetterRecorded(Event):
    """A message that no consumer can use, kept with its reason so that an operator may replay or discard it."""

    TYPE: ClassVar[str] = "heaters.dead_letter.recorded.v1"

    dead_letter_id: UUID
    consumer: StageName
    topic: Annotated[str, StringConstraints(max_length=249)]
    partition: Annotated[int, Field(ge=0)]
    offset: Annotated[int, Field(ge=0)]
    code: Code
    reason: Annotated[str, StringConstraints(max_length=4000)]
    key_base64: str | None = None
    value_base64: str | None = None
    headers: tuple[OriginalHeader, ...] = ()
    recorded_at: AwareDatetime

    @property
    def subject(self) -> str:
        return f"dead-letter/{self.dead_letter_id}"

    @property
    def key(self) -> str:
        return str(self.dead_letter_id)


class BrokerStarted(Event):
    """The broker began with an empty log.

    It is the only record of its topic: another one there means that the old log is gone, and that every service publishes
    again what it had published.
    """

    TYPE: ClassVar[str] = "heaters.broker.started.v1"

    generation: UUID

    @property
    def subject(self) -> str:
        return f"broker/{self.generation}"

    @property
    def key(self) -> str:
        return str(self.generation)
