"""Both stages end to end on real servers: a request becomes a proven source, small pictures become clips."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from contracts.events.v1.ingest import IngestRequested
from contracts.events.v1.video import Proxy, VideoProxied
from contracts.topics import VIDEOS
from contracts.values import MediaFacts, ObjectSource, Options, VideoFacts
from services.ingest import app as ingest
from services.ingest import domain
from services.media.features import FeatureWriter
from services.scenes import app as scenes
from tests.support import wire
from tests.support.rendering import make_video
from tests.support.services import publish, running


@pytest.fixture
def settings_for(servers, broker, tmp_path):
    addresses = servers.settings(broker.address)

    def make(stage):
        return stage.settings(
            **addresses,
            temp_dir=tmp_path / "scratch",
            worker_concurrency=2,
            worker_lease="PT5S",
            worker_retry_base="PT0.1S",
            poll_interval="PT1S",
            generation_interval="PT0.3S",
            min_free_bytes=0,
        )

    return make


async def heard(settings, *endings: str, count: int) -> list[dict]:
    """The bodies of the video events of these types, once there are as many."""

    def matching(records):
        return [record for record in records if wire.type_of(record).split(".")[-2] in endings]

    records = await wire.read_all(
        settings.kafka_bootstrap, VIDEOS.name, until=lambda seen: len(matching(seen)) >= count, timeout=60.0
    )
    return [{"type": wire.type_of(record), **json.loads(record.value)} for record in matching(records)]


async def test_equal_files_that_arrive_at_once_have_one_original(settings_for, tmp_path):
    settings = settings_for(ingest.STAGE)
    film = make_video(tmp_path / "film.mp4", 48).path
    shutil.copy(film, tmp_path / "copy.mp4")
    async with running(ingest.STAGE, settings) as runtime:
        for name in ("film.mp4", "copy.mp4"):
            await asyncio.to_thread(runtime.objects.put_file, tmp_path / name, f"in/{name}", "video/mp4")
        await asyncio.to_thread(runtime.objects.put_bytes, b"only words", "in/words.mp4", "video/mp4")
        requests = [
            IngestRequested(source=ObjectSource(key=f"in/{name}"), idempotency_key=name)
            for name in ("film.mp4", "copy.mp4", "words.mp4")
        ]
        await publish(settings.kafka_bootstrap, *requests, requests[0])
        ends = await heard(settings, "downloaded", "rejected", "download_failed", count=3)
        done = {each["video_id"]: each for each in ends if each["type"].endswith("downloaded.v1")}
        assert set(done) == {str(domain.video_id_of(each, None)) for each in requests[:2]}
        originals = [each for each in done.values() if each["duplicate_of"] is None]
        (copy,) = (each for each in done.values() if each["duplicate_of"] is not None)
        assert [each["video_id"] for each in originals] == [copy["duplicate_of"]]
        (refused,) = (each for each in ends if each["type"].endswith("rejected.v1"))
        assert refused["failure"]["code"] == "media.not_a_video"
        assert "words.mp4" in refused["failure"]["message"]
        assert len(await heard(settings, "accepted", count=3)) == 3
        stored = await asyncio.to_thread(runtime.objects.head, copy["object"]["key"])
        assert stored.sha256 == copy["object"]["sha256"]


async def test_small_pictures_become_clips(settings_for, tmp_path):
    settings = settings_for(scenes.STAGE)
    rng = np.random.default_rng(4)
    with FeatureWriter(tmp_path / "features.npz") as writer:
        for length in (40, 30, 50):
            picture = np.kron(rng.integers(0, 256, (9, 16, 3)), np.ones((3, 3, 1))).astype(np.uint8)
            for _ in range(length):
                writer.add(picture, picture[:, :, 0])
    async with running(scenes.STAGE, settings) as runtime:
        ref = await asyncio.to_thread(
            runtime.objects.put_file, tmp_path / "features.npz", "videos/x/features.npz", "application/x-npz"
        )
        events = [proxied(ref, detector) for detector in ("adaptive", "content", "histogram", "crystal_ball")]
        await publish(settings.kafka_bootstrap, *events, events[0])
        found = await heard(settings, "scenes_detected", count=3)
        assert [[clip["start"] for clip in each["clips"]] for each in found] == [[0, 40, 70]] * 3
        (refused,) = await heard(settings, "scenes_failed", count=1)
        assert refused["failure"]["code"] == "scenes.unknown_detector"


def proxied(features, detector):
    return VideoProxied(
        video_id=uuid4(), title="t", options=Options(detector=detector), source=features, frames=120, rate=Fraction(25),
        duration=Fraction(24, 5), index=features, features=features,
        proxy=Proxy(key="p", size=1, sha256="b" * 64, codec="avc1.42c01f", width=48, height=28),
        media=MediaFacts(
            container="mp4", duration=Fraction(24, 5),
            video=VideoFacts(
                stream_index=0, codec="h264", width=2, height=2, pixel_format="yuv420p", rate=Fraction(25),
                timebase=Fraction(1, 25), packets=120,
            ),
        ),
    )  # fmt: skip


@pytest.mark.parametrize("service", ["ingest", "scenes"])
def test_a_main_process_loads_nothing_heavy(service):
    heavy = ("av", "numpy", "cv2", "yt_dlp", "pysubs2", "torch")
    code = f"import sys, services.{service}.app; print([name for name in {heavy!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
