"""Which events follow from the stage's work."""

from __future__ import annotations

from contracts.events.base import Event
from contracts.events.v1.clip import (
    ClipEmbedded,
    ClipEmbeddingFailed,
    ClipEmbeddingStarted,
    ClipKeyframed,
    ClipKeyframeFailed,
    ClipKeyframingStarted,
)
from contracts.values import Failure
from services.embed.domain.orders import CleanOrder, CleanResult, EmbedOrder, EmbedResult, KeyframeOrder, KeyframeResult


def keyframing_started(order: KeyframeOrder, run: int) -> tuple[Event, ...]:
    """Keyframes are being taken."""
    return (ClipKeyframingStarted(video_id=order.video_id, clip_id=order.clip_id, run=run),)


def keyframed(order: KeyframeOrder, run: int, result: KeyframeResult) -> tuple[Event, ...]:
    """The keyframes lie in the store."""
    return (
        ClipKeyframed(
            video_id=order.video_id,
            clip_id=order.clip_id,
            run=run,
            strategy=order.strategy,
            title=order.title,
            tags=order.tags,
            keyframes=result.keyframes,
            duration=result.duration,
        ),
    )


def keyframing_failed(order: KeyframeOrder, run: int, failure: Failure) -> tuple[Event, ...]:
    """No keyframe could be taken."""
    return (ClipKeyframeFailed(video_id=order.video_id, clip_id=order.clip_id, run=run, failure=failure),)


def embedding_started(order: EmbedOrder, run: int) -> tuple[Event, ...]:
    """The vectors are being computed."""
    return (ClipEmbeddingStarted(video_id=order.video_id, clip_id=order.clip_id, run=run),)


def embedded(order: EmbedOrder, run: int, result: EmbedResult) -> tuple[Event, ...]:
    """The clip can be found by search."""
    models = tuple(vectors.model for vectors in result.models)
    return (ClipEmbedded(video_id=order.video_id, clip_id=order.clip_id, run=run, models=models),)


def embedding_failed(order: EmbedOrder, run: int, failure: Failure) -> tuple[Event, ...]:
    """No vector could be computed."""
    return (ClipEmbeddingFailed(video_id=order.video_id, clip_id=order.clip_id, run=run, failure=failure),)


def cleaning_started(_order: CleanOrder, _run: int) -> tuple[Event, ...]:
    """Nothing: the stage that delivered the clip tells of its cleaning."""
    return ()


def cleaned(_order: CleanOrder, _run: int, _result: CleanResult) -> tuple[Event, ...]:
    """Nothing, as above."""
    return ()


def cleaning_failed(_order: CleanOrder, _run: int, _failure: Failure) -> tuple[Event, ...]:
    """Nothing, as above: the failed work itself is what an operator sees and resumes."""
    return ()
