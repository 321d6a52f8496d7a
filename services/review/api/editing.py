"""Routes by which people decide. Each edit is one short transaction; a refused one tells the clips' present state."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

from fastapi import FastAPI

from contracts.envelope import derived_id
from contracts.events.v1.ingest import IngestRequested
from services.chassis import metrics
from services.chassis.ledger import Ledger
from services.review import store
from services.review.api import views
from services.review.api.actors import Who
from services.review.api.problems import EditConflict, status_of
from services.review.api.profiles import refuse_unknown
from services.review.api.requests import traced
from services.review.api.shapes import (
    BatchBody,
    BatchPart,
    BatchResult,
    BatchUndoBody,
    EditBody,
    EditOut,
    EditResult,
    ProblemOut,
    RedoBody,
    RequestBody,
    RequestResult,
    RestBody,
    Seen,
    UndoBody,
)
from services.review.domain.edits import EditKind
from services.review.domain.marks import Refused, unknown
from services.review.editing import Edited, edit_the_rest, make_edit, redo_edit, told, undo_edit

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime
    from services.review.api.stream import Feed

CONFLICT: dict[int | str, dict[str, Any]] = {409: {"description": "Stale, or not allowed in the clips' present state."}}


def add_editing(app: FastAPI, runtime: Runtime, feed: Feed) -> None:
    """Adds the routes."""
    window = runtime.settings.review_undo_window

    async def edit(
        name: str, carry_out: Callable[[Ledger], Awaitable[Edited]], named: Sequence[UUID] | UUID = ()
    ) -> EditResult:
        """Carries an edit out. A refusal tells how the clips ``named`` stand, or those of the edit of that id."""
        try:
            with metrics.EDIT_SECONDS.labels(name.removeprefix("edit ")).time():
                async with traced(runtime, name) as ledger:
                    edited = await carry_out(ledger)
                    clips = views.clips_after(edited) or await views.clips_of(ledger.session, edited.clips)
        except Refused as refusal:
            async with runtime.transaction() as ledger:
                if isinstance(named, UUID):
                    found = await store.find_edit(ledger.session, named)
                    named = found.clips if found else ()
                raise EditConflict(refusal, await views.clips_of(ledger.session, named)) from refusal
        feed.poke()
        return EditResult(
            edit=_edit_out(edited),
            unchanged=edited.unchanged.value if edited.unchanged else None,
            repeated=edited.repeated,
            clips=clips,
        )

    async def part(video_id: UUID | None, run: Callable[[], Awaitable[EditResult]]) -> BatchPart:
        try:
            result = await run()
        except EditConflict as refusal:
            problem = ProblemOut(status=status_of(refusal), code=refusal.code, detail=refusal.message)
            return BatchPart(video_id=video_id, edit=None, unchanged=None, problem=problem, clips=refusal.clips)
        return BatchPart(
            video_id=result.edit.video_id if result.edit else video_id,
            edit=result.edit,
            unchanged=result.unchanged,
            problem=None,
            clips=result.clips,
        )

    async def undone(edit_id: UUID, by: str) -> EditResult:
        return await edit("edit undo", lambda ledger: undo_edit(ledger, edit_id, by=by), edit_id)

    @app.post("/api/videos/{video_id}/edits", tags=["editing"], responses=CONFLICT)
    async def make(video_id: UUID, body: EditBody, who: Who) -> EditResult:
        """Edits clips of one video. Refused as a whole, with the clips' present state, if a version is stale."""
        if body.profiles:
            await refuse_unknown(tuple(body.profiles), runtime)
        spelt = body.spelt()
        return await edit(
            f"edit {body.command}",
            lambda ledger: make_edit(
                ledger,
                video_id,
                told(spelt),
                by=who.name_for(body.by),
                window=window,
                body=spelt,
                idempotency_key=body.idempotency_key,
            ),
            body.clips,
        )

    @app.post("/api/videos/{video_id}/rest", tags=["editing"], responses=CONFLICT)
    async def rest(video_id: UUID, body: RestBody, who: Who) -> EditResult:
        """Approves, skips or archives every clip of a video that waits: one edit, one undo."""
        return await edit(
            f"edit rest {body.command}",
            lambda ledger: edit_the_rest(
                ledger,
                video_id,
                EditKind(body.command),
                expected=body.expected,
                by=who.name_for(body.by),
                window=window,
                idempotency_key=body.idempotency_key,
            ),
        )

    @app.post("/api/edits/{edit_id}/undo", tags=["editing"], responses=CONFLICT)
    async def undo(edit_id: UUID, who: Who, body: UndoBody | None = None) -> EditResult:
        """Takes an edit back: without a trace outside while its undo window is open, by compensating events after it."""
        return await undone(edit_id, who.name_for((body or UndoBody()).by))

    @app.post("/api/edits/{edit_id}/redo", tags=["editing"], responses=CONFLICT)
    async def redo(edit_id: UUID, who: Who, body: RedoBody | None = None) -> EditResult:
        """Makes an undone edit again, as a new one, if its clips stand as they stood before it."""
        body = body or RedoBody()
        return await edit(
            "edit redo",
            lambda ledger: redo_edit(
                ledger, edit_id, by=who.name_for(body.by), window=window, idempotency_key=body.idempotency_key
            ),
            edit_id,
        )

    @app.post("/api/batch", tags=["editing"])
    async def batch(body: BatchBody, who: Who) -> BatchResult:
        """One command for clips of many videos. Each video's part is one edit, taken or refused by itself."""
        async with runtime.transaction() as ledger:
            owners = await views.videos_of_clips(ledger.session, [clip.id for clip in body.clips])
        parts: dict[UUID | None, list[Seen]] = {}
        for clip in body.clips:
            parts.setdefault(owners.get(clip.id), []).append(clip)
        results = []
        for video_id, clips in parts.items():
            run = functools.partial(_edit_part, video_id, clips, body, who.name_for(body.by))
            results.append(await part(video_id, run))
        return BatchResult(results=results)

    async def _edit_part(video_id: UUID | None, clips: Sequence[Seen], body: BatchBody, by: str) -> EditResult:
        named = [clip.id for clip in clips]
        if video_id is None:
            raise EditConflict(unknown("clip", named[0]), [])
        spelt = body.spelt(clips)
        return await edit(
            f"edit {body.command}",
            lambda ledger: make_edit(
                ledger,
                video_id,
                told(spelt),
                by=by,
                window=window,
                body=spelt,
                idempotency_key=body.idempotency_key and f"batch:{body.idempotency_key}",
            ),
            named,
        )

    @app.post("/api/batch/undo", tags=["editing"])
    async def undo_batch(body: BatchUndoBody, who: Who) -> BatchResult:
        """Takes several edits back, one after the other."""
        by = who.name_for(body.by)
        return BatchResult(results=[await part(None, functools.partial(undone, edit_id, by)) for edit_id in body.edits])

    @app.post("/api/requests", tags=["editing"], status_code=202)
    async def submit(body: RequestBody) -> RequestResult:
        """Asks for a video to be ingested. The same idempotency key is the same request."""
        key = body.idempotency_key or uuid4().hex
        event = IngestRequested(
            source=body.source, title=body.title, tags=body.tags, options=body.options, idempotency_key=key
        )
        await refuse_unknown(body.options.profiles, runtime)
        async with traced(runtime, "submit") as ledger:
            event_id = await ledger.emit(event, cause=f"request:{key}")
        return RequestResult(event_id=event_id, idempotency_key=key, video_id=derived_id("video", key))


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
        redo_of=edit.redo_of,
        redone_by=edit.redone_by,
        command=dict(edit.command),
    )
