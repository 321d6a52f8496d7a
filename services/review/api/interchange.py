"""Routes to a video's clips in the formats of other programs."""

from __future__ import annotations

import asyncio
import re
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal
from urllib.parse import quote
from uuid import UUID

from fastapi import FastAPI, Query
from fastapi.responses import Response

from contracts.values import UrlSource
from services.review.api import views
from services.review.domain.clip import ClipState
from services.review.domain.marks import Refused
from services.review.interchange import FORMATS, Cut, Reel

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime


def add_interchange(app: FastAPI, runtime: Runtime) -> None:
    """Adds the route."""

    @app.get("/api/videos/{video_id}/interchange/{kind}", tags=["interchange"], response_class=Response)
    async def interchange(
        video_id: UUID,
        kind: Literal["otio", "edl", "fcpxml", "csv"],
        state: Annotated[list[ClipState] | None, Query(max_length=20)] = None,
    ) -> Response:
        """A video's clips as OpenTimelineIO, CMX3600 EDL, FCPXML or CSV; all that stand, or those in some states."""
        async with runtime.transaction() as ledger:
            video = await views.video_of(ledger.session, ledger.now, video_id)
            proxied, _ = await views.heard_of(ledger.session, video.duplicate_of or video_id)
        if video.frames is None or video.rate is None:
            raise Refused("The video was not measured yet; ask again later.", code="review.no_media")
        source = proxied.media.video if proxied else None
        reel = Reel(
            id=video_id,
            title=video.title or "Untitled",
            frames=video.frames,
            rate=Fraction(video.rate),
            width=source.width if source else None,
            height=source.height if source else None,
            url=video.source.url if isinstance(video.source, UrlSource) else "",
        )
        cuts = [
            Cut(
                id=clip.id,
                start=clip.start_frame,
                end=clip.end_frame,
                state=clip.state.value,
                tags=tuple(clip.tags),
                note=clip.note,
                confidence=clip.confidence,
            )
            for clip in video.clips
            if not state or clip.state in state
        ]
        spell, ending, content_type = FORMATS[kind]
        spelt = await asyncio.to_thread(spell, reel, cuts)
        name = re.sub(r"[^\w.-]+", "-", video.title).strip("-.")[:80] or "video"
        disposition = f"attachment; filename=\"clips.{ending}\"; filename*=UTF-8''{quote(f'{name}.{ending}')}"
        return Response(spelt.encode(), media_type=content_type, headers={"Content-Disposition": disposition})
