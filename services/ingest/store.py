"""Which content is already known: one row for each distinct file, naming the video that brought it first.

The row is written in the transaction that finishes a fetch. Of two equal files that finish at once the second waits
for the first one's commit and then sees its row, so exactly one is the original.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from services.ingest.domain import FetchInput, FetchResult

# The update changes nothing; it locks the row that is there and returns it, which DO NOTHING would not.
_CLAIM = text("""
    INSERT INTO content (sha256, video_id, object_key, size) VALUES (:sha256, :video_id, :object_key, :size)
    ON CONFLICT (sha256) DO UPDATE SET sha256 = excluded.sha256
    RETURNING video_id
""")


async def record_content(session: AsyncSession, order: FetchInput, result: FetchResult) -> FetchResult | None:
    """Claims the content for the order's video, or tells in the result which video had it before."""
    if result.object is None:
        return None
    answer = await session.execute(
        _CLAIM,
        {
            "sha256": result.object.sha256,
            "video_id": order.video_id,
            "object_key": result.object.key,
            "size": result.object.size,
        },
    )
    original = UUID(str(answer.scalar_one()))
    if original == order.video_id:
        return None
    return result.model_copy(update={"duplicate_of": original})
