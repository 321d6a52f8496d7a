"""The short-lived process that turns the picture or the text of a search into a vector.

A picture sent by a client is parsed here and models are loaded here, so neither can harm the service or weigh on it. The
process gets one JSON line (what to load) and then the picture or text on its standard input, and answers with one JSON
line. Its processor time is bounded, its environment holds no secret of the service, and it dies with the service.
"""

from __future__ import annotations

import base64
import io
import json
import os
import resource
import sys
from typing import TYPE_CHECKING, Any

from contracts.errors import HeatersError, Permanent
from services.embed.domain.orders import TEXT_MODEL, ModelSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


class BadPicture(Permanent):
    """What was sent is no picture that can be searched for."""

    code = "embed.bad_picture"


def main() -> None:
    """Entry of the process."""
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
    # As for work: what was inherited is for the kernel to free.
    os._exit(0)


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
