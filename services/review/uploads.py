"""Uploads in parts, of any size and resumable: announced here, sent to the object store, put together here.

Guarantees: an upload's id follows from what the sender calls it (its fingerprint), so that announcing the same file again
finds what has already arrived; a part may be sent again and again; nothing counts as complete before every part has its
exact size; completing and aborting twice change nothing. The rows are the only record of what lies under ``uploads/<id>/``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Literal
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from contracts.envelope import derived_id
from contracts.errors import Permanent

if TYPE_CHECKING:
    from services.chassis.objects import ObjectStore

MOST_PARTS = 10_000
"""S3 takes no more parts of one object."""

_GRAIN = 1 << 20
_ROW = "id, name, size, part_bytes, content_type, sha256, object_key, handle, state"
_FIND = text(f"SELECT {_ROW} FROM upload WHERE id = :id FOR UPDATE")  # noqa: S608 - a constant.
_KEEP = text("""
    INSERT INTO upload (id, name, size, part_bytes, content_type, sha256, object_key, handle, state, created_at, changed_at)
    VALUES (:id, :name, :size, :part_bytes, :content_type, :sha256, :object_key, :handle, :state, :now, :now)
    ON CONFLICT (id) DO UPDATE SET handle = excluded.handle, state = excluded.state, part_bytes = excluded.part_bytes,
        changed_at = excluded.changed_at
""")


class UploadRefused(Permanent):
    """What was asked of an upload cannot be done."""

    code = "upload.refused"


@dataclass(frozen=True)
class Upload:
    """An upload as announced. Its parts are counted from 1; all but the last have ``part_bytes`` bytes."""

    id: UUID
    name: str
    size: int
    part_bytes: int
    content_type: str
    sha256: str
    object_key: str
    handle: str
    state: Literal["open", "complete", "aborted"]

    @property
    def parts(self) -> int:
        """How many parts there are in all."""
        return -(-self.size // self.part_bytes)

    def size_of(self, number: int) -> int:
        """Bytes of one part.

        Raises:
            UploadRefused: ``upload.wrong_part`` if there is no such part.
        """
        if not 1 <= number <= self.parts:
            raise UploadRefused(
                f"{self.name!r} has the parts 1 to {self.parts}; there is no part {number}.", code="upload.wrong_part"
            )
        return min(self.part_bytes, self.size - (number - 1) * self.part_bytes)


def announced(
    *, name: str, size: int, part_bytes: int, content_type: str, sha256: str, fingerprint: str | None
) -> Upload:
    """The upload that an announcement means, not yet opened in the store. Pure but for the id of one without fingerprint."""
    identity = derived_id("upload", fingerprint, size, name, sha256) if fingerprint else uuid4()
    smallest = -(-size // MOST_PARTS)
    part_bytes = max(part_bytes, -(-smallest // _GRAIN) * _GRAIN)
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._")[-120:] or "video"
    return Upload(identity, name, size, part_bytes, content_type, sha256, f"uploads/{identity}/{safe}", "", "open")


async def find(session: AsyncSession, upload_id: UUID) -> Upload:
    """The upload, locked until the transaction ends.

    Raises:
        UploadRefused: ``upload.unknown``.
    """
    row = (await session.execute(_FIND, {"id": upload_id})).one_or_none()
    if row is None or row.state == "aborted":
        raise UploadRefused(f"There is no upload {upload_id}; announce the file again.", code="upload.unknown")
    return Upload(*row)


async def keep(session: AsyncSession, upload: Upload, now: datetime) -> None:
    """Remembers an upload as it now is."""
    await session.execute(_KEEP, {**upload.__dict__, "now": now})


async def known(session: AsyncSession, upload_id: UUID) -> Upload | None:
    """The upload under an id, whatever its state, locked; nothing if it was never announced."""
    row = (await session.execute(_FIND, {"id": upload_id})).one_or_none()
    return None if row is None else Upload(*row)


def begun(upload: Upload, objects: ObjectStore) -> Upload:
    """The upload, opened in the store."""
    return replace(
        upload, state="open", handle=objects.begin_upload(upload.object_key, upload.content_type, sha256=upload.sha256)
    )


def missing_parts(upload: Upload, sizes: dict[int, int]) -> Sequence[int]:
    """The parts that have not arrived whole."""
    return [number for number in range(1, upload.parts + 1) if sizes.get(number) != upload.size_of(number)]
