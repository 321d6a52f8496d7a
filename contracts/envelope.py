"""CloudEvents 1.0 over Kafka in binary mode, and ids that follow from their cause.

``to_kafka`` and ``from_kafka`` are inverse. Nothing here touches a broker. An event's id is a
``uuid5`` of what caused it, so that doing a thing twice publishes the same id twice.
Sources: CloudEvents Kafka Protocol Binding 1.0.2; W3C Trace Context.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid5

from pydantic import ValidationError

from contracts.catalog import BY_TYPE, Entry, entry_of
from contracts.errors import Permanent
from contracts.events.base import Event
from contracts.upcasts import upcast

NAMESPACE = UUID("6f2a3b0c-52c1-5a9e-9a53-0d8f0a4f7c11")
"""Root of every derived id."""

SPEC_VERSION = "1.0"
CONTENT_TYPE = "application/json"
MAX_BODY_BYTES = 1_000_000
"""Largest accepted body: just under Kafka's default message limit."""
SCHEMA_ROOT = "urn:heaters:schema:"

Headers = list[tuple[str, bytes]]


class Undecodable(Permanent):
    """A message that is no event of the published language; the code says in which way."""

    code = "message.undecodable"


@dataclass(frozen=True)
class KafkaMessage:
    """What goes on the wire."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers


@dataclass(frozen=True)
class Envelope:
    """An event with its CloudEvents attributes, as every consumer sees it: newest version only."""

    id: UUID
    source: str
    type: str
    subject: str
    time: datetime
    event: Event
    traceparent: str = ""
    tracestate: str = ""


def derived_id(*parts: object) -> UUID:
    """The id that follows from its causes: equal parts give the equal id, in every process and for ever."""
    return uuid5(NAMESPACE, "|".join(str(part) for part in parts))


_NUL = re.compile(rb"(?<!\\)((?:\\\\)*)\\u0000")


def without_nul(body: bytes) -> bytes:
    """A JSON text with every NUL character replaced: JSON may hold one, PostgreSQL's text may not."""
    # To look for it this way first takes a hundredth of the time, and hardly any text holds one.
    return _NUL.sub(rb"\1\\ufffd", body) if b"\\u0000" in body else body


def to_kafka(
    event: Event,
    *,
    event_id: UUID,
    source: str,
    time: datetime,
    traceparent: str = "",
    tracestate: str = "",
) -> KafkaMessage:
    """Spells an event for the wire; ``source`` is the producer's name, ``time`` aware."""
    entry = entry_of(event)
    headers: Headers = [
        ("ce_specversion", SPEC_VERSION.encode()),
        ("ce_id", str(event_id).encode()),
        ("ce_source", f"/heaters/{source}".encode()),
        ("ce_type", entry.type.encode()),
        ("ce_subject", event.subject.encode()),
        ("ce_time", time.astimezone(UTC).isoformat().replace("+00:00", "Z").encode()),
        ("ce_dataschema", f"{SCHEMA_ROOT}{entry.type}".encode()),
        ("content-type", CONTENT_TYPE.encode()),
    ]
    if traceparent:
        headers.append(("traceparent", traceparent.encode()))
    if tracestate:
        headers.append(("tracestate", tracestate.encode()))
    key = event.key.encode() if event.key else str(event_id).encode()
    return KafkaMessage(entry.topic.name, key, without_nul(event.model_dump_json().encode()), headers)


def from_kafka(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Envelope:
    """Reads an event off the wire, upcast to its newest version.

    Raises ``Undecodable`` with a code under ``message.`` that says what is wrong with it.
    """
    attributes = _text_headers(headers)
    entry = _entry(attributes)
    if value is None:
        raise Undecodable("The message has no body; publish the event as a JSON object.", code="message.empty")
    if len(value) > MAX_BODY_BYTES:
        raise Undecodable(
            f"The body has {len(value)} bytes, more than {MAX_BODY_BYTES}; put large data into the object store.",
            code="message.too_large",
        )
    try:
        event = upcast(entry.model.model_validate_json(without_nul(value)))
    except ValidationError as error:
        if error.errors()[0]["type"] == "json_invalid":
            raise Undecodable(f"The body is no JSON: {_first_errors(error)}.", code="message.not_json") from error
        raise Undecodable(
            f"The body does not fit {entry.type}: {_first_errors(error)}.", code="message.invalid_body"
        ) from error
    return Envelope(
        id=_uuid(attributes),
        source=attributes.get("ce_source", ""),
        type=entry.type,
        subject=attributes.get("ce_subject", event.subject),
        time=_time(attributes),
        event=event,
        traceparent=attributes.get("traceparent", ""),
        tracestate=attributes.get("tracestate", ""),
    )


def _text_headers(headers: Iterable[tuple[str, bytes]]) -> dict[str, str]:
    attributes = {}
    for name, raw in headers:
        try:
            attributes[name] = (raw or b"").decode()
        except UnicodeDecodeError as error:
            raise Undecodable(
                f"The header {name!r} is no UTF-8 text; CloudEvents headers are UTF-8.", code="message.bad_header"
            ) from error
    return attributes


def _entry(attributes: dict[str, str]) -> Entry:
    missing = [name for name in ("ce_id", "ce_type", "ce_source") if not attributes.get(name)]
    if missing:
        raise Undecodable(
            f"The message lacks the CloudEvents header(s) {', '.join(missing)}; is it an event at all?",
            code="message.missing_header",
        )
    if attributes.get("ce_specversion", SPEC_VERSION) != SPEC_VERSION:
        raise Undecodable(
            f"CloudEvents version {attributes['ce_specversion']!r} is not spoken here; send 1.0.",
            code="message.unknown_specversion",
        )
    entry = BY_TYPE.get(attributes["ce_type"])
    if entry is None:
        family = attributes["ce_type"].rpartition(".v")[0]
        if family and any(known.rpartition(".v")[0] == family for known in BY_TYPE):
            raise Undecodable(
                f"{attributes['ce_type']!r} is a version this system does not know; see contracts/schemas.",
                code="message.unknown_version",
            )
        raise Undecodable(
            f"{attributes['ce_type']!r} is no event type of the catalogue; see contracts/schemas.",
            code="message.unknown_type",
        )
    return entry


def _uuid(attributes: dict[str, str]) -> UUID:
    """Other systems may use ids that are no UUID: those are mapped onto one, always the same."""
    try:
        return UUID(attributes["ce_id"])
    except ValueError:
        return derived_id("foreign-id", attributes["ce_source"], attributes["ce_id"])


def _time(attributes: dict[str, str]) -> datetime:
    text = attributes.get("ce_time")
    if not text:
        return datetime.fromtimestamp(0, UTC)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise Undecodable(f"ce_time {text!r} is no RFC 3339 time.", code="message.bad_time") from error
    return time if time.tzinfo else time.replace(tzinfo=UTC)


def _first_errors(error: ValidationError) -> str:
    found = [f"{'.'.join(str(part) for part in item['loc']) or 'body'}: {item['msg']}" for item in error.errors()[:3]]
    return "; ".join(found)
