"""Traces: spans from OpenTelemetry, kept in Postgres for the timelines and sent by OTLP where a collector is named.

A video has one trace from its request to the birth of its clips; each clip then has one of its own, whose trace id is the
clip's id, linked back to the video's. Contexts travel as W3C ``traceparent`` strings: in outbox rows, in ledger rows, in
Kafka headers and to child processes, so that no hop depends on a library's idea of propagation.
"""

from __future__ import annotations

import contextlib
import json
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, Status, StatusCode, TraceFlags
from sqlalchemy import text

from contracts.envelope import without_nul

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from services.chassis.settings import ChassisSettings

MAX_WAITING_SPANS = 20_000
FLUSH_SECONDS = 1.0

_INSERT = text("""
    INSERT INTO telemetry.span (trace_id, span_id, parent_id, links, service, name, kind, started_at, ended_at, status, attributes)
    SELECT trace_id, span_id, parent_id, links, :service, name, kind, to_timestamp(started_at), to_timestamp(ended_at), status,
        attributes
    FROM jsonb_to_recordset(cast(:spans AS jsonb)) AS told (trace_id text, span_id text, parent_id text, links jsonb,
        name text, kind text, started_at double precision, ended_at double precision, status text, attributes jsonb)
    ON CONFLICT (trace_id, span_id) DO NOTHING
""")

_chosen: ContextVar[tuple[int, int] | None] = ContextVar("chosen", default=None)


class _Ids(RandomIdGenerator):
    """Random ids, except where the caller has chosen them."""

    def generate_trace_id(self) -> int:
        chosen = _chosen.get()
        return chosen[0] if chosen else super().generate_trace_id()

    def generate_span_id(self) -> int:
        chosen = _chosen.get()
        return chosen[1] if chosen else super().generate_span_id()


class _Keep(SpanProcessor):
    """Holds finished spans until they are written; the oldest go first when nobody writes them."""

    def __init__(self) -> None:
        self.finished: deque[ReadableSpan] = deque(maxlen=MAX_WAITING_SPANS)

    def on_end(self, span: ReadableSpan) -> None:
        self.finished.append(span)


@dataclass
class Telemetry:
    """The tracer of one service and the spans it has yet to write."""

    service: str
    tracer: trace.Tracer
    _keep: _Keep
    _provider: TracerProvider

    async def flush(self, engine: AsyncEngine) -> None:
        """Writes the finished spans: one statement, so that a second's spans do not hold up whoever waits for an answer."""
        spans = [self._keep.finished.popleft() for _ in range(len(self._keep.finished))]
        if not spans:
            return
        try:
            async with engine.begin() as connection:
                told = json.dumps([_row(span) for span in spans], default=str)
                values = {"service": self.service, "spans": without_nul(told.encode()).decode()}
                await connection.execute(_INSERT, values)
        except BaseException:
            self._keep.finished.extendleft(reversed(spans))
            raise

    def shutdown(self) -> None:
        """Sends what waits for the collector and ends."""
        self._provider.shutdown()


def start(service: str, settings: ChassisSettings) -> Telemetry:
    """Telemetry of one service process."""
    keep = _Keep()
    provider = TracerProvider(
        resource=Resource.create({"service.name": f"heaters-{service}", "service.namespace": "heaters"}),
        id_generator=_Ids(),
        shutdown_on_exit=False,
    )
    provider.add_span_processor(keep)
    if settings.otlp_endpoint:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{settings.otlp_endpoint.rstrip('/')}/v1/traces"))
        )
    return Telemetry(service, provider.get_tracer("heaters"), keep, provider)


def spell(context: SpanContext) -> str:
    """A span context as a W3C ``traceparent``; empty if it is none."""
    if not context.is_valid:
        return ""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def read(traceparent: str) -> SpanContext | None:
    """The span context of a ``traceparent``; nothing if it is empty or malformed."""
    parts = traceparent.split("-")
    if len(parts) < 4 or len(parts[1]) != 32 or len(parts[2]) != 16:
        return None
    try:
        context = SpanContext(
            int(parts[1], 16), int(parts[2], 16), is_remote=True, trace_flags=TraceFlags(int(parts[3][:2], 16))
        )
    except ValueError:
        return None
    return context if context.is_valid else None


def trace_id(traceparent: str) -> str:
    """The trace id in a ``traceparent``, in hex; empty if there is none."""
    context = read(traceparent)
    return f"{context.trace_id:032x}" if context else ""


def current() -> str:
    """The ``traceparent`` of the span now open."""
    return spell(trace.get_current_span().get_span_context())


def _parent(traceparent: str) -> Context:
    context = read(traceparent)
    return trace.set_span_in_context(NonRecordingSpan(context), Context()) if context else Context()


@contextlib.contextmanager
def span(
    telemetry: Telemetry,
    name: str,
    *,
    parent: str = "",
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, Any] | None = None,
) -> Iterator[Span]:
    """Opens a span under a ``traceparent``, or a new trace where that is empty; an exception marks it failed."""
    opened = telemetry.tracer.start_span(name, context=_parent(parent), kind=kind, attributes=_plain(attributes))
    with trace.use_span(opened, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield opened
        except BaseException as error:
            opened.set_status(Status(StatusCode.ERROR, f"{type(error).__name__}: {error}"[:300]))
            raise


def record_span(
    telemetry: Telemetry,
    name: str,
    *,
    parent: str,
    started_at: datetime,
    ended_at: datetime,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: Mapping[str, Any] | None = None,
    failed: str = "",
) -> str:
    """Records a span whose times are known, such as a step that a child process reports. Its ``traceparent``."""
    opened = telemetry.tracer.start_span(
        name, context=_parent(parent), kind=kind, attributes=_plain(attributes), start_time=_nanoseconds(started_at)
    )
    if failed:
        opened.set_status(Status(StatusCode.ERROR, failed[:300]))
    opened.end(_nanoseconds(ended_at))
    return spell(opened.get_span_context())


def start_linked_trace(
    telemetry: Telemetry, name: str, chosen_trace_id: str, *, linked: str, at: datetime, attributes: Mapping[str, Any]
) -> str:
    """Opens a trace of the given id with a root span that links back to another context. Its ``traceparent``.

    The root's span id follows from the trace id, so that doing it twice gives the same root.
    """
    number = int(chosen_trace_id, 16)
    origin = read(linked)
    token = _chosen.set((number, (number & ((1 << 64) - 1)) or 1))
    try:
        root = telemetry.tracer.start_span(
            name,
            context=Context(),
            links=[Link(origin)] if origin else (),
            attributes=_plain(attributes),
            start_time=_nanoseconds(at),
        )
    finally:
        _chosen.reset(token)
    root.end(_nanoseconds(at))
    return spell(root.get_span_context())


def _nanoseconds(at: datetime) -> int:
    return int(at.timestamp() * 1_000_000) * 1_000


def _plain(attributes: Mapping[str, Any] | None) -> dict[str, Any]:
    return {
        name: value if isinstance(value, str | bool | int | float) else str(value)
        for name, value in (attributes or {}).items()
        if value is not None
    }


def _row(finished: ReadableSpan) -> dict[str, Any]:
    context = finished.get_span_context()
    assert context is not None  # noqa: S101 - a span that ended has a context.
    links: Sequence[Link] = finished.links
    return {
        "trace_id": f"{context.trace_id:032x}",
        "span_id": f"{context.span_id:016x}",
        "parent_id": f"{finished.parent.span_id:016x}" if finished.parent else None,
        "links": [
            {"trace_id": f"{link.context.trace_id:032x}", "span_id": f"{link.context.span_id:016x}"} for link in links
        ],
        "name": finished.name,
        "kind": finished.kind.name.lower(),
        "started_at": (finished.start_time or 0) / 1e9,
        "ended_at": (finished.end_time or 0) / 1e9,
        "status": finished.status.status_code.name.lower(),
        "attributes": {**(finished.attributes or {}), **_failure(finished)},
    }


def _failure(finished: ReadableSpan) -> dict[str, str]:
    return {"error.message": finished.status.description} if finished.status.description else {}
