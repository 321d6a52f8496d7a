"""The routes of uploads. Calls of the store happen in threads, and outside no lock but the upload's own row."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal
from uuid import UUID

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field, StringConstraints

from contracts.values import Sha256, UploadSource
from services.chassis.objects import ObjectMissing
from services.review.api.shapes import Body
from services.review.uploads import Upload, UploadRefused, announced, begun, find, keep, known, missing_parts

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime


class UploadBody(Body):
    """A file to come."""

    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
    size: Annotated[int, Field(ge=0, le=1 << 53, description="Bytes.")]
    content_type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.+-]{1,100}/[A-Za-z0-9.+-]{1,100}$")] = (
        "application/octet-stream"
    )
    sha256: Annotated[Sha256 | None, Field(description="Its digest where known; ingest then proves it.")] = None
    fingerprint: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = Field(
        default=None,
        description="The sender's own name for exactly this file. Announced again, the upload goes on where it stopped.",
    )


class UploadOut(BaseModel):
    """An upload: part n holds the bytes from (n - 1) * part_bytes to min(n * part_bytes, size)."""

    upload_id: UUID
    name: str
    size: int
    part_bytes: int
    parts: int
    have: Annotated[list[int], Field(description="Parts that have arrived whole; send the others.")]
    received: Annotated[int, Field(description="Bytes that have arrived.")]
    state: Literal["open", "complete"]
    direct: Annotated[bool, Field(description="Whether a page may send parts to the signed addresses.")]
    source: Annotated[UploadSource, Field(description="What a request for ingest takes, once the upload is complete.")]


class PartsBody(Body):
    """Which parts to get addresses for."""

    numbers: Annotated[list[Annotated[int, Field(ge=1, le=10_000)]], Field(min_length=1, max_length=200)]


class PartOut(BaseModel):
    """One part: PUT its bytes to the address, with no header needed."""

    number: int
    size: int
    url: str


class PartsOut(BaseModel):
    """Addresses, valid for ``expires_in`` seconds."""

    expires_in: int
    parts: list[PartOut]


class PartResult(BaseModel):
    """A part that has arrived."""

    number: int
    size: int


def add_uploads(app: FastAPI, runtime: Runtime) -> None:
    """Adds the routes under ``/api/uploads``."""
    settings = runtime.settings
    scratch = Path(settings.temp_dir) / "parts"
    scratch.mkdir(parents=True, exist_ok=True)

    def spelt(upload: Upload, sizes: dict[int, int]) -> UploadOut:
        whole = upload.state == "complete"
        absent = set() if whole else set(missing_parts(upload, sizes))
        have = [number for number in range(1, upload.parts + 1) if number not in absent]
        return UploadOut(
            upload_id=upload.id,
            name=upload.name,
            size=upload.size,
            part_bytes=upload.part_bytes,
            parts=upload.parts,
            have=have,
            received=sum(upload.size_of(number) for number in have),
            state="complete" if whole else "open",
            direct=settings.review_direct_uploads,
            source=UploadSource(upload_id=upload.id, name=upload.name),
        )

    async def arrived(upload: Upload) -> dict[int, int]:
        if upload.state == "complete":
            return {}
        return await asyncio.to_thread(runtime.objects.parts, upload.object_key, upload.handle)

    async def still_there(upload: Upload) -> dict[int, int] | None:
        """The parts that the store has of a known upload; nothing if it has lost it or it was given up."""
        if upload.state == "complete":
            return {} if await asyncio.to_thread(runtime.objects.head, upload.object_key) else None
        try:
            return await arrived(upload) if upload.state == "open" else None
        except ObjectMissing:
            # Stores forget uploads that nobody goes on with; it then starts afresh.
            return None

    async def open_one(upload_id: UUID) -> Upload:
        async with runtime.transaction() as ledger:
            upload = await find(ledger.session, upload_id)
        if upload.state != "open":
            raise UploadRefused(f"{upload.name!r} is complete; nothing more is taken.", code="upload.complete")
        return upload

    @app.post("/api/uploads", tags=["uploads"], status_code=201, responses={200: {"description": "Known already."}})
    async def create(body: UploadBody, response: Response) -> UploadOut:
        """Announces a file; the same fingerprint again finds the same upload, with the parts that have arrived."""
        if body.size == 0:
            raise UploadRefused(f"{body.name!r} is empty; choose another file.", code="upload.empty")
        if body.size > settings.review_max_upload_bytes:
            raise UploadRefused(
                f"{body.name!r} has {body.size} bytes; this installation takes {settings.review_max_upload_bytes}. "
                "Send a smaller file, or raise HEATERS_REVIEW_MAX_UPLOAD_BYTES.",
                code="upload.too_large",
            )
        wanted = announced(
            name=body.name,
            size=body.size,
            part_bytes=settings.review_part_bytes,
            content_type=body.content_type,
            sha256=body.sha256 or "",
            fingerprint=body.fingerprint,
        )
        async with runtime.transaction() as ledger:
            upload = await known(ledger.session, wanted.id)
        sizes = None if upload is None else await still_there(upload)
        if upload is not None and sizes is not None:
            response.status_code = 200
            return spelt(upload, sizes)
        opened = await asyncio.to_thread(begun, wanted, runtime.objects)
        async with runtime.transaction() as ledger:
            other = await known(ledger.session, wanted.id)
            was_quicker = (
                other is not None and other.state == "open" and (upload is None or other.handle != upload.handle)
            )
            if not was_quicker:
                await keep(ledger.session, opened, ledger.now)
        if was_quicker and other is not None:
            await asyncio.to_thread(runtime.objects.abort_upload, opened.object_key, opened.handle)
            return spelt(other, await arrived(other))
        return spelt(opened, {})

    @app.get("/api/uploads/{upload_id}", tags=["uploads"])
    async def show(upload_id: UUID) -> UploadOut:
        """What has arrived of an upload."""
        async with runtime.transaction() as ledger:
            upload = await find(ledger.session, upload_id)
        return spelt(upload, await arrived(upload))

    @app.post("/api/uploads/{upload_id}/parts", tags=["uploads"])
    async def addresses(upload_id: UUID, body: PartsBody) -> PartsOut:
        """Signed addresses to send parts to, straight to the object store."""
        upload = await open_one(upload_id)
        lifetime = settings.media_url_lifetime
        return PartsOut(
            expires_in=int(lifetime.total_seconds()),
            parts=[
                PartOut(
                    number=number,
                    size=upload.size_of(number),
                    url=runtime.objects.presign_part(upload.object_key, upload.handle, number, lifetime),
                )
                for number in body.numbers
            ],
        )

    @app.put(
        "/api/uploads/{upload_id}/parts/{number}",
        tags=["uploads"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
            }
        },
    )
    async def send(upload_id: UUID, number: int, request: Request) -> PartResult:
        """Takes a part through the service, for pages whose store lies at another origin. Its body is the part's bytes."""
        upload = await open_one(upload_id)
        size = upload.size_of(number)
        with tempfile.NamedTemporaryFile(dir=scratch, prefix="part-") as file:
            taken = 0
            async for chunk in request.stream():
                taken += len(chunk)
                if taken > size:
                    break
                await asyncio.to_thread(file.write, chunk)
            file.flush()
            if taken != size:
                raise UploadRefused(
                    f"Part {number} of {upload.name!r} has {size} bytes, not {'more' if taken > size else taken}; send "
                    "it again.",
                    code="upload.wrong_part",
                )
            await asyncio.to_thread(
                runtime.objects.upload_part, upload.object_key, upload.handle, number, Path(file.name)
            )
        return PartResult(number=number, size=size)

    @app.post("/api/uploads/{upload_id}/complete", tags=["uploads"])
    async def complete(upload_id: UUID) -> UploadOut:
        """Puts the parts together; refused while any is missing. Twice is once."""
        async with runtime.transaction() as ledger:
            upload = await find(ledger.session, upload_id)
        if upload.state == "complete":
            return spelt(upload, {})
        try:
            absent = missing_parts(upload, await arrived(upload))
            if not absent:
                # No transaction is open meanwhile: a store may take minutes to put a large object together.
                await asyncio.to_thread(runtime.objects.finish_upload, upload.object_key, upload.handle)
        except ObjectMissing:
            # Somebody else, or a call that died before its commit, has put it together already.
            there = await asyncio.to_thread(runtime.objects.head, upload.object_key)
            if there is None or there.size != upload.size:
                raise
            absent = []
        if absent:
            some = ", ".join(str(number) for number in absent[:20])
            raise UploadRefused(
                f"{len(absent)} of {upload.parts} parts of {upload.name!r} are missing ({some}); send them first.",
                code="upload.incomplete",
            )
        upload = replace(upload, state="complete")
        async with runtime.transaction() as ledger:
            await keep(ledger.session, upload, ledger.now)
        return spelt(upload, {})

    @app.delete("/api/uploads/{upload_id}", tags=["uploads"], status_code=204)
    async def abort(upload_id: UUID) -> None:
        """Gives an upload up and throws away what has arrived. One that is complete stays: a request may name it."""
        async with runtime.transaction() as ledger:
            upload = await known(ledger.session, upload_id)
            if upload is None or upload.state == "aborted":
                return
            if upload.state == "complete":
                raise UploadRefused(f"{upload.name!r} is complete; archive its video instead.", code="upload.complete")
            await keep(ledger.session, replace(upload, state="aborted"), ledger.now)
        await asyncio.to_thread(runtime.objects.abort_upload, upload.object_key, upload.handle)
