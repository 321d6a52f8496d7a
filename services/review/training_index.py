"""Writes the index of a training set as Parquet: rows as JSON lines on stdin, the file on stdout. A process of its own.

The library that writes Parquet is large and is loaded here alone, so that the service stays small.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from itertools import islice
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 5_000
"""Rows that are held, and written as one group."""

SCHEMA = pa.schema(
    [
        ("shard", pa.string()),
        ("key", pa.string()),
        ("clip_id", pa.string()),
        ("video_id", pa.string()),
        ("title", pa.string()),
        ("source", pa.string()),
        ("start_frame", pa.int64()),
        ("end_frame", pa.int64()),
        ("frames", pa.int64()),
        ("rate", pa.string()),
        ("start_seconds", pa.float64()),
        ("end_seconds", pa.float64()),
        ("tags", pa.list_(pa.string())),
        ("note", pa.string()),
        ("profile", pa.string()),
        ("verdict", pa.string()),
        ("media", pa.string()),
        ("bytes", pa.int64()),
        ("sha256", pa.string()),
        ("languages", pa.list_(pa.string())),
    ]
)


def write(lines: Iterable[bytes], target: IO[bytes]) -> None:
    """Writes the rows; the same rows give the same bytes."""
    with pq.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
        left = iter(lines)
        while part := [json.loads(line) for line in islice(left, ROWS)]:
            writer.write_table(pa.Table.from_pylist(part, schema=SCHEMA))


if __name__ == "__main__":
    write(sys.stdin.buffer, sys.stdout.buffer)
