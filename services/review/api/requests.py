"""One request as one transaction, under a span from which the events it emits take their trace."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated
from uuid import uuid4

from fastapi import Query
from opentelemetry.trace import SpanKind

from services.chassis import telemetry
from services.chassis.ledger import Ledger

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=500, description="The 'next' of the page before.")]


@contextlib.asynccontextmanager
async def traced(runtime: Runtime, name: str) -> AsyncIterator[Ledger]:
    """A transaction under a span of its own."""
    with telemetry.span(runtime.telemetry, name, kind=SpanKind.SERVER):
        async with runtime.transaction(cause=f"http:{uuid4()}") as ledger:
            yield ledger
