"""The short-lived process that turns the picture or the text of a search into a vector.

A picture sent by a client is parsed here and torch is loaded here, so neither can harm the service or weigh on it. The
process gets one JSON line (what to load) and then the picture or text on its standard input, and answers with one JSON
line. Its processor time is bounded, its environment holds no secret of the service, and it dies with the service.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import math
import os
import resource
import signal
import sys
from array import array
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from contracts.errors import HeatersError, Permanent, Transient
from contracts.values import ErrorClass
from services.chassis.processes import die_with
from services.embed.domain.orders import TEXT_MODEL, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from services.embed.settings import Settings

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
CPU_FACTOR = 8
"""Processor seconds a query may use for each second of its time limit: torch computes on several cores."""
REMEMBERED = 1_000
"""Texts whose vectors are kept: a few megabytes."""
SECRETS = ("HEATERS_DATABASE_URL", "HEATERS_S3_", "HEATERS_KAFKA_")


class BadPicture(Permanent):
    """What was sent is no picture that can be searched for."""

    code = "embed.bad_picture"


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
        self._settings = settings
        self._turn = asyncio.Semaphore(1)
        self._free = 1 + waiting
        self._texts: OrderedDict[tuple[str, str], QueryVector] = OrderedDict()

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
                    answer = await _ask(asked, {"kind": kind, **self._order(spec, limit)})
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


async def _ask(asked: bytes, order: dict[str, Any]) -> dict[str, Any]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(SECRETS)}
    environment["HEATERS_PARENT"] = str(os.getpid())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.embed.query_child",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        output, _ = await process.communicate(json.dumps(order).encode() + b"\n" + asked)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    try:
        answer: dict[str, Any] = json.loads(output)
    except ValueError as error:
        raise QueryCrashed(
            f"The process of the search ended with {process.returncode} and no answer; send the picture as JPEG or PNG, and "
            "give the service more memory if that changes nothing."
        ) from error
    if "code" in answer:
        kind = Transient if answer["error_class"] == ErrorClass.RETRYABLE else Permanent
        raise kind(answer["message"], code=answer["code"])
    return answer


def main() -> None:
    """Entry of the process."""
    die_with(int(os.environ["HEATERS_PARENT"]), signal.SIGKILL)
    pipe = os.fdopen(os.dup(1), "wb")
    # A library that prints must not be mistaken for the answer.
    os.dup2(2, 1)
    order = json.loads(sys.stdin.buffer.readline())
    resource.setrlimit(resource.RLIMIT_CPU, (order["cpu_seconds"], order["cpu_seconds"] + 5))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        answer = _embed(sys.stdin.buffer.read(), order)
    except HeatersError as error:
        answer = {"code": error.code, "message": error.message, "error_class": error.error_class.value}
    pipe.write(json.dumps(answer).encode())
    pipe.close()


def _embed(data: bytes, order: dict[str, Any]) -> dict[str, Any]:
    spec = ModelSpec(**order["spec"])
    if order["kind"] == "text" and spec.model_id == TEXT_MODEL:
        from services.embed.sentences import load_sentence_model

        texts = load_sentence_model()
        return _answer(texts.model_id, texts.revision, texts.embed_texts([data.decode()])[0])
    # The picture first: it fails in milliseconds, while the model takes seconds to load.
    picture = read_picture(data, order["max_pixels"]) if order["kind"] == "picture" else None
    from services.embed.compute import Compute
    from services.embed.models import load_model

    model = load_model(spec, Compute(**order["compute"]))
    rows = model.embed_texts([data.decode()]) if picture is None else model.embed_images([picture])
    return _answer(model.model_id, model.revision, rows[0])


def _answer(model_id: str, revision: str, row: NDArray[np.float32]) -> dict[str, Any]:
    return {"model_id": model_id, "revision": revision, "vector": base64.b64encode(row.tobytes()).decode()}


def read_picture(data: bytes, max_pixels: int) -> Image:
    """The first picture of a file, upright, in RGB; ``BadPicture`` says what is wrong with it."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(data), formats=list(FORMATS))
        if picture.width * picture.height > max_pixels:
            raise BadPicture(
                f"The picture has {picture.width} by {picture.height} pixels, more than {max_pixels} in all; send a smaller one."
            )
        return ImageOps.exif_transpose(picture).convert("RGB")
    except (
        UnidentifiedImageError,
        Image.DecompressionBombError,
        OSError,
        ValueError,
        SyntaxError,
        EOFError,
    ) as error:
        raise BadPicture(f"What was sent is no whole picture; send a {', '.join(FORMATS[:3])} file.") from error


if __name__ == "__main__":
    main()
