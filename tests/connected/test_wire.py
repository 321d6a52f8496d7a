"""What other systems see: plain Kafka clients, CloudEvents headers, bodies that fit the checked-in schemas.

Nothing of the house is used to read or write here but the schema files.
"""

from __future__ import annotations

import asyncio
import json
import random
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import jsonschema
import pytest

from tests.support import wire
from tests.support.media_files import FIXTURES, unique

SCHEMAS = {
    path.stem: json.loads(path.read_text())
    for path in (Path(__file__).parents[2] / "contracts" / "schemas").glob("*.json")
}
TOPICS = (
    "heaters-ingest-requests",
    "heaters-videos",
    "heaters-clips",
    "heaters-progress",
    "heaters-dead-letters",
    "heaters-generation",
)
VIDEO = FIXTURES / "psd_counter_1080p10_30frames.mp4"
LETTER = "heaters.dead_letter.recorded.v1"
SCENES = "heaters.video.scenes_detected"
LAST = "heaters.clip.embedded.v1"
GARBAGE = {
    "bytes": (b"\xff\xfe\x00", []),
    "unknown type": (
        b"{}",
        [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/x"), ("ce_type", b"com.example.nothing.v1")],
    ),
    "wrong version": (
        b"{}",
        [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"/x"), ("ce_type", b"heaters.clip.created.v77")],
    ),
    "header that is no text": (
        b"{}",
        [
            ("ce_specversion", b"1.0"),
            ("ce_id", b"\xff\xfe"),
            ("ce_source", b"/x"),
            ("ce_type", b"heaters.clip.created.v1"),
        ],
    ),
}


def headers_of(record) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def check(record) -> None:
    headers = headers_of(record)
    assert headers["ce_specversion"] == "1.0"
    UUID(headers["ce_id"])
    assert headers["ce_source"].startswith("/heaters/")
    assert headers["ce_subject"]
    assert datetime.fromisoformat(headers["ce_time"]).tzinfo is not None
    assert headers["ce_dataschema"] == SCHEMAS[headers["ce_type"]]["$id"]
    assert headers["content-type"] == "application/json"
    jsonschema.validate(json.loads(record.value), SCHEMAS[headers["ce_type"]], cls=jsonschema.Draft202012Validator)


@pytest.fixture(scope="module")
def records(stack, tmp_path_factory):
    """Everything on every topic after a request that was written by hand took a video all the way."""
    key = f"uploads/by-hand/{uuid4().hex}.mp4"
    stack.store().put_file(unique(VIDEO, tmp_path_factory.mktemp("wire")), key, "video/mp4")
    request = {
        "source": {"kind": "object", "key": key},
        "title": f"By hand {uuid4().hex[:6]}",
        "options": {"review": "auto"},
        "idempotency_key": uuid4().hex,
    }

    async def go():
        async with wire.producer(stack.bootstrap) as producer:
            await producer.send_and_wait(
                "heaters-ingest-requests",
                json.dumps(request).encode(),
                headers=[
                    ("ce_specversion", b"1.0"),
                    ("ce_id", uuid4().hex.encode()),
                    ("ce_source", b"/heaters/somebody-else"),
                    ("ce_type", b"heaters.ingest.requested.v1"),
                    ("ce_subject", b"request"),
                    ("ce_time", b"2026-01-02T03:04:05Z"),
                    ("ce_dataschema", SCHEMAS["heaters.ingest.requested.v1"]["$id"].encode()),
                    ("content-type", b"application/json"),
                ],
            )

    asyncio.run(go())
    video_id = stack.wait(
        lambda: stack.query("SELECT id::text FROM review.video WHERE title = %s", request["title"]),
        what="the video to be accepted",
    )[0]["id"]
    stack.wait(lambda: stack.finished(video_id), what="the video to be finished")
    clips = len(stack.clips(video_id))

    def lasts(found):
        return [
            event
            for event in (json.loads(record.value) for record in found if wire.type_of(record) == LAST)
            if event["video_id"] == video_id
        ]

    def over(found):
        # Topics are read side by side: the end of one says nothing of another.
        scenes = [record for record in found if wire.type_of(record).startswith(SCENES)]
        return len(lasts(found)) >= clips and any(json.loads(record.value)["video_id"] == video_id for record in scenes)

    found = asyncio.run(wire.read_all(stack.bootstrap, *TOPICS, until=over))
    # Another test on this stack publishes this on purpose; whatever else is there must be an event.
    found = [record for record in found if record.value != wire.NO_EVENT]
    return found, lasts(found)[-1]


def test_a_request_written_by_hand_takes_a_video_all_the_way(records):
    _, last = records
    assert "models" in last, last


def test_every_event_has_cloudevents_headers_and_fits_its_schema(records):
    found, _ = records
    for record in found:
        check(record)


def test_the_events_of_one_video_share_a_partition_and_come_in_order(records):
    found, last = records
    mine = [
        record
        for record in found
        if record.topic == "heaters-videos" and json.loads(record.value)["video_id"] == last["video_id"]
    ]
    assert len({record.partition for record in mine}) == 1
    types = [wire.type_of(record).split(".")[2] for record in sorted(mine, key=lambda record: record.offset)]
    expected = ["accepted", "download_started", "downloaded", "proxied", "scenes_detected"]
    assert [name for name in types if name in expected] == expected


def test_every_event_of_a_clip_carries_the_clips_own_trace(records):
    found, last = records
    for record in found:
        if record.topic == "heaters-clips" and json.loads(record.value)["clip_id"] == last["clip_id"]:
            assert headers_of(record)["traceparent"].split("-")[1] == UUID(last["clip_id"]).hex


@pytest.mark.parametrize("topic", TOPICS)
def test_garbage_on_a_topic_becomes_dead_letters_with_reasons_and_the_partition_goes_on(stack, records, topic):
    mine = uuid4().hex.encode()

    def letters(found):
        bodies = [json.loads(record.value) for record in found if wire.type_of(record) == LETTER]
        return {body["dead_letter_id"]: body for body in bodies if body["key_base64"] == wire.base64(mine)}

    async def go():
        async with wire.producer(stack.bootstrap) as producer:
            for value, headers in GARBAGE.values():
                await producer.send_and_wait(topic, value, mine, headers=headers)
        return await wire.read_all(
            stack.bootstrap, "heaters-dead-letters", until=lambda found: len(letters(found)) >= len(GARBAGE), timeout=60
        )

    found = letters(asyncio.run(go()))
    assert {body["code"] for body in found.values()} == {
        "message.missing_header",
        "message.unknown_type",
        "message.unknown_version",
        "message.bad_header",
    }
    assert all(body["topic"] == topic and body["reason"] for body in found.values())


@pytest.mark.scaled
def test_every_event_of_a_video_again_and_shuffled_changes_nothing(stack, records, scale):
    found, last = records
    events = [
        record
        for record in found
        if record.topic == "heaters-ingest-requests"
        or (
            record.topic in {"heaters-videos", "heaters-clips"}
            and json.loads(record.value).get("video_id") == last["video_id"]
        )
    ]
    assert len(events) > 15

    def state():
        return (
            stack.query("SELECT id, state, title, frames FROM review.video ORDER BY id"),
            stack.query("SELECT id, state, version, start_frame, end_frame FROM review.clip ORDER BY id"),
            [
                stack.query(f"SELECT id, state, run FROM {service}.work ORDER BY id")
                for service in ("ingest", "preprocess", "scenes", "export", "embed")
            ],
        )

    before = state()
    again = [record for record in events for _ in range(scale(2, 10))]
    random.Random(7).shuffle(again)
    marker = uuid4().hex

    async def go():
        async with wire.producer(stack.bootstrap) as producer:
            for record in again:
                await producer.send(record.topic, record.value, record.key, headers=list(record.headers))
            await producer.flush()
            # Garbage behind them on every partition: once it is reported, everything before it was handled.
            partitions = [
                (topic, partition)
                for topic in ("heaters-ingest-requests", "heaters-videos", "heaters-clips")
                for partition in await producer.partitions_for(topic)
            ]
            for topic, partition in partitions:
                await producer.send_and_wait(topic, b"end", marker.encode(), partition=partition)

        def reported(found):
            letters = [json.loads(record.value) for record in found if wire.type_of(record) == LETTER]
            ends = {body["dead_letter_id"] for body in letters if body["key_base64"] == wire.base64(marker.encode())}
            return len(ends) == len(partitions)

        await wire.read_all(stack.bootstrap, "heaters-dead-letters", until=reported, timeout=120)
        await asyncio.sleep(2)

    asyncio.run(go())
    assert state() == before
