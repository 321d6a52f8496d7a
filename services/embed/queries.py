"""Turns pictures and texts of searches into vectors, each in a process of its own (``query_child``).

The processes are forked from warm ones: one that has read the model of texts, one that has imported torch for all others.
Neither has seen anything that a client sent.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import os
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from contracts.errors import Permanent, Transient
from contracts.values import ErrorClass
from services.chassis.forks import Warm
from services.embed.domain.orders import TEXT_MODEL, ModelSpec

if TYPE_CHECKING:
    from services.embed.settings import Settings

CPU_FACTOR = 8
"""Processor seconds a query may use for each second of its time limit: torch computes on several cores."""
REMEMBERED = 1_000
"""Texts whose vectors are kept: a few megabytes."""
SECRETS = ("HEATERS_DATABASE_URL", "HEATERS_S3_", "HEATERS_KAFKA_", "HEATERS_HTTP_TOKEN")
READING = ("threadpoolctl", "services.embed.sentences:read_once")
SEEING = ("PIL.Image", "services.embed.compute", "services.embed.models", "torch")
"""What queries need to read a text, and to see a picture or what other models make of a text."""


class QueryCrashed(Transient):
    """The process died."""

    code = "embed.query_crashed"


class QueryTimeout(Transient):
    """The query took too long."""

    code = "embed.query_timeout"


class QueryBusy(Transient):
    """Too many queries wait."""

    code = "embed.query_busy"


@dataclass(frozen=True)
class QueryVector:
    """A picture or a text as a model sees it."""

    model_id: str
    revision: str
    vector: Sequence[float]


class Queries:
    """Runs queries one after the other, each in a process of its own; ``waiting`` more may stand in line.

    The vectors of the latest texts are remembered, for a search is often asked again with other filters.
    """

    def __init__(self, settings: Settings, *, waiting: int = 8) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
        self._settings = settings
        self._reading, self._seeing = Warm(READING, environment), Warm(SEEING, environment)
        self._turn = asyncio.Semaphore(1)
        self._free = 1 + waiting
        self._texts: OrderedDict[tuple[str, str], QueryVector] = OrderedDict()

    async def close(self) -> None:
        """Ends the warm processes."""
        await self._reading.close()
        await self._seeing.close()

    async def embed_picture(self, picture: bytes, spec: ModelSpec) -> QueryVector:
        """The picture's vector by the model.

        Raises ``BadPicture``, ``QueryTimeout``, ``QueryBusy`` or the errors of loading the model.
        """
        return await self._embed("picture", picture, spec)

    async def embed_text(self, words: str, spec: ModelSpec) -> QueryVector:
        """The text's vector by a model that reads texts. Raises as for a picture."""
        key = (str(spec), words)
        if key not in self._texts:
            self._texts[key] = await self._embed("text", words.encode(), spec)
            if len(self._texts) > REMEMBERED:
                self._texts.popitem(last=False)
        self._texts.move_to_end(key)
        return self._texts[key]

    async def _embed(self, kind: str, asked: bytes, spec: ModelSpec) -> QueryVector:
        limit = self._settings.embed_query_timeout
        async with self._place():
            try:
                async with asyncio.timeout(limit.total_seconds()), self._turn:
                    warm = self._reading if kind == "text" and spec.model_id == TEXT_MODEL else self._seeing
                    answer = await _ask(warm, asked, {"kind": kind, **self._order(spec, limit)})
            except TimeoutError as error:
                raise QueryTimeout(
                    f"The {kind} was not embedded within {limit.total_seconds():.0f} seconds; try again, or raise "
                    "HEATERS_EMBED_QUERY_TIMEOUT if the model is large."
                ) from error
        vector = array("f")
        vector.frombytes(base64.b64decode(answer["vector"]))
        return QueryVector(answer["model_id"], answer["revision"], vector)

    @contextlib.asynccontextmanager
    async def _place(self) -> AsyncIterator[None]:
        if self._free == 0:
            raise QueryBusy("Other searches are waiting; try again in a few seconds.")
        self._free -= 1
        try:
            yield
        finally:
            self._free += 1

    def _order(self, spec: ModelSpec, limit: timedelta) -> dict[str, Any]:
        from services.embed.compute import compute_of

        return {
            "spec": spec.model_dump(),
            "compute": asdict(compute_of(self._settings, spec)),
            "max_pixels": self._settings.embed_query_max_pixels,
            "cpu_seconds": math.ceil(limit.total_seconds()) * CPU_FACTOR,
        }


async def _ask(warm: Warm, asked: bytes, order: dict[str, Any]) -> dict[str, Any]:
    status: int | None = None
    output = b""
    with contextlib.suppress(ConnectionError):
        async with warm.talk("services.embed.query_child") as (child, reader, writer):
            with contextlib.suppress(ConnectionError):
                writer.write(json.dumps(order).encode() + b"\n" + asked)
                writer.write_eof()
            with contextlib.suppress(ConnectionError):
                output = await reader.read()
            status = await asyncio.shield(child.ended)
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise QueryCrashed(
            f"The process of the search ended {'early' if status is None else f'with {status}'} and without an answer; send "
            "the picture as JPEG or PNG, and give the service more memory if that changes nothing."
        ) from error
    if "code" in answer:
        kind = Transient if answer["error_class"] == ErrorClass.RETRYABLE else Permanent
        raise kind(answer["message"], code=answer["code"])
    return answer
