"""Requests to ingest a video. Any system may publish them."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from contracts.events.base import Event
from contracts.values import Options, Source, Tag, Title


class IngestRequested(Event):
    """Somebody wants a video ingested. Every option has a default."""

    TYPE: ClassVar[str] = "heaters.ingest.requested.v1"

    source: Source
    title: Title | None = None
    tags: Annotated[tuple[Tag, ...], Field(max_length=100)] = ()
    options: Options = Options()
    idempotency_key: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = Field(
        default=None,
        description="Requests with the same key are one request. Without a key the event's id takes its place.",
    )

    @property
    def subject(self) -> str:
        return f"request/{self.idempotency_key}" if self.idempotency_key else "request"

    @property
    def key(self) -> str:
        return self.idempotency_key or ""
