"""Routes that tell what there is: videos, clips, their history, the log, and the live stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from fastapi import FastAPI, Header, Query
from fastapi.responses import StreamingResponse

from services.review.api import cursors, views
from services.review.api.requests import Cursor, Limit
from services.review.api.shapes import ClipOut, ClipPage, EditOut, EditPage, LogPage, VideoOut, VideoPage
from services.review.domain.clip import ClipState
from services.review.domain.video import VideoState

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime
    from services.review.api.stream import Feed

Frames = Annotated[int | None, Query(ge=1, le=2**31 - 1)]


def add_reading(app: FastAPI, runtime: Runtime, feed: Feed) -> None:
    """Adds the routes."""

    @app.get("/api/videos", tags=["reading"])
    async def list_videos(state: VideoState | None = None, limit: Limit = 50, cursor: Cursor = None) -> VideoPage:
        """Videos, newest first."""
        async with runtime.transaction() as ledger:
            return await views.video_page(ledger.session, ledger.now, state, limit, cursor)

    @app.get("/api/videos/{video_id}", tags=["reading"])
    async def show_video(video_id: UUID, superseded: bool = False, clips: bool = True) -> VideoOut:
        """A video with its clips, in the order of its frames; ``superseded`` adds those that edits replaced.

        Without ``clips`` their list is empty: a film has thousands.
        """
        async with runtime.transaction() as ledger:
            return await views.video_of(ledger.session, ledger.now, video_id, superseded=superseded, with_clips=clips)

    @app.get("/api/videos/{video_id}/edits", tags=["reading"])
    async def list_edits(video_id: UUID, limit: Limit = 50, cursor: Cursor = None) -> EditPage:
        """A video's edits, newest first."""
        async with runtime.transaction() as ledger:
            return await views.edits_of(ledger.session, video_id=video_id, limit=limit, cursor=cursor)

    @app.get("/api/clips", tags=["reading"])
    async def list_clips(
        state: Annotated[list[ClipState] | None, Query(max_length=20)] = None,
        video: UUID | None = None,
        clip: Annotated[list[UUID] | None, Query(max_length=views.MOST_NAMED, description="These clips only.")] = None,
        tag: Annotated[str | None, Query(min_length=1, max_length=100, pattern=r"^[^\x00]*$")] = None,
        min_frames: Frames = None,
        max_frames: Frames = None,
        order: views.Order | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> ClipPage:
        """Clips in any of some states, by id, tag and length, in an order: ``uncertain`` shows the least certain first.

        Without an order those of one video come by their frames, those of all videos oldest first. A cursor belongs to
        the order that it came from.
        """
        chosen = views.ClipFilter(tuple(state or ()), video, tuple(clip or ()), tag, min_frames, max_frames)
        async with runtime.transaction() as ledger:
            return await views.clip_page(ledger.session, chosen, order, limit, cursor)

    @app.get("/api/clips/{clip_id}", tags=["reading"])
    async def show_clip(clip_id: UUID) -> ClipOut:
        """A clip."""
        async with runtime.transaction() as ledger:
            return await views.clip_of(ledger.session, clip_id)

    @app.get("/api/clips/{clip_id}/edits", tags=["reading"])
    async def list_clip_edits(clip_id: UUID, limit: Limit = 50, cursor: Cursor = None) -> EditPage:
        """A clip's edits, newest first."""
        async with runtime.transaction() as ledger:
            return await views.edits_of(ledger.session, clip_id=clip_id, limit=limit, cursor=cursor)

    @app.get("/api/edits/{edit_id}", tags=["reading"])
    async def show_edit(edit_id: UUID) -> EditOut:
        """An edit."""
        async with runtime.transaction() as ledger:
            return await views.edit_of(ledger.session, edit_id)

    @app.get("/api/events", tags=["reading"])
    async def list_events(
        video: UUID | None = None, after: Annotated[str | None, Query(max_length=50)] = None, limit: Limit = 100
    ) -> LogPage:
        """The log of events, oldest first, after a position."""
        place = cursors.position(after)
        async with runtime.transaction() as ledger:
            return await views.log_page(ledger.session, place, video, limit)

    @app.get("/api/stream", tags=["reading"], response_class=StreamingResponse)
    async def stream(last_event_id: Annotated[str | None, Header(max_length=50)] = None) -> StreamingResponse:
        """Server-sent events: ``change`` for each event of the log, ``progress`` for running work."""
        place = cursors.position(last_event_id)
        feed.check_room()
        return StreamingResponse(
            feed.listen(place), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"}
        )
