"""The stage's work, done in a child process: stills, vectors, cleaning.

Whatever it writes lies under keys that follow from the content, so doing it twice changes nothing.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from contracts.errors import HeatersError, Permanent
from contracts.values import Keyframe
from services.chassis.objects import clear
from services.embed import spoken
from services.embed.compute import compute_of
from services.embed.domain import strategies
from services.embed.domain.orders import (
    TEXT_MODEL,
    CleanOrder,
    CleanResult,
    EmbedOrder,
    EmbedResult,
    KeyframeOrder,
    KeyframeResult,
    ModelSpec,
    ModelVectors,
    clean_prefixes,
    keyframe_folder,
)
from services.embed.models import EmbeddingModel, PackagedModel, load_model
from services.embed.named_things import named_things
from services.embed.sentences import TextModelUnavailable
from services.embed.vectors import packed

if TYPE_CHECKING:
    from PIL.Image import Image

    from services.chassis.desk import Desk


logger = logging.getLogger(__name__)


class BadStill(Permanent):
    """A keyframe in the store that is no picture."""

    code = "embed.bad_still"


def take_keyframes(order: KeyframeOrder, desk: Desk) -> KeyframeResult:
    """Stills of a clip's delivered video, as JPEG objects.

    Raises the media errors of a video that cannot be read, and ``objects.missing`` if it is gone.
    """
    from services.media.stills import frame_times, stills

    groups = strategies.plan(strategies.parse(order.strategy), order.frames)
    wanted = [offset for group in groups for offset in group]
    pictures: dict[int, bytes] = {}
    with desk.step("fetch"):
        # Frames of a delivered file are counted from its start, so nearly all of it is read; this way it is also proven whole.
        video = desk.objects.fetch(order.video, desk.scratch / "video")
    with desk.step("stills"):
        for offset, picture in stills(video, wanted, quality=desk.settings.embed_still_quality):
            pictures[offset] = picture
            desk.progress(len(pictures), len(wanted), unit="stills", phase="stills")
        times, duration = frame_times(video)
    sharp = {offset: sharpness(picture) for offset, picture in pictures.items()}
    keyframes = []
    with desk.step("store"):
        for number, group in enumerate(groups):
            offset = max(group, key=lambda offset: (sharp[offset], -offset))
            key = f"{keyframe_folder(order)}{number:03d}.jpg"
            keyframes.append(
                Keyframe(
                    frame=order.frames.start + offset,
                    object=desk.objects.put_bytes(pictures[offset], key, "image/jpeg"),
                    time=times[offset] if offset < len(times) else None,
                    sharpness=round(sharp[offset], 3),
                )
            )
            desk.progress(number + 1, len(groups), unit="keyframes")
    return KeyframeResult(keyframes=tuple(keyframes), duration=duration or None)


def sharpness(jpeg: bytes) -> float:
    """How much fine detail a picture has: the mean squared difference of neighbouring pixels of its luma."""
    luma = np.asarray(_picture(jpeg).convert("L"), dtype=np.float32)
    down, across = np.diff(luma, axis=0), np.diff(luma, axis=1)
    return float(sum(np.square(step).mean() for step in (down, across) if step.size))


def embed_clips(orders: Sequence[EmbedOrder], desk: Desk) -> Iterator[tuple[int, EmbedResult | HeatersError]]:
    """Vectors of the keyframes of many clips; each model is loaded once for all of them. No video is read or decoded.

    Each clip is computed by itself, so that its vectors do not depend on which other clips happened to wait with it.
    """
    loaded: dict[ModelSpec, EmbeddingModel | HeatersError] = {}
    total = sum(len(order.keyframes) for order in orders)
    done = 0
    for index, order in enumerate(orders):
        try:
            yield index, _embedded(order, loaded, desk)
        except HeatersError as error:
            yield index, error
        done += len(order.keyframes)
        desk.progress(done, total, unit="keyframes")


def _embedded(order: EmbedOrder, loaded: dict[ModelSpec, EmbeddingModel | HeatersError], desk: Desk) -> EmbedResult:
    specs = [spec for spec in order.models if spec.model_id != TEXT_MODEL]
    models = [_loaded(spec, loaded, desk) for spec in specs]
    vectors: list[ModelVectors] = []
    speech = None
    with desk.step("embed"):
        if models:
            pictures = [_picture(desk.objects.get_bytes(keyframe.object.key)) for keyframe in order.keyframes]
            for model in models:
                vectors += _vectors(model, order, pictures, desk)
        if len(specs) < len(order.models):
            told, speech = spoken.embed_spoken(order, desk)
            vectors += told
    return EmbedResult(models=tuple(vectors), speech=speech)


def _loaded(spec: ModelSpec, loaded: dict[ModelSpec, EmbeddingModel | HeatersError], desk: Desk) -> EmbeddingModel:
    """The model, loaded at its first use; one that could not be loaded is not tried again for each clip."""
    if spec not in loaded:
        with desk.step("load model"):
            desk.progress(0, unit="keyframes", phase="loading the model")
            try:
                loaded[spec] = load_model(spec, compute_of(desk.settings, spec))
            except HeatersError as error:
                loaded[spec] = error
    model = loaded[spec]
    if isinstance(model, HeatersError):
        raise model
    return model


def _vectors(model: EmbeddingModel, order: EmbedOrder, pictures: Sequence[Image], desk: Desk) -> Iterator[ModelVectors]:
    """The model's vectors of the keyframes; of a model that names what it sees, those of the names as well."""
    frames = tuple(keyframe.frame for keyframe in order.keyframes)
    if isinstance(model, PackagedModel):
        rows, shares = model.see(pictures)
        yield packed(model, rows, frames)
        try:
            yield named_things(model, shares, frames, desk)
        except TextModelUnavailable as error:
            # Without the model of texts pictures are still found by likeness.
            logger.warning("pictures cannot be found by words: %s", error.message)
    else:
        yield packed(model, model.embed_images(pictures), frames, sees="both" if model.reads_texts else "pictures")


def _picture(jpeg: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        picture = Image.open(io.BytesIO(jpeg), formats=["JPEG"])
        picture.load()
    except (UnidentifiedImageError, OSError) as error:
        raise BadStill("A keyframe in the object store is no JPEG; resume the clip from its keyframes.") from error
    return picture


def clean_clip(order: CleanOrder, desk: Desk) -> CleanResult:
    """Deletes a clip's keyframes and vectors from the store; what is already gone is fine."""
    with desk.step("delete"):
        clear(desk.objects, clean_prefixes(order), order.keys)
    return CleanResult(clip_id=order.clip_id)
