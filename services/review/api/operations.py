"""Routes for operators: how every stage stands, failed work, dead letters, and timelines drawn from stored spans."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

from fastapi import FastAPI, Path
from pydantic import BaseModel, Field

from services.chassis import operations, timeline
from services.review.api import cursors, views
from services.review.api.actors import Who
from services.review.api.requests import Cursor, Limit, traced
from services.review.api.shapes import ActBody, Body, DeadLetterDetail, DeadLetterPage
from services.review.domain.marks import Refused

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

LARGEST_REPLAYABLE = 512 * 1024
"""Bytes. The chassis keeps no more of a dead letter's body, so a body of this size may have been cut."""

ServiceName = Annotated[str, Path(pattern=r"^[a-z]{1,40}$")]


class StageOut(BaseModel):
    """One kind of work of one service. Figures about what was done are of the last hour."""

    service: str
    kind: str
    waiting: int
    oldest_seconds: Annotated[float | None, Field(description="Age of the oldest piece that waits.")]
    running: int
    failed: int
    failures_last_hour: int
    done_last_hour: int
    seconds_p50: float | None
    seconds_p95: float | None


class StagesOut(BaseModel):
    """How every stage stands; ``unpublished`` counts events that wait for the broker, by service."""

    stages: list[StageOut]
    unpublished: dict[str, int]


class FailureOut(BaseModel):
    """A piece of work that failed."""

    work_id: UUID
    service: str
    kind: str
    video_id: UUID
    clip_id: UUID | None
    run: int
    attempts: int
    code: str
    message: str
    failed_at: datetime | None


class FailurePage(BaseModel):
    """Some failed work, the latest first."""

    failures: list[FailureOut]
    next: str | None


class WorkState(BaseModel):
    """What became of a piece of failed work."""

    work_id: UUID
    service: str
    state: Literal["waiting", "cancelled"]


class RetryBody(Body):
    """Whose failed work to resume; everybody's without a service."""

    service: Annotated[str | None, Field(pattern=r"^[a-z]{1,40}$")] = None


class Resumed(BaseModel):
    """How much failed work was resumed."""

    resumed: int


class RunningOut(BaseModel):
    """A piece of work that runs now."""

    work_id: UUID
    service: str
    kind: str
    video_id: UUID
    clip_id: UUID | None
    seconds: float | None
    progress: dict[str, Any] | None


class RunningList(BaseModel):
    """What runs now."""

    running: list[RunningOut]


class SpanOut(BaseModel):
    """One line of a timeline; ``start`` and ``end`` are seconds since its origin."""

    depth: int
    service: str
    name: str
    start: float
    end: float
    drawn_from: Annotated[float, Field(description="Where its bar begins, 0 to 1: idle spells are drawn short.")]
    drawn_to: float
    queue_seconds: float | None
    status: str
    trace_id: str
    span_id: str


class TraceOut(BaseModel):
    """A timeline, from the request on."""

    trace_id: str
    origin: datetime | None
    seconds: float
    idle: Annotated[
        list[tuple[float, float]], Field(description="Spells drawn short since nothing queued or ran, in seconds.")
    ]
    lines: list[SpanOut]


def add_operations(app: FastAPI, runtime: Runtime) -> None:
    """Adds the routes."""

    @app.get("/api/ops/stages", tags=["operations"])
    async def list_stages() -> StagesOut:
        """How every stage stands: what waits and for how long, runs, failed, and how fast it went in the last hour."""
        async with runtime.transaction() as ledger:
            found, unpublished = await operations.lines(ledger.session, ledger.now, ledger.now - timedelta(hours=1))
        stages = [
            StageOut(
                service=line.service,
                kind=line.kind,
                waiting=line.waiting,
                oldest_seconds=line.oldest_seconds,
                running=line.running,
                failed=line.failed,
                failures_last_hour=line.lately_failed,
                done_last_hour=line.done,
                seconds_p50=line.p50,
                seconds_p95=line.p95,
            )
            for line in found
        ]
        return StagesOut(stages=stages, unpublished=unpublished)

    @app.get("/api/ops/running", tags=["operations"])
    async def list_running(limit: Limit = 100) -> RunningList:
        """What runs now."""
        async with runtime.transaction() as ledger:
            rows = await operations.running(ledger.session, limit)
            now = ledger.now
        return RunningList(
            running=[
                RunningOut(
                    **{name: row[name] for name in ("work_id", "service", "kind", "video_id", "clip_id", "progress")},
                    seconds=(now - row["started_at"]).total_seconds() if row["started_at"] else None,
                )
                for row in rows
            ]
        )

    @app.get("/api/ops/failures", tags=["operations"])
    async def list_failures(limit: Limit = 100, cursor: Cursor = None) -> FailurePage:
        """Failed work of every service, the latest first."""
        place = cursors.read(cursor, cursors.moment, cursors.identifier)
        before = (place[0], place[1]) if place else (datetime.max.replace(tzinfo=runtime.clock().tzinfo), UUID(int=0))
        async with runtime.transaction() as ledger:
            rows = await operations.failed(ledger.session, before, limit + 1)
        shown, following = cursors.page(rows, limit, "finished_at", "work_id")
        return FailurePage(failures=[_failure(row) for row in shown], next=following)

    async def change(service: str, work_id: UUID, state: Literal["waiting", "cancelled"]) -> WorkState:
        async with runtime.transaction() as ledger:
            if state == "waiting":
                changed = await operations.retry(ledger.session, service, work_id, ledger.now)
            else:
                changed = await operations.discard(ledger.session, service, work_id, ledger.now)
        if not changed:
            raise Refused(
                "There is no failed work of that service under that id; list what failed.", code="review.unknown_work"
            )
        return WorkState(work_id=work_id, service=service, state=state)

    @app.post("/api/ops/failures/{service}/{work_id}/retry", tags=["operations"])
    async def retry(service: ServiceName, work_id: UUID) -> WorkState:
        """Resumes a piece of failed work, as a new run."""
        return await change(service, work_id, "waiting")

    @app.post("/api/ops/failures/{service}/{work_id}/discard", tags=["operations"])
    async def discard_work(service: ServiceName, work_id: UUID) -> WorkState:
        """Gives a piece of failed work up; it stays on record."""
        return await change(service, work_id, "cancelled")

    @app.post("/api/ops/failures/retry", tags=["operations"])
    async def retry_all(body: RetryBody | None = None) -> Resumed:
        """Resumes all failed work, of one service or of all."""
        wanted = (body or RetryBody()).service
        resumed = 0
        async with runtime.transaction() as ledger:
            for service in [wanted] if wanted else await operations.services(ledger.session):
                resumed += await operations.retry(ledger.session, service, None, ledger.now)
        return Resumed(resumed=resumed)

    @app.get("/api/clips/{clip_id}/trace", tags=["operations"])
    async def clip_trace(clip_id: UUID) -> TraceOut:
        """A clip's timeline: its video's trace up to its birth, then its own."""
        async with runtime.transaction() as ledger:
            await views.clip_of(ledger.session, clip_id)
            spans = timeline.read(await operations.spans(ledger.session, [clip_id.hex]))
            if linked := timeline.linked_traces(spans, clip_id.hex):
                spans += timeline.read(await operations.spans(ledger.session, linked))
        return _trace(clip_id.hex, timeline.compose(spans, clip_id.hex, str(clip_id)))

    @app.get("/api/videos/{video_id}/trace", tags=["operations"])
    async def video_trace(video_id: UUID) -> TraceOut:
        """A video's timeline, from its request to the birth of its clips."""
        async with runtime.transaction() as ledger:
            video = await views.video_of(ledger.session, ledger.now, video_id)
            spans = timeline.read(await operations.spans(ledger.session, [video.trace_id]))
        return _trace(video.trace_id, timeline.compose(spans, video.trace_id))

    @app.get("/api/dead-letters", tags=["operations"])
    async def list_letters(
        state: Literal["open", "replayed", "discarded"] | None = None, limit: Limit = 50, cursor: Cursor = None
    ) -> DeadLetterPage:
        """Dead letters, newest first."""
        async with runtime.transaction() as ledger:
            return await views.dead_letter_page(ledger.session, state, limit, cursor)

    @app.get("/api/dead-letters/{letter_id}", tags=["operations"])
    async def show_letter(letter_id: UUID) -> DeadLetterDetail:
        """A dead letter with the message as it came."""
        async with runtime.transaction() as ledger:
            return await views.dead_letter_of(ledger.session, letter_id)

    async def act(letter_id: UUID, state: Literal["replayed", "discarded"], by: str) -> DeadLetterDetail:
        async with traced(runtime, f"dead letter {state}") as ledger:
            letter = await views.dead_letter_of(ledger.session, letter_id, lock=True)
            if letter.state != "open":
                raise Refused(
                    f"That dead letter was {letter.state} already; there is nothing left to do.",
                    code="review.dead_letter_closed",
                )
            if state == "replayed":
                await _replay(runtime, letter)
            await views.close_dead_letter(ledger.session, letter_id, state, by, ledger.now)
            return await views.dead_letter_of(ledger.session, letter_id)

    @app.post("/api/dead-letters/{letter_id}/replay", tags=["operations"])
    async def replay(letter_id: UUID, who: Who, body: ActBody | None = None) -> DeadLetterDetail:
        """Publishes the message again, byte by byte as it came; do it once its cause is mended."""
        return await act(letter_id, "replayed", who.name_for((body or ActBody()).by))

    @app.post("/api/dead-letters/{letter_id}/discard", tags=["operations"])
    async def discard(letter_id: UUID, who: Who, body: ActBody | None = None) -> DeadLetterDetail:
        """Gives a dead letter up; it stays on record."""
        return await act(letter_id, "discarded", who.name_for((body or ActBody()).by))


async def _replay(runtime: Runtime, letter: DeadLetterDetail) -> None:
    value = _raw(letter.value_base64)
    if value is not None and len(value) >= LARGEST_REPLAYABLE:
        raise Refused(
            "The message was too large to be kept whole; publish it again from its source, or discard it.",
            code="review.dead_letter_cut",
        )
    headers = [(name, base64.b64decode(spelt)) for name, spelt in letter.headers]
    await runtime.replay(letter.topic, _raw(letter.key_base64), value, headers)


def _raw(spelt: str | None) -> bytes | None:
    return None if spelt is None else base64.b64decode(spelt)


def _failure(row: Mapping[Any, Any]) -> FailureOut:
    error = row["error"] or {}
    if isinstance(error, str):
        error = json.loads(error)
    return FailureOut(
        **{name: row[name] for name in ("work_id", "service", "kind", "video_id", "clip_id", "run", "attempts")},
        code=str(error.get("code", "")),
        message=str(error.get("message", "")),
        failed_at=row["finished_at"],
    )


def _trace(trace_id: str, lines: list[timeline.Line]) -> TraceOut:
    axis = timeline.axis(lines)
    return TraceOut(
        trace_id=trace_id,
        origin=min((line.span.started_at for line in lines), default=None),
        seconds=max((line.end for line in lines), default=0.0),
        idle=list(axis.idle),
        lines=[
            SpanOut(
                depth=line.depth,
                service=line.span.service,
                name=line.span.name,
                start=line.start,
                end=line.end,
                drawn_from=axis.at(line.start),
                drawn_to=axis.at(line.end),
                queue_seconds=line.span.queue_seconds,
                status=line.span.status,
                trace_id=line.span.trace_id,
                span_id=line.span.span_id,
            )
            for line in lines
        ],
    )
