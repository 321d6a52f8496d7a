"""The chassis end to end, on real servers: event in, work in a child, event out."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import text

from contracts.events.v1.clip import ClipExportStarted
from contracts.events.v1.ingest import IngestRequested
from contracts.topics import DEAD_LETTERS, INGEST_REQUESTS, VIDEOS
from contracts.values import ObjectSource
from services.chassis.settings import ChassisSettings
from tests.support import toy, wire
from tests.support.services import WARM, at_work, publish, running


@pytest.fixture
def settings(servers, broker, tmp_path, monkeypatch) -> ChassisSettings:
    (tmp_path / "log").mkdir()
    monkeypatch.setenv("HEATERS_TOY_LOG", str(tmp_path / "log"))
    return ChassisSettings(
        **servers.settings(broker.address),
        temp_dir=tmp_path / "scratch",
        worker_concurrency=2,
        worker_lease="PT3S",
        worker_retry_base="PT0.1S",
        poll_interval="PT1S",
        generation_interval="PT0.3S",
        min_free_bytes=0,
    )


async def request(settings, name: str, does: str = "succeed") -> None:
    event = IngestRequested(source=ObjectSource(key="x"), title=does, idempotency_key=name)
    await publish(settings.kafka_bootstrap, event)


async def outcome_of(settings, name: str, timeout: float = 30.0):
    """The terminal event of a piece of toy work."""
    video = str(toy.derived_id("toy", name))

    def ends(records):
        return [
            record
            for record in records
            if json.loads(record.value)["video_id"] == video and "download_started" not in wire.type_of(record)
        ]

    records = await wire.read_all(settings.kafka_bootstrap, VIDEOS.name, until=ends, timeout=timeout)
    return json.loads(ends(records)[0].value)["failure"]


async def test_an_event_becomes_work_and_work_becomes_an_event(settings):
    async with running(toy.stage(), settings) as runtime:
        await request(settings, name := uuid4().hex)
        failure = await outcome_of(settings, name)
        assert failure["message"] == f"done {name}"
        async with runtime.engine.connect() as connection:
            row = (await connection.execute(text("SELECT state, report FROM work"))).one()
        assert row.state == "done"
        assert row.report["steps"].keys() == {"write"}


@pytest.mark.parametrize(
    ("does", "code"),
    [
        ("refuse", "toy.refused"),
        ("stumble", "toy.stumbled"),
        ("bug", "worker.unexpected"),
        ("swell", "worker.memory_limit"),
    ],
)
async def test_work_that_fails_ends_in_a_failure_event_with_its_code(settings, does, code):
    async with running(toy.stage(), settings):
        await request(settings, name := uuid4().hex, does)
        failure = await outcome_of(settings, name)
        assert failure["code"] == code
        assert failure["attempts"] == (1 if does == "refuse" else 3)


@pytest.mark.parametrize("does", ["once:crash", "once:stumble", "once:bug"])
async def test_work_that_fails_once_succeeds_at_the_next_go(settings, does):
    async with running(toy.stage(), settings):
        await request(settings, name := uuid4().hex, does)
        assert (await outcome_of(settings, name))["message"] == f"done {name}"


async def test_what_announces_work_has_imported_what_it_needs_before_it_is_there(settings):
    heard = asyncio.Event()

    async def only_hear(event, ledger):
        heard.set()

    quiet = toy.stage(handler=only_hear)
    async with running(quiet, settings):
        await request(settings, uuid4().hex)
        await asyncio.wait_for(heard.wait(), 20)
        await asyncio.sleep(0.3)
        assert not at_work(os.getpid(), WARM)
    async with running(replace(quiet, heralds=(IngestRequested,)), settings):
        await request(settings, uuid4().hex)
        async with asyncio.timeout(20):
            while not at_work(os.getpid(), WARM):
                await asyncio.sleep(0.05)
    assert not at_work(os.getpid(), WARM)


def test_a_stage_cannot_wait_for_an_announcement_that_it_does_not_read():
    with pytest.raises(TypeError, match="does not read the topic"):
        replace(toy.stage(), heralds=(ClipExportStarted,))


async def test_the_same_request_twice_is_done_once(settings, tmp_path):
    async with running(toy.stage(), settings):
        name = uuid4().hex
        await request(settings, name)
        await request(settings, name)
        await outcome_of(settings, name)
        await asyncio.sleep(0.5)
    assert len(list((tmp_path / "log").iterdir())) == 1


async def test_work_whose_result_is_already_stored_is_not_repeated(settings, tmp_path):
    async with running(toy.stage(), settings) as runtime:
        name = uuid4().hex
        await asyncio.to_thread(
            runtime.objects.put_bytes, b'{"text": "from before"}', f"toy/{name}/result.json", "application/json"
        )
        await request(settings, name)
        assert (await outcome_of(settings, name))["message"] == "from before"
    assert not list((tmp_path / "log").iterdir())


async def test_a_stored_result_that_cannot_be_read_is_made_again(settings, tmp_path):
    async with running(toy.stage(), settings) as runtime:
        name = uuid4().hex
        key = f"toy/{name}/result.json"
        await asyncio.to_thread(runtime.objects.put_bytes, b'{"other": 1}', key, "application/json")
        await request(settings, name)
        assert (await outcome_of(settings, name))["message"] == f"done {name}"
        assert await asyncio.to_thread(runtime.objects.get_bytes, key) == json.dumps({"text": f"done {name}"}).encode()


async def test_a_batch_is_done_by_one_child_and_each_item_has_its_own_outcome(settings):
    batch = toy.job(work="tests.support.toy:do_batch", batch=True)
    names = [uuid4().hex for _ in range(3)]
    async with running(toy.stage(batch), settings.model_copy(update={"worker_concurrency": 0})) as runtime:
        for name, does in zip(names, ["succeed", "refuse", "succeed"], strict=True):
            await request(settings, name, does)
        async with asyncio.timeout(10):
            while True:
                async with runtime.engine.connect() as connection:
                    if (await connection.execute(text("SELECT count(*) FROM work"))).scalar_one() == 3:
                        break
                await asyncio.sleep(0.05)
    async with running(toy.stage(batch), settings):
        outcomes = [await outcome_of(settings, name) for name in names]
    assert [outcome["code"] for outcome in outcomes] == ["toy.done", "toy.refused", "toy.done"]


async def test_cancelled_work_is_stopped_and_leaves_no_event(settings):
    async with running(toy.stage(), settings) as runtime:
        await request(settings, name := uuid4().hex, "sleep")
        video = toy.derived_id("toy", name)
        async with asyncio.timeout(20):
            while True:
                async with runtime.engine.connect() as connection:
                    progress = (await connection.execute(text("SELECT progress FROM work"))).scalar_one_or_none()
                if progress:
                    break
                await asyncio.sleep(0.1)
        assert progress["unit"] == "naps"
        async with runtime.transaction(cause="test") as ledger:
            assert await ledger.cancel(video_id=video) == 1
        async with asyncio.timeout(10):
            while list((settings.temp_dir / "ingest").iterdir()):
                await asyncio.sleep(0.1)
        async with runtime.engine.connect() as connection:
            rows = (
                (await connection.execute(text("SELECT type FROM outbox WHERE type LIKE '%download%'"))).scalars().all()
            )
        assert rows == ["heaters.video.download_started.v1"]


GARBAGE = [
    (b"\xff\xfe", []),
    (b"{}", [("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"no.such.type.v1")]),
    (b"{}", [("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"heaters.ingest.requested.v9")]),
    (b"{}", [("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"heaters.ingest.requested.v1")]),
    (b"{}", [("ce_id", b"\xff"), ("ce_source", b"x"), ("ce_type", b"heaters.ingest.requested.v1")]),
    (None, [("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"heaters.ingest.requested.v1")]),
]
CODES = {
    "message.missing_header",
    "message.unknown_type",
    "message.unknown_version",
    "message.invalid_body",
    "message.bad_header",
    "message.empty",
}


async def test_what_cannot_be_read_becomes_a_dead_letter_and_the_partition_goes_on(settings):
    mine = uuid4().hex.encode()
    async with running(toy.stage(), settings):
        async with wire.producer(settings.kafka_bootstrap) as producer:
            for value, headers in GARBAGE:
                await producer.send_and_wait(INGEST_REQUESTS.name, value, mine, partition=0, headers=headers)
        await request(settings, name := uuid4().hex)
        await outcome_of(settings, name)

        def letters(records):
            bodies = [json.loads(record.value) for record in records]
            return {body["dead_letter_id"]: body for body in bodies if body["key_base64"] == wire.base64(mine)}.values()

        records = await wire.read_all(
            settings.kafka_bootstrap, DEAD_LETTERS.name, until=lambda records: len(letters(records)) >= len(GARBAGE)
        )
    assert {body["code"] for body in letters(records)} == CODES
    assert len(letters(records)) == len(GARBAGE)


async def test_a_handler_that_raises_makes_a_dead_letter_and_the_next_message_is_handled(settings):
    seen = []

    async def accept(event, ledger):
        if event.title == "bad":
            raise ZeroDivisionError
        seen.append(event.idempotency_key)

    async with running(toy.stage(handler=accept), settings):
        await request(settings, bad := uuid4().hex, "bad")
        await request(settings, good := uuid4().hex, "good")
        async with asyncio.timeout(20):
            while good not in seen:
                await asyncio.sleep(0.05)

        def letters(records):
            bodies = [json.loads(record.value) for record in records]
            return [body for body in bodies if body["key_base64"] == wire.base64(bad.encode())]

        records = await wire.read_all(settings.kafka_bootstrap, DEAD_LETTERS.name, until=letters)
    assert letters(records)[0]["code"] == "handler.failed"


async def test_a_broker_that_lost_its_log_is_refilled_and_everything_still_arrives(settings, broker):
    async with running(toy.stage(), settings):
        await request(settings, before := uuid4().hex)
        await outcome_of(settings, before)
        broker.kill()
        await asyncio.to_thread(broker.start)
        # The request itself was lost with the log; what the service had published is there again.
        assert (await outcome_of(settings, before))["message"] == f"done {before}"
        await request(settings, after := uuid4().hex)
        assert (await outcome_of(settings, after))["message"] == f"done {after}"


async def test_work_of_a_runner_that_vanished_is_taken_over(settings):
    asleep = toy.stage()
    async with running(asleep, settings) as runtime:
        await request(settings, name := uuid4().hex, "once:sleep")
        async with asyncio.timeout(20):
            while True:
                async with runtime.engine.connect() as connection:
                    if (await connection.execute(text("SELECT progress FROM work"))).scalar_one_or_none():
                        break
                await asyncio.sleep(0.1)
    # Stopped in mid-work: the row still says that somebody has it.
    async with running(asleep, settings):
        assert (await outcome_of(settings, name))["message"] == f"done {name}"


async def test_work_that_depends_on_the_present_is_settled_before_its_marker_is_looked_up(settings):
    settling = toy.job(settle="tests.support.toy:settle")
    async with running(toy.stage(settling), settings) as runtime:
        await request(settings, name := uuid4().hex)
        assert (await outcome_of(settings, name))["message"] == f"done {name}-now"
        assert await asyncio.to_thread(runtime.objects.head, f"toy/{name}-now/result.json")
        await request(settings, name := uuid4().hex, "stumble")
        assert (await outcome_of(settings, name))["code"] == "toy.unsettled"
