"""What every event body has in common: a type name, a subject, and immutability."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar
from uuid import UUID

from contracts.values import Value


class Event(Value):
    """Body of a published fact. ``TYPE`` is its CloudEvents type and never changes once published."""

    TYPE: ClassVar[str]

    @property
    @abstractmethod
    def subject(self) -> str:
        """What the event is about (``ce_subject``): the clip if there is one, else the video."""

    @property
    @abstractmethod
    def key(self) -> str:
        """The Kafka key: the video, so that the events of one video stay in order."""


class VideoEvent(Event):
    """An event about one source video."""

    video_id: UUID

    @property
    def subject(self) -> str:
        return f"video/{self.video_id}"

    @property
    def key(self) -> str:
        return str(self.video_id)


class ClipEvent(Event):
    """An event about one clip, ordered with the other events of its video."""

    video_id: UUID
    clip_id: UUID

    @property
    def subject(self) -> str:
        return f"clip/{self.clip_id}"

    @property
    def key(self) -> str:
        return str(self.video_id)
