"""Routes to what can be seen and heard: addresses for players, slices of the frame index, exact frames, whole overviews."""

from __future__ import annotations

import asyncio
import base64
import functools
import hashlib
import json
import logging
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Header, Path, Query, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from contracts.errors import HeatersError, Permanent
from contracts.events.v1.video import VideoProxied
from contracts.events.v2.video import VideoScenesDetected
from contracts.values import ObjectRef, spell_ratio
from services.media.frame_index import FrameIndex
from services.review.api import views
from services.review.api.addresses import Addresses, Pinned
from services.review.api.problems import problem
from services.review.api.requests import Cursor
from services.review.api.shapes import (
    ClipMark,
    ClipMedia,
    CutOut,
    DeliveredOut,
    DeliveredPage,
    FileOut,
    IndexSlice,
    MediaOut,
    OverviewOut,
    PeaksOut,
    RangeOut,
    ScoresOut,
)
from services.review.domain.clip import ClipState
from services.review.domain.marks import Refused
from services.review.playback import BLOCK, LARGEST_CURVE, MOST_FRAMES, Blocks, Indexes, cut, peak_curve, score_curve
from services.review.stills import Stills

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

log = logging.getLogger(__name__)
PIECE = 1 << 20
"""Bytes that are read from the store at once."""
STORED_POLICY = "sandbox; default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""A stored page, such as a deliverable's report, is shown in a sandbox of its own: it runs nothing and fetches nothing."""
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")

FrameNumber = Annotated[int, Path(ge=0, le=2**31 - 1)]


class Changed(Permanent):
    """Another object lies where the address points."""

    code = "media.changed"


def add_media(app: FastAPI, runtime: Runtime) -> None:
    """Adds the routes."""
    settings = runtime.settings
    addresses = Addresses(settings.s3_secret_key.get_secret_value(), settings.media_url_lifetime)
    indexes = Indexes(runtime.objects)
    blocks = Blocks(runtime.clock)
    stills = Stills()
    runtime.closing.append(stills.close)

    def signed(stored: ObjectRef) -> FileOut:
        return addresses.file(stored, runtime.clock())

    def optional(stored: ObjectRef | None) -> FileOut | None:
        return signed(stored) if stored else None

    def sprite_layout(proxied: VideoProxied) -> dict[str, Any] | None:
        found = _readable(runtime, proxied.sprite_map)
        layout: dict[str, Any] | None = json.loads(found) if found else None
        return layout

    def playable(proxied: VideoProxied) -> MediaOut:
        return MediaOut(
            expires_in=int(settings.media_url_lifetime.total_seconds()),
            codec=proxied.proxy.codec,
            width=proxied.proxy.width,
            height=proxied.proxy.height,
            proxy=signed(proxied.proxy),
            index=signed(proxied.index),
            audio=optional(proxied.audio),
            peaks=optional(proxied.peaks),
            sprites=[signed(sheet) for sheet in proxied.sprites],
            sprite_map=sprite_layout(proxied),
            captions={caption.language: signed(caption.object) for caption in proxied.captions},
        )

    def sliced(video_id: UUID, proxied: VideoProxied, index: FrameIndex, start: int, end: int) -> dict[str, Any]:
        part = cut(index, start, end)
        now = runtime.clock()
        return {
            "video_id": video_id,
            "codec": index.codec,
            "description": base64.b64encode(index.extradata).decode(),
            "width": index.width,
            "height": index.height,
            "rate": spell_ratio(index.rate),
            "timebase": spell_ratio(index.timebase),
            "frames_of_video": len(index),
            "first_frame": part.first,
            "offset": part.offset,
            "sizes": list(part.sizes),
            "pts": list(part.pts),
            "proxy": addresses.file(proxied.proxy, now),
            "audio": addresses.file(proxied.audio, now) if proxied.audio else None,
            "expires_at": addresses.ends(now),
        }

    @app.get("/api/videos/{video_id}/media", tags=["media"])
    async def media(video_id: UUID) -> MediaOut:
        """Signed addresses of everything a player needs."""
        async with runtime.transaction() as ledger:
            proxied = await views.proxied_of(ledger.session, video_id)
        return await asyncio.to_thread(playable, proxied)

    @app.get("/api/videos/{video_id}/index", tags=["media"])
    async def index_slice(
        video_id: UUID,
        start: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
        end: Annotated[int, Query(ge=1, le=2**31 - 1)] = MOST_FRAMES,
    ) -> IndexSlice:
        """Where the frames ``[start, end)`` lie, at most 20,000 at once."""
        async with runtime.transaction() as ledger:
            proxied = await views.proxied_of(ledger.session, video_id)
        index = await asyncio.to_thread(indexes.of, proxied.index)
        return IndexSlice(**sliced(video_id, proxied, index, start, end))

    @app.get("/api/clips/{clip_id}/media", tags=["media"])
    async def clip_media(clip_id: UUID, handle: Annotated[int, Query(ge=0, le=10_000)] = 24) -> ClipMedia:
        """Everything to play a clip: where its frames lie and ``handle`` more on either side, and the proxy's address."""
        async with runtime.transaction() as ledger:
            clip = await views.clip_of(ledger.session, clip_id)
            proxied = await views.proxied_of(ledger.session, clip.video_id)
        index = await asyncio.to_thread(indexes.of, proxied.index)
        around = sliced(clip.video_id, proxied, index, clip.start_frame - handle, clip.end_frame + handle)
        return ClipMedia(clip_id=clip_id, **around)

    @app.get("/api/videos/{video_id}/frames/{frame}.jpg", tags=["media"], response_class=Response)
    async def frame_picture(
        video_id: UUID,
        frame: FrameNumber,
        height: Annotated[int | None, Query(ge=16, le=4320)] = None,
        if_none_match: Annotated[str | None, Header(max_length=2000)] = None,
    ) -> Response:
        """Exactly this frame of the proxy, as a JPEG."""
        async with runtime.transaction() as ledger:
            proxied = await views.proxied_of(ledger.session, video_id)
        index = await asyncio.to_thread(indexes.of, proxied.index)
        if frame >= len(index):
            raise Refused(
                f"The video has the frames 0 to {len(index) - 1}; ask for one of them.", code="review.unknown_frame"
            )
        digest = hashlib.sha256(f"{proxied.proxy.sha256} {frame} {height}".encode()).hexdigest()
        headers = {"ETag": f'"{digest}"', "Cache-Control": "private, max-age=300"}
        if if_none_match and f'"{digest}"' in if_none_match:
            return Response(status_code=304, headers=headers)
        offset, size = index.address(frame)
        packet = await asyncio.to_thread(runtime.objects.get_range, proxied.proxy.key, offset, offset + size)
        picture = await stills.make(packet, codec="h264", extradata=index.extradata, height=height)
        return Response(picture, media_type="image/jpeg", headers=headers)

    @app.get("/api/videos/{video_id}/overview", tags=["media"])
    async def overview(video_id: UUID) -> OverviewOut:
        """A whole video at a glance: cuts, scenes, the detector's curve, the waveform, sprites and clips."""
        async with runtime.transaction() as ledger:
            video = await views.video_of(ledger.session, ledger.now, video_id)
            owner = video.duplicate_of or video_id
            proxied, detected = await views.heard_of(ledger.session, owner)
            pace = await views.decisions_per_hour(ledger.session, owner, ledger.now)
        scores, peaks, layout = await asyncio.to_thread(curves, proxied, detected)
        return OverviewOut(
            video_id=video_id,
            frames=video.frames,
            rate=video.rate,
            duration=video.duration,
            cuts=[
                CutOut(
                    start_frame=change.frames.start,
                    end_frame=change.frames.end,
                    kind=change.kind.value,
                    confidence=change.confidence,
                )
                for change in (detected.transitions if detected else ())
            ],
            scenes=[
                RangeOut(start_frame=scene.start, end_frame=scene.end)
                for scene in (detected.scenes if detected else ())
            ],
            scores=scores,
            peaks=peaks,
            sprites=[signed(sheet) for sheet in proxied.sprites] if proxied else [],
            sprite_map=layout,
            captions={caption.language: signed(caption.object) for caption in proxied.captions} if proxied else {},
            clips=[
                ClipMark(
                    id=clip.id,
                    start_frame=clip.start_frame,
                    end_frame=clip.end_frame,
                    state=clip.state,
                    confidence=clip.confidence,
                )
                for clip in video.clips
            ],
            decisions=_counted(clip.state for clip in video.clips),
            decisions_per_hour=pace,
        )

    def curves(
        proxied: VideoProxied | None, detected: VideoScenesDetected | None
    ) -> tuple[ScoresOut | None, PeaksOut | None, dict[str, Any] | None]:
        scores = peaks = layout = None
        if found := _readable(runtime, detected.scores if detected else None):
            curve = score_curve(found)
            scores = ScoresOut(every=curve[0], values=curve[1]) if curve else None
        if found := _readable(runtime, proxied.peaks if proxied else None):
            wave = peak_curve(found)
            peaks = PeaksOut(every_seconds=wave[0], values=wave[1]) if wave else None
        if proxied:
            layout = sprite_layout(proxied)
        return scores, peaks, layout

    @app.get("/api/deliverables", tags=["media"])
    async def list_delivered(limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: Cursor = None) -> DeliveredPage:
        """Clips that have delivered files, the latest first."""
        async with runtime.transaction() as ledger:
            page = await views.delivered_page(ledger.session, limit, cursor)
        return DeliveredPage(
            deliverables=[
                DeliveredOut(
                    clip=clip,
                    files={
                        bundle.profile: {
                            "manifest.json": signed(bundle.manifest),
                            **{file.name: signed(file.object) for file in bundle.files},
                        }
                        for bundle in clip.deliverables
                    },
                )
                for clip in page.clips
            ],
            next=page.next,
        )

    @app.get("/api/clips/{clip_id}/deliverables/{profile}/{name}", tags=["media"], response_class=RedirectResponse)
    async def deliverable(
        clip_id: UUID, profile: Annotated[str, Path(max_length=100)], name: Annotated[str, Path(max_length=300)]
    ) -> RedirectResponse:
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
                    return RedirectResponse(signed(stored).url, status_code=307)
        raise Refused(
            f"Clip {clip_id} has no such delivered file; its manifest lists those it has.", code="review.unknown_file"
        )

    @app.head("/api/media/{token}", include_in_schema=False)
    @app.get("/api/media/{token}", tags=["media"], response_class=StreamingResponse)
    async def stored(token: Annotated[str, Path(max_length=4000)], request: Request) -> Response:
        """The object that a signed address opens: whole, or one range of it. Pinned to the object by its ETag."""
        pinned = addresses.read(token, runtime.clock())
        headers = {
            "Accept-Ranges": "bytes",
            "ETag": pinned.etag,
            "Cache-Control": f"private, max-age={int((pinned.until - runtime.clock()).total_seconds())}",
            "Content-Type": pinned.content_type,
            "Content-Security-Policy": STORED_POLICY,
        }
        wanted = request.headers.get("if-match")
        if wanted not in (None, "*") and pinned.etag not in str(wanted):
            raise Changed("The stored object is another one; ask for the clip's media again.")
        if pinned.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        span = _span(request, pinned)
        if span is None:
            answer = problem(416, "media.bad_range", f"The object has {pinned.size} bytes; ask for some of them.")
            answer.headers["Content-Range"] = f"bytes */{pinned.size}"
            return answer
        start, end, is_part = span
        if is_part:
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{pinned.size}"
        headers["Content-Length"] = str(end - start)
        status = 206 if is_part else 200
        if request.method == "HEAD" or start == end:
            return Response(status_code=status, headers=headers)
        if is_part and end - start <= BLOCK:
            fetch = functools.partial(_piece, runtime, pinned)
            data = await blocks.read(pinned.sha256, pinned.size, start, end, fetch)
            return Response(data, status_code=status, headers=headers)
        first = await _piece(runtime, pinned, start, min(end, start + PIECE))
        if len(first) == end - start:
            return Response(first, status_code=status, headers=headers)
        return StreamingResponse(_rest(runtime, pinned, first, start, end), status_code=status, headers=headers)


def _counted(states: Any) -> dict[ClipState, int]:
    counts: dict[ClipState, int] = {}
    for state in states:
        counts[state] = counts.get(state, 0) + 1
    return counts


def _readable(runtime: Runtime, stored: ObjectRef | None) -> bytes | None:
    """The bytes of a curve or a map; none if there are none, or too many, or they cannot be had: the page does without."""
    if stored is None or stored.size > LARGEST_CURVE:
        return None
    try:
        return runtime.objects.get_bytes(stored.key)
    except HeatersError as error:
        log.warning("A curve cannot be shown.", extra={"key": stored.key, "code": error.code})
        return None


def _span(request: Request, pinned: Pinned) -> tuple[int, int, bool] | None:
    """Which bytes are asked for, and whether that is a part; none if there are no such bytes.

    A range that is not understood is no range, as HTTP has it.
    """
    whole = (0, pinned.size, False)
    found = _RANGE.fullmatch(request.headers.get("range", ""))
    condition = request.headers.get("if-range")
    if found is None or found.groups() == ("", "") or (condition is not None and condition != pinned.etag):
        return whole
    first, last = found.groups()
    if not first:
        count = min(int(last), pinned.size)
        return (pinned.size - count, pinned.size, True) if count else None
    start = int(first)
    end = min(int(last) + 1, pinned.size) if last else pinned.size
    if last and int(last) < start:
        return whole
    return (start, end, True) if start < pinned.size else None


async def _piece(runtime: Runtime, pinned: Pinned, start: int, end: int) -> bytes:
    piece = await asyncio.to_thread(runtime.objects.get_piece, pinned.key, start, end)
    if piece.sha256 != pinned.sha256 or piece.size != pinned.size:
        raise Changed("Another object lies there now; ask for the clip's media again.")
    if len(piece.data) != end - start:
        raise Changed("The stored object ended early.")
    return piece.data


async def _rest(runtime: Runtime, pinned: Pinned, first: bytes, start: int, end: int) -> AsyncIterator[bytes]:
    yield first
    place = start + len(first)
    while place < end:
        data = await _piece(runtime, pinned, place, min(end, place + PIECE))
        yield data
        place += len(data)
