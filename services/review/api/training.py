"""Routes to training sets: delivered clips as WebDataset shards, and an index of them as Parquet.

Nothing is kept: a set follows from what is delivered now and from what was asked. Its digest names it, so that shards asked
for one after the other are of one set, or of none.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlencode
from uuid import UUID

from fastapi import FastAPI, Path, Query
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel, Field, TypeAdapter
from sqlalchemy import text

from contracts.values import Deliverable, FrameRange
from services.review import training
from services.review.domain.clip import APPROVED_STATES
from services.review.domain.marks import Refused

if TYPE_CHECKING:
    from services.chassis.runtime import Runtime

MOST_SAMPLES = 25_000
MOST_CLIPS = 500
READ = 1_000
"""Clips that are read in one go."""
DELIVERED = tuple(sorted(state.value for state in APPROVED_STATES))
_DELIVERABLES = TypeAdapter(tuple[Deliverable, ...])
# Values are named only where they are asked for: a condition that may be empty would hide its index.
_CLIPS = """
    SELECT clip.id, clip.video_id, clip.start_frame, clip.end_frame, clip.tags, clip.note, video.title, video.rate, video.source,
        clip.facts->'exported'->'deliverables' AS deliverables
    FROM clip JOIN video ON video.id = clip.video_id
    WHERE NOT clip.is_virtual AND clip.state = ANY(:states) AND clip.id > :after %s ORDER BY clip.id LIMIT :limit
"""


class Asked(BaseModel):
    """Which clips a set holds, and how large its shards are."""

    video: Annotated[list[UUID] | None, Field(max_length=100, description="Only clips of these videos.")] = None
    clip: Annotated[list[UUID] | None, Field(max_length=MOST_CLIPS, description="Only these clips.")] = None
    tag: Annotated[
        str | None, Field(min_length=1, max_length=100, pattern=r"^[^\x00]*$", description="Only clips with this tag.")
    ] = None
    profile: Annotated[
        str | None,
        Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$", description="The deliverable taken; the first without it."),
    ] = None
    shard_bytes: Annotated[
        int, Field(ge=1_000_000, le=100_000_000_000, description="Bytes of delivered files that a shard holds at most.")
    ] = 1_000_000_000

    def address(self, name: str, digest: str) -> str:
        """Where a file of this set is had."""
        asked = {**self.model_dump(mode="json", exclude_none=True), "digest": digest}
        return f"/api/training-set/{name}?{urlencode(asked, doseq=True)}"


class AskedFile(Asked):
    """A file of such a set."""

    digest: Annotated[
        str | None, Field(max_length=64, description="The set that is meant; refused if it is another by now.")
    ] = None


class ShardOut(BaseModel):
    """One shard: how many samples it has, and how many bytes of delivered files."""

    name: str
    samples: int
    bytes: int
    url: str


class TrainingSetOut(BaseModel):
    """A training set as it would be made now. ``digest`` tells it from any other."""

    digest: str
    samples: int
    bytes: int
    shards: list[ShardOut]
    index: Annotated[str, Field(description="Address of the index, as Parquet.")]


Name = Annotated[str, Path(pattern=r"^([0-9]{5}\.tar|index\.parquet)$", description="A shard, or index.parquet.")]


def add_training(app: FastAPI, runtime: Runtime) -> None:
    """Adds the routes."""

    async def made(asked: Asked) -> tuple[list[training.Shard], str]:
        samples = [sample async for sample in _samples(runtime, asked)]
        return await asyncio.to_thread(_laid_out, samples, asked.shard_bytes)

    @app.get("/api/training-set", tags=["interchange"])
    async def training_set(asked: Annotated[Asked, Query()]) -> TrainingSetOut:
        """The training set of the clips that were approved and delivered: its shards, and where to get them."""
        shards, digest = await made(asked)
        return TrainingSetOut(
            digest=digest,
            samples=sum(len(shard.samples) for shard in shards),
            bytes=sum(shard.size for shard in shards),
            shards=[
                ShardOut(
                    name=shard.name,
                    samples=len(shard.samples),
                    bytes=shard.size,
                    url=asked.address(shard.name, digest),
                )
                for shard in shards
            ],
            index=asked.address(training.INDEX, digest),
        )

    @app.get("/api/training-set/{name}", tags=["interchange"], response_class=Response)
    async def training_file(name: Name, asked: Annotated[AskedFile, Query()]) -> Response:
        """A shard (a tar that WebDataset reads) or the index (Parquet), as it is made."""
        shards, found = await made(asked)
        if asked.digest not in (None, found):
            raise Refused("Other clips are delivered by now; ask for the set again.", code="training.changed")
        headers = {"ETag": f'"{found}-{name}"', "Content-Disposition": f'attachment; filename="{name}"'}
        if name == training.INDEX:
            return Response(await _index(shards), media_type="application/vnd.apache.parquet", headers=headers)
        shard = next((shard for shard in shards if shard.name == name), None)
        if shard is None:
            raise Refused(
                f"The set has {len(shards)} shards and no {name}; its layout names them.", code="training.unknown_shard"
            )
        # Read in threads, a piece at a time.
        return StreamingResponse(
            training.pack(shard, runtime.objects.get_range), media_type="application/x-tar", headers=headers
        )


def _laid_out(samples: list[training.Sample], most: int) -> tuple[list[training.Shard], str]:
    shards = training.shards_of(samples, most)
    return shards, training.digest_of(shards)


async def _samples(runtime: Runtime, asked: Asked) -> AsyncIterator[training.Sample]:
    """The clips that were asked for, as samples, by their ids. Raises ``Refused`` when there are none, or too many."""
    conditions = ""
    values: dict[str, Any] = {"states": list(DELIVERED), "limit": READ, "after": UUID(int=0)}
    for condition, name, value in (
        ("clip.video_id = ANY(:videos)", "videos", asked.video),
        ("clip.id = ANY(:clips)", "clips", asked.clip),
        ("clip.tags @> ARRAY[cast(:tag AS text)]", "tag", asked.tag),
    ):
        if value is not None:
            conditions += f" AND {condition}"
            values[name] = value
    query = text(_CLIPS % conditions)
    count = 0
    while True:
        async with runtime.transaction() as ledger:
            found = (await ledger.session.execute(query, values)).all()
        for row in found:
            bundle = training.chosen(_DELIVERABLES.validate_python(row.deliverables or ()), asked.profile)
            if bundle is None or row.rate is None:
                continue
            count += 1
            if count > MOST_SAMPLES:
                raise Refused(
                    f"A training set has at most {MOST_SAMPLES} samples; ask for some videos or a tag.",
                    code="training.too_large",
                )
            yield training.Sample(
                clip_id=row.id,
                video_id=row.video_id,
                title=row.title,
                source=(row.source or {}).get("url") or (row.source or {}).get("name") or "",
                frames=FrameRange(start=row.start_frame, end=row.end_frame),
                rate=Fraction(row.rate),
                tags=tuple(row.tags),
                note=row.note,
                deliverable=bundle,
            )
        if len(found) < READ:
            break
        values["after"] = found[-1].id
    if not count:
        raise Refused("No clip like that is delivered yet; approve some, and ask again.", code="training.empty")


async def _index(shards: list[training.Shard]) -> bytes:
    """The index, written by a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HEATERS_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.review.training_index",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
    )
    try:
        spelt = b"".join(json.dumps(row).encode() + b"\n" for row in training.rows(shards))
        written, _ = await process.communicate(spelt)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise training.SampleChanged("The index could not be written; try again.", code="training.no_index")
    return written
