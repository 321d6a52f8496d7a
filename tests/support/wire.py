"""Plain Kafka clients for tests: they know CloudEvents and the topics, not the house's code."""

from __future__ import annotations

import asyncio
import base64 as codec
import contextlib

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

NO_EVENT = b"no event"
"""A body that tests publish to see it refused."""


@contextlib.asynccontextmanager
async def producer(bootstrap: str):
    client = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    await client.start()
    try:
        yield client
    finally:
        await client.stop()


async def read_all(bootstrap: str, *topics: str, until, timeout: float = 30.0):
    """Every record of the topics from their beginning, until ``until(records)`` holds."""
    consumer = AIOKafkaConsumer(
        *topics, bootstrap_servers=bootstrap, group_id=None, auto_offset_reset="earliest", fetch_max_wait_ms=20
    )
    await consumer.start()
    records = []
    try:
        async with asyncio.timeout(timeout):
            while not until(records):
                batches = await consumer.getmany(timeout_ms=200)
                for batch in batches.values():
                    records.extend(batch)
    except TimeoutError:
        raise AssertionError(
            f"waited {timeout} s; saw {[dict(record.headers).get('ce_type') for record in records]}"
        ) from None
    finally:
        await consumer.stop()
    return records


def type_of(record) -> str:
    return dict(record.headers).get("ce_type", b"").decode(errors="replace")


def base64(raw: bytes) -> str:
    return codec.b64encode(raw).decode()
