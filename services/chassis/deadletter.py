"""Turns a message that nobody can use into a dead letter: the reason, and every byte as it came."""

from __future__ import annotations

import base64
from datetime import datetime
from uuid import UUID

from aiokafka import ConsumerRecord

from contracts.envelope import derived_id
from contracts.events.v1.operations import DeadLetterRecorded, OriginalHeader

LARGEST_KEPT = 512 * 1024
"""Bytes of a body that are kept; more would not fit a message of its own."""


def dead_letter_of(
    record: ConsumerRecord, generation: UUID, consumer: str, code: str, reason: str, now: datetime
) -> DeadLetterRecorded:
    """The dead letter of a Kafka record. Its id follows from the record's position, so a redelivery gives the same one."""
    return DeadLetterRecorded(
        dead_letter_id=derived_id(
            "dead-letter", generation, record.topic, record.partition, record.offset, consumer if _handled(code) else ""
        ),
        consumer=consumer,
        topic=record.topic,
        partition=record.partition,
        offset=record.offset,
        code=code,
        reason=reason[:4000],
        key_base64=_spell(record.key),
        value_base64=_spell(record.value[:LARGEST_KEPT] if record.value is not None else None),
        headers=tuple(
            OriginalHeader(name=str(name)[:1000], value_base64=_spell(value) or "") for name, value in record.headers
        ),
        recorded_at=now,
    )


def _handled(code: str) -> bool:
    """A message that decodes may fail in one service and succeed in another: those letters are told apart."""
    return not code.startswith("message.")


def _spell(value: bytes | None) -> str | None:
    return None if value is None else base64.b64encode(value).decode()
