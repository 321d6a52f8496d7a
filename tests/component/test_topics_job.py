"""The topics job against a real broker."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from contracts.topics import GENERATION, TOPICS
from deploy import topics
from deploy.topics import TopicsError, config_of, ensure_topics, ensure_topics_async


async def partitions(bootstrap: str) -> dict[str, int]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        return {topic["topic"]: len(topic["partitions"]) for topic in await admin.describe_topics()}
    finally:
        await admin.close()


async def generation_records(bootstrap: str) -> int:
    partition = TopicPartition(GENERATION.name, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=None)
    await consumer.start()
    try:
        return (await consumer.end_offsets([partition]))[partition]
    finally:
        await consumer.stop()


async def test_every_topic_exists_with_its_partitions(broker):
    await ensure_topics_async(broker.address)
    assert await partitions(broker.address) == {topic.name: topic.partitions for topic in TOPICS}


async def test_the_generation_is_one_for_every_caller_and_for_ever(broker):
    found = await asyncio.gather(*(ensure_topics_async(broker.address) for _ in range(4)))
    assert len(set(found)) == 1
    assert await generation_records(broker.address) == 1


def test_a_broker_that_lost_its_log_gets_another_generation(broker):
    before = ensure_topics(broker.address)
    broker.kill()
    broker.start()
    after = ensure_topics(broker.address)
    assert after != before
    assert ensure_topics(broker.address) == after


def test_the_job_prints_the_generation(broker):
    done = subprocess.run(
        [sys.executable, "-m", "deploy.topics", "--bootstrap", broker.address],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == str(ensure_topics(broker.address))


def test_no_broker_is_said_in_a_sentence(monkeypatch):
    monkeypatch.setattr(topics, "CONNECT_TIMEOUT", topics.timedelta(seconds=0))
    with pytest.raises(TopicsError, match=r"no Kafka broker answers at 127\.0\.0\.1:9;"):
        ensure_topics("127.0.0.1:9")


def test_only_the_generation_is_kept_for_ever():
    for topic in TOPICS:
        config = config_of(topic)
        assert (config["retention.ms"] == "-1") == (topic is GENERATION)
        assert (config["cleanup.policy"] == "compact") == (topic is GENERATION)
