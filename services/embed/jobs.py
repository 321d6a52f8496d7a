"""The stage's kinds of work."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from services.chassis.stage import Job, Limits
from services.embed import store
from services.embed.domain import facts, orders

KEYFRAME = Job(
    kind="keyframe",
    input=orders.KeyframeOrder,
    result=orders.KeyframeResult,
    work="services.embed.work:take_keyframes",
    started=facts.keyframing_started,
    succeeded=facts.keyframed,
    failed=facts.keyframing_failed,
    marker=orders.keyframe_marker,
    media=lambda _, result: result.duration,
    limits=Limits(wall=timedelta(minutes=30), memory_bytes=4_000_000_000),
)

EMBED = Job(
    kind="embed",
    input=orders.EmbedOrder,
    result=orders.EmbedResult,
    work="services.embed.work:embed_clips",
    started=facts.embedding_started,
    succeeded=facts.embedded,
    failed=facts.embedding_failed,
    marker=orders.embed_marker,
    record=store.record_vectors,
    batch=True,
    # The first use of a hub model downloads it, and says nothing meanwhile.
    limits=Limits(wall=timedelta(hours=2), memory_bytes=8_000_000_000, silence=timedelta(minutes=60)),
)

REEMBED = replace(EMBED, kind="reembed", priority=-10)
"""The same work for clips that already have vectors; it lets clips that have none go first."""

CLEAN = Job(
    kind="clean",
    input=orders.CleanOrder,
    result=orders.CleanResult,
    work="services.embed.work:clean_clip",
    started=facts.cleaning_started,
    succeeded=facts.cleaned,
    failed=facts.cleaning_failed,
    marker=orders.clean_marker,
    limits=Limits(wall=timedelta(minutes=30), memory_bytes=2_000_000_000, attempts=20),
)
