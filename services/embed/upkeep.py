"""What the stage does on its own: it embeds again what a new setting asks for, and forgets what has been replaced.

A model that is new in the settings is noticed at the start, and every clip gets vectors by it as ordinary work, after that
of clips that have none. The former vectors serve searches until the new set is whole; then they are forgotten. Models that
have come to many vectors get their inverted file.
"""

from __future__ import annotations

import asyncio
import logging
import time
from uuid import uuid4

from sqlalchemy.exc import DBAPIError

from services.chassis.ledger import Ledger
from services.chassis.runtime import Runtime
from services.embed import index, inverted, store
from services.embed.domain.orders import NAMED_THINGS, ModelSpec
from services.embed.handlers import queue_keyframes, queue_vectors
from services.embed.jobs import REEMBED
from services.embed.settings import PACKAGED_MODEL, Settings

log = logging.getLogger(__name__)

CLIPS_AT_ONCE = 200
"""Clips queued in one transaction."""
CENTROIDS_EVERY = 60.0
"""Seconds between looks for models that need other centroids; PostgreSQL counts their vectors no more often."""


async def upkeep(runtime: Runtime) -> None:
    """Looks for ever, at the interval at which every loop looks."""
    is_known = False
    next_centroids = 0.0
    while True:
        try:
            if not is_known:
                async with runtime.transaction(cause="upkeep") as ledger:
                    await notice_models(ledger)
                is_known = True
            async with runtime.transaction(cause="upkeep") as ledger:
                queued = await queue_campaigns(ledger)
            if time.monotonic() >= next_centroids:
                await keep_centroids(runtime)
                next_centroids = time.monotonic() + CENTROIDS_EVERY
            if not queued:
                async with runtime.transaction(cause="upkeep") as ledger:
                    for name in await store.retire_models(ledger.session, model_names(ledger.settings)):
                        log.info("A replaced model's vectors were forgotten.", extra={"model": name})
        except (DBAPIError, OSError) as error:
            log.warning("The upkeep must wait for the database.", extra={"reason": repr(error)[:300]})
        await asyncio.sleep(runtime.settings.poll_interval.total_seconds())


async def keep_centroids(runtime: Runtime) -> None:
    """Chooses centroids for models that have many vectors, or many more than before, and places every clip among them."""
    settings: Settings = runtime.settings
    async with runtime.transaction(cause="upkeep") as ledger:
        outgrown = await inverted.outgrown(ledger.session, settings.embed_exact_rows)
    for model, dimensions, vectors in outgrown:
        async with runtime.transaction(cause="upkeep") as ledger:
            rows = await inverted.sample(ledger.session, model, dimensions, vectors)
        if len(rows):
            centres = await asyncio.to_thread(inverted.choose, rows, inverted.count_of(vectors))
            async with runtime.transaction(cause="upkeep") as ledger:
                await inverted.keep_set(ledger.session, model, vectors, centres)
    is_busy = True
    while is_busy:
        async with runtime.transaction(cause="upkeep") as ledger:
            is_busy = await inverted.place_next(ledger.session)


def model_names(settings: Settings) -> tuple[str, ...]:
    """Every name under which the configured models have vectors."""
    names = [spec.model_id for spec in settings.specs]
    return (*names, NAMED_THINGS) if PACKAGED_MODEL in names else tuple(names)


async def notice_models(ledger: Ledger) -> None:
    """Has every clip embedded by models that were not configured before, and makes the indexes that are missing."""
    await index.create_missing(ledger.session)
    settings: Settings = ledger.settings
    new = await store.new_specs(ledger.session, [str(spec) for spec in settings.specs], ledger.now)
    if new:
        count = await store.open_campaign(ledger.session, uuid4(), new, keyframes=False, video_id=None, now=ledger.now)
        log.info("Models are new.", extra={"models": new, "clips": count})


async def queue_campaigns(ledger: Ledger) -> int:
    """Queues the next clips of every re-embedding. How many pieces of work that were."""
    settings: Settings = ledger.settings
    total = 0
    for campaign in await store.open_campaigns(ledger.session):
        specs: list[ModelSpec] = [spec for spec in settings.specs if str(spec) in campaign.specs]
        clips = await store.next_clips(ledger.session, campaign, CLIPS_AT_ONCE)
        queued = 0
        for clip in clips:
            if campaign.keyframes and clip.delivery is not None:
                await queue_keyframes(clip.delivery, ledger, cause=str(campaign.id))
                queued += 1
            elif not campaign.keyframes and clip.keyframed is not None:
                await queue_vectors(REEMBED, clip.keyframed, clip.delivery, specs, ledger, cause=str(campaign.id))
                queued += len(specs)
        await store.advance_campaign(ledger.session, campaign, clips[-1].clip_id if clips else None, queued)
        total += queued + len(clips)
    return total
