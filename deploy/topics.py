"""Creates the Kafka topics and the record that names the broker's life.

Consumers run with automatic topic creation off, so this runs before them: as a job in the scaled-out stack, and as a
call by the embedded stack's supervisor. It guarantees: every topic of ``contracts.topics`` exists afterwards; nothing
that exists is changed; and the generation topic holds a record, the same one for every caller. A broker that lost its
log gets another generation, by which the services see that what they had published is gone.

    python -m deploy.topics --bootstrap kafka:9092 --replication 3
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaConnectionError, KafkaError, TopicAlreadyExistsError, for_code

from contracts.envelope import Undecodable, from_kafka, to_kafka
from contracts.events.v1.operations import BrokerStarted
from contracts.topics import DEAD_LETTERS, GENERATION, TOPICS, Topic

CONNECT_TIMEOUT = timedelta(seconds=60)
"""How long a broker that is still starting is waited for."""

READ_TIMEOUT = timedelta(seconds=10)
"""How long a record that the broker says it has may take to arrive."""

UNLIMITED = "-1"
MAX_MESSAGE_BYTES = 1_000_000
DEAD_LETTER_MARGIN_BYTES = 200_000
"""A dead letter is the refused message and its reason, so its topic takes a little more than the others."""


class TopicsError(Exception):
    """The broker refused a topic, or did not answer; the message says which and what to do."""


def config_of(topic: Topic) -> dict[str, str]:
    """The broker's settings of a topic, by Kafka's own names."""
    limit = MAX_MESSAGE_BYTES + (DEAD_LETTER_MARGIN_BYTES if topic is DEAD_LETTERS else 0)
    config = {"max.message.bytes": str(limit)}
    if topic.retention is None:
        return config | {"cleanup.policy": "compact", "retention.ms": UNLIMITED, "retention.bytes": UNLIMITED}
    retention = topic.retention // timedelta(milliseconds=1)
    return config | {"cleanup.policy": "delete", "retention.ms": str(retention)}


def ensure_topics(bootstrap: str, replication: int = 1) -> UUID:
    """Creates what is missing and returns the broker's generation; not to be called inside a running event loop.

    Raises ``TopicsError`` when the broker cannot be reached or refuses a topic.
    """
    return asyncio.run(ensure_topics_async(bootstrap, replication))


async def ensure_topics_async(bootstrap: str, replication: int = 1) -> UUID:
    """As ``ensure_topics``, inside an event loop."""
    await _create(bootstrap, replication)
    return await _generation(bootstrap)


async def _create(bootstrap: str, replication: int) -> None:
    admin = await _connected_admin(bootstrap)
    try:
        existing = set(await admin.list_topics())
        missing = [topic for topic in TOPICS if topic.name not in existing]
        if missing:
            response = await admin.create_topics(
                [
                    NewTopic(topic.name, topic.partitions, replication, topic_configs=config_of(topic))
                    for topic in missing
                ]
            )
            _refuse_errors(response.topic_errors)
            await _wait_until_listed(admin, {topic.name for topic in missing})
    finally:
        await admin.close()


async def _connected_admin(bootstrap: str) -> AIOKafkaAdminClient:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + CONNECT_TIMEOUT.total_seconds()
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, client_id="heaters-topics")
        try:
            await admin.start()
        except KafkaConnectionError as error:
            await admin.close()
            if loop.time() > deadline:
                message = f"no Kafka broker answers at {bootstrap}; start it, or correct HEATERS_KAFKA_BOOTSTRAP, and run this again"
                raise TopicsError(message) from error
            await asyncio.sleep(0.1)
        else:
            return admin


def _refuse_errors(topic_errors: list[tuple[str, int] | tuple[str, int, str | None]]) -> None:
    for name, code, *detail in topic_errors:
        error = for_code(code)
        if code == 0 or error is TopicAlreadyExistsError:
            continue
        reason = (detail[0] if detail else None) or error.description or error.__name__
        message = (
            f"the broker refused to create the topic {name}: {reason}; "
            "check the replication factor against the number of brokers, and the rights of this client"
        )
        raise TopicsError(message)


async def _wait_until_listed(admin: AIOKafkaAdminClient, names: set[str]) -> None:
    """Creation returns before every broker knows the topic; clients that start at once would not find it."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + READ_TIMEOUT.total_seconds()
    while not names <= set(await admin.list_topics()):
        if loop.time() > deadline:
            message = f"the broker accepted the topics {sorted(names)} but does not list them; look at its log"
            raise TopicsError(message)
        await asyncio.sleep(0.05)


async def _generation(bootstrap: str) -> UUID:
    """The first record of the generation topic, written now if there is none.

    Two callers at once may both write; both then read the first of the two. Each record has its own key, so that
    compaction never removes the first.
    """
    found = await _read_generation(bootstrap)
    if found is not None:
        return found
    born = BrokerStarted(generation=uuid4())
    message = to_kafka(born, event_id=born.generation, source="stack", time=datetime.now(UTC))
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, client_id="heaters-topics", acks="all")
    await producer.start()
    try:
        await producer.send_and_wait(message.topic, message.value, message.key, partition=0, headers=message.headers)
    finally:
        await producer.stop()
    found = await _read_generation(bootstrap)
    if found is None:
        reason = f"the broker took a record for {GENERATION.name} but does not give it back; look at its log"
        raise TopicsError(reason)
    return found


async def _read_generation(bootstrap: str) -> UUID | None:
    partition = TopicPartition(GENERATION.name, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap,
        client_id="heaters-topics",
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        fetch_max_wait_ms=20,
    )
    await consumer.start()
    try:
        consumer.assign([partition])
        ends = await consumer.end_offsets([partition])
        if ends[partition] == 0:
            return None
        await consumer.seek_to_beginning(partition)
        async with asyncio.timeout(READ_TIMEOUT.total_seconds()):
            record = await consumer.getone(partition)
    except TimeoutError as error:
        message = f"the broker says that {GENERATION.name} holds a record but does not give it; look at its log"
        raise TopicsError(message) from error
    finally:
        await consumer.stop()
    try:
        event = from_kafka(record.value, record.headers).event
    except Undecodable as error:
        message = (
            f"the first record of {GENERATION.name} is no event; something else wrote to that topic: "
            "delete the topic and run this again"
        )
        raise TopicsError(message) from error
    if not isinstance(event, BrokerStarted):
        message = f"the first record of {GENERATION.name} is a {event.TYPE}; delete the topic and run this again"
        raise TopicsError(message)
    return event.generation


def main() -> int:
    """The job's command line; prints the generation."""
    parser = argparse.ArgumentParser(prog="deploy.topics", description="Create the Kafka topics that are missing.")
    parser.add_argument("--bootstrap", default=os.environ.get("HEATERS_KAFKA_BOOTSTRAP", "127.0.0.1:9092"))
    parser.add_argument(
        "--replication", type=int, default=1, help="copies of each partition; at most the number of brokers"
    )
    options = parser.parse_args()
    try:
        generation = ensure_topics(options.bootstrap, options.replication)
    except TopicsError as error:
        print(f"topics: {error}", file=sys.stderr)  # noqa: T201 - a job's only voice.
        return 1
    except KafkaError as error:
        print(f"topics: the broker at {options.bootstrap} failed: {error}; run this again", file=sys.stderr)  # noqa: T201
        return 1
    print(generation)  # noqa: T201
    return 0


if __name__ == "__main__":
    sys.exit(main())
