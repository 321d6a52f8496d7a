"""The routes of review's API. Each request is one transaction, committed when its answer is made.

``/api/openapi.json`` describes it. Lists take a cursor and a limit; errors are problem documents.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID, uuid4

from fastapi import FastAPI, Header, Query
from fastapi.responses import RedirectResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from opentelemetry.trace import SpanKind
from starlette.types import ASGIApp

from contracts.envelope import derived_id
from contracts.events.v1.ingest import IngestRequested
from contracts.events.v1.video import VideoProxied
from contracts.values import ObjectRef
from services.chassis import telemetry
from services.chassis.ledger import Ledger
from services.review.api import cursors, views
from services.review.api.guard import Guard
from services.review.api.problems import EditConflict, install
from services.review.api.shapes import (
    ActBody,
    ClipOut,
    ClipPage,
    DeadLetterDetail,
    DeadLetterPage,
    EditBody,
    EditOut,
    EditPage,
    EditResult,
    FileOut,
    LogPage,
    MediaOut,
    RequestBody,
    RequestResult,
    UndoBody,
    VideoOut,
    VideoPage,
)
from services.review.api.stream import Feed
from services.review.api.uploads import add_uploads
from services.review.domain.clip import ClipState
from services.review.domain.marks import Refused
from services.review.domain.video import VideoState
from services.review.editing import Edited, make_edit, undo_edit

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

WEB = Path(__file__).parent.parent / "web"
LARGEST_SPRITE_MAP = 10_000_000
LARGEST_REPLAYABLE = 512 * 1024
"""Bytes. The chassis keeps no more of a dead letter's body, so a body of this size may have been cut."""

Limit = Annotated[int, Query(ge=1, le=500)]
Cursor = Annotated[str | None, Query(max_length=500)]


def create_api(runtime: Runtime) -> ASGIApp:
    """The application behind the service's port."""
    app = FastAPI(
        title="Heaters review",
        summary="Videos, their clips, and what people decide about them.",
        version="1",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    install(app)
    _add_reading(app, runtime)
    _add_editing(app, runtime)
    _add_media(app, runtime)
    _add_operations(app, runtime)
    add_uploads(app, runtime)
    app.mount("/", StaticFiles(directory=WEB, html=True))
    return Guard(app, runtime.settings)


def _add_reading(app: FastAPI, runtime: Runtime) -> None:
    feed = Feed(runtime)

    @app.get("/api/videos", tags=["reading"])
    async def list_videos(state: VideoState | None = None, limit: Limit = 50, cursor: Cursor = None) -> VideoPage:
        """Videos, newest first."""
        async with runtime.transaction() as ledger:
            return await views.video_page(ledger.session, ledger.now, state, limit, cursor)

    @app.get("/api/videos/{video_id}", tags=["reading"])
    async def show_video(video_id: UUID, superseded: bool = False) -> VideoOut:
        """A video with its clips, in the order of its frames; ``superseded`` adds those that edits replaced."""
        async with runtime.transaction() as ledger:
            return await views.video_of(ledger.session, ledger.now, video_id, superseded=superseded)

    @app.get("/api/videos/{video_id}/edits", tags=["reading"])
    async def list_edits(video_id: UUID, limit: Limit = 50) -> EditPage:
        """A video's latest edits, newest first."""
        async with runtime.transaction() as ledger:
            return await views.edits_of(ledger.session, video_id, limit)

    @app.get("/api/clips", tags=["reading"])
    async def list_clips(
        state: Annotated[list[ClipState] | None, Query(max_length=20)] = None,
        video: UUID | None = None,
        limit: Limit = 100,
        cursor: Cursor = None,
    ) -> ClipPage:
        """Clips in any of some states: of one video in the order of its frames, of all videos oldest first."""
        async with runtime.transaction() as ledger:
            return await views.clip_page(ledger.session, state or (), video, limit, cursor)

    @app.get("/api/clips/{clip_id}", tags=["reading"])
    async def show_clip(clip_id: UUID) -> ClipOut:
        """A clip."""
        async with runtime.transaction() as ledger:
            return await views.clip_of(ledger.session, clip_id)

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


def _add_editing(app: FastAPI, runtime: Runtime) -> None:
    async def edit(name: str, carry_out: Callable[[Ledger], Awaitable[Edited]], named: list[UUID]) -> EditResult:
        try:
            async with _traced(runtime, name) as ledger:
                edited = await carry_out(ledger)
                return EditResult(
                    edit=_edit_out(edited),
                    unchanged=edited.unchanged.value if edited.unchanged else None,
                    repeated=edited.repeated,
                    clips=await views.clips_of(ledger.session, edited.clips),
                )
        except Refused as refusal:
            async with runtime.transaction() as ledger:
                raise EditConflict(refusal, await views.clips_of(ledger.session, named)) from refusal

    @app.post("/api/videos/{video_id}/edits", tags=["editing"], responses={409: {"description": "Stale or refused."}})
    async def make(video_id: UUID, body: EditBody) -> EditResult:
        """Edits clips of one video. Refused as a whole, with the clips' present state, if a version is stale."""
        return await edit(
            f"edit {body.command}",
            lambda ledger: make_edit(
                ledger,
                video_id,
                body.told(),
                by=body.by,
                window=runtime.settings.review_undo_window,
                body=json.loads(body.model_dump_json(exclude_none=True, exclude={"by", "idempotency_key"})),
                idempotency_key=body.idempotency_key,
            ),
            body.clips,
        )

    @app.post("/api/edits/{edit_id}/undo", tags=["editing"], responses={409: {"description": "Refused."}})
    async def undo(edit_id: UUID, body: UndoBody | None = None) -> EditResult:
        """Takes an edit back: without a trace outside while its undo window is open, by compensating events after it."""
        by = (body or UndoBody()).by
        return await edit("edit undo", lambda ledger: undo_edit(ledger, edit_id, by=by), [])

    @app.post("/api/requests", tags=["editing"], status_code=202)
    async def submit(body: RequestBody) -> RequestResult:
        """Asks for a video to be ingested. The same idempotency key is the same request."""
        key = body.idempotency_key or uuid4().hex
        event = IngestRequested(
            source=body.source, title=body.title, tags=body.tags, options=body.options, idempotency_key=key
        )
        async with _traced(runtime, "submit") as ledger:
            event_id = await ledger.emit(event, cause=f"request:{key}")
        return RequestResult(event_id=event_id, idempotency_key=key, video_id=derived_id("video", key))


def _add_media(app: FastAPI, runtime: Runtime) -> None:
    lifetime = runtime.settings.media_url_lifetime

    def signed(stored: ObjectRef) -> FileOut:
        return FileOut(
            url=runtime.objects.presign_get(stored.key, lifetime),
            size=stored.size,
            sha256=stored.sha256,
            content_type=stored.content_type,
        )

    def optional(stored: ObjectRef | None) -> FileOut | None:
        return signed(stored) if stored else None

    def playable(proxied: VideoProxied) -> MediaOut:
        layout = None
        if proxied.sprite_map and proxied.sprite_map.size <= LARGEST_SPRITE_MAP:
            layout = json.loads(runtime.objects.get_bytes(proxied.sprite_map.key))
        return MediaOut(
            expires_in=int(lifetime.total_seconds()),
            codec=proxied.proxy.codec,
            width=proxied.proxy.width,
            height=proxied.proxy.height,
            proxy=signed(proxied.proxy),
            index=signed(proxied.index),
            audio=optional(proxied.audio),
            peaks=optional(proxied.peaks),
            sprites=[signed(sheet) for sheet in proxied.sprites],
            sprite_map=layout,
            captions={caption.language: signed(caption.object) for caption in proxied.captions},
        )

    @app.get("/api/videos/{video_id}/media", tags=["media"])
    async def media(video_id: UUID) -> MediaOut:
        """Signed addresses of everything a player needs."""
        async with runtime.transaction() as ledger:
            proxied = await views.proxied_of(ledger.session, video_id)
        return await asyncio.to_thread(playable, proxied)

    @app.get("/api/clips/{clip_id}/deliverables/{profile}/{name}", tags=["media"], response_class=RedirectResponse)
    async def deliverable(clip_id: UUID, profile: str, name: str) -> RedirectResponse:
        """Redirects to a signed address of a delivered file; ``manifest.json`` is the bundle's manifest."""
        async with runtime.transaction() as ledger:
            clip = await views.clip_of(ledger.session, clip_id)
        for bundle in clip.deliverables:
            if bundle.profile != profile:
                continue
            for file_name, stored in (
                ("manifest.json", bundle.manifest),
                *((file.name, file.object) for file in bundle.files),
            ):
                if file_name == name:
                    url = await asyncio.to_thread(runtime.objects.presign_get, stored.key, lifetime)
                    return RedirectResponse(url, status_code=307)
        raise Refused(f"Clip {clip_id} has no such delivered file.", code="review.unknown_file")


def _add_operations(app: FastAPI, runtime: Runtime) -> None:
    @app.get("/api/dead-letters", tags=["operations"])
    async def list_letters(
        state: Literal["open", "replayed", "discarded"] | None = None, limit: Limit = 50, cursor: Cursor = None
    ) -> DeadLetterPage:
        """Dead letters, newest first."""
        async with runtime.transaction() as ledger:
            return await views.dead_letter_page(ledger.session, state, limit, cursor)

    @app.get("/api/dead-letters/{letter_id}", tags=["operations"])
    async def show_letter(letter_id: UUID) -> DeadLetterDetail:
        """A dead letter with the message as it came."""
        async with runtime.transaction() as ledger:
            return await views.dead_letter_of(ledger.session, letter_id)

    async def act(letter_id: UUID, state: Literal["replayed", "discarded"], by: str) -> DeadLetterDetail:
        async with _traced(runtime, f"dead letter {state}") as ledger:
            letter = await views.dead_letter_of(ledger.session, letter_id, lock=True)
            if letter.state != "open":
                raise Refused(f"That dead letter was {letter.state} already.", code="review.dead_letter_closed")
            if state == "replayed":
                await _replay(runtime, letter)
            await views.close_dead_letter(ledger.session, letter_id, state, by, ledger.now)
            return await views.dead_letter_of(ledger.session, letter_id)

    @app.post("/api/dead-letters/{letter_id}/replay", tags=["operations"])
    async def replay(letter_id: UUID, body: ActBody | None = None) -> DeadLetterDetail:
        """Publishes the message again, byte by byte as it came; do it once its cause is mended."""
        return await act(letter_id, "replayed", (body or ActBody()).by)

    @app.post("/api/dead-letters/{letter_id}/discard", tags=["operations"])
    async def discard(letter_id: UUID, body: ActBody | None = None) -> DeadLetterDetail:
        """Gives a dead letter up; it stays on record."""
        return await act(letter_id, "discarded", (body or ActBody()).by)


async def _replay(runtime: Runtime, letter: DeadLetterDetail) -> None:
    value = _raw(letter.value_base64)
    if value is not None and len(value) >= LARGEST_REPLAYABLE:
        raise Refused(
            "The message was too large to be kept whole; publish it again from its source, or discard it.",
            code="review.dead_letter_cut",
        )
    headers = [(name, base64.b64decode(spelt)) for name, spelt in letter.headers]
    await runtime.replay(letter.topic, _raw(letter.key_base64), value, headers)


@contextlib.asynccontextmanager
async def _traced(runtime: Runtime, name: str) -> AsyncIterator[Ledger]:
    """A transaction under a span of its own, from which emitted events take their trace."""
    with telemetry.span(runtime.telemetry, name, kind=SpanKind.SERVER):
        async with runtime.transaction(cause=f"http:{uuid4()}") as ledger:
            yield ledger


def _edit_out(edited: Edited) -> EditOut | None:
    edit = edited.edit
    if edit is None:
        return None
    return EditOut(
        id=edit.id,
        video_id=edit.video_id,
        kind=edit.kind,
        by=edit.by,
        clips=list(edit.clips),
        made_at=edit.made_at,
        release_at=edit.release_at,
        undone_by=edit.undone_by,
    )


def _raw(spelt: str | None) -> bytes | None:
    return None if spelt is None else base64.b64decode(spelt)
