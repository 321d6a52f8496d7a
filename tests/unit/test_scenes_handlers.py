from __future__ import annotations

from fractions import Fraction
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from contracts.events.v1.video import Proxy, VideoProxied, VideoScenesFailed
from contracts.values import MediaFacts, ObjectRef, Options, VideoFacts
from services.scenes.detectors.declared import DECLARED
from services.scenes.domain import DetectInput
from services.scenes.handlers import accept_proxied_video, order_of
from services.scenes.settings import Settings
from tests.support.fake_ledger import FakeLedger


def ref(name, sha="a"):
    return ObjectRef(key=name, size=1, sha256=sha * 64)


def proxied(**options):
    return VideoProxied(
        video_id=uuid4(), run=2, title="t", options=Options(**options), source=ref("s"), frames=100, rate=Fraction(25),
        duration=Fraction(4), index=ref("i"), features=ref("f"),
        proxy=Proxy(key="p", size=1, sha256="b" * 64, codec="avc1.42c01f", width=48, height=28),
        media=MediaFacts(
            container="mp4", duration=Fraction(4),
            video=VideoFacts(
                stream_index=0, codec="h264", width=2, height=2, pixel_format="yuv420p", rate=Fraction(25),
                timebase=Fraction(1, 25), packets=100,
            ),
        ),
    )  # fmt: skip


async def test_a_proxied_video_is_queued_once_by_its_id():
    ledger, event = FakeLedger(settings=Settings(_env_file=None)), proxied()
    await accept_proxied_video(event, ledger)
    (asked,) = ledger.work
    kind, order, key, video_id = asked.kind, asked.order, asked.key, asked.video_id
    assert (kind, key, video_id) == ("detect", f"detect:{event.video_id}", event.video_id)
    assert (order.detector, order.frames, order.features) == ("adaptive", 100, event.features)


async def test_an_already_cut_video_needs_no_detection():
    ledger = FakeLedger(settings=Settings(_env_file=None))
    await accept_proxied_video(proxied(needs_splicing=False), ledger)
    assert ledger.work == ledger.events == []


async def test_an_unknown_detector_fails_at_once_and_for_good():
    ledger = FakeLedger(settings=Settings(_env_file=None))
    await accept_proxied_video(proxied(detector="crystal_ball"), ledger)
    (event,) = ledger.events
    assert isinstance(event, VideoScenesFailed)
    assert (event.failure.code, event.failure.error_class, event.run) == ("scenes.unknown_detector", "permanent", 2)
    assert event.failure.trace_id == "ab" * 16
    assert "adaptive" in event.failure.message


def order(settings=None, **changes):
    made = order_of(proxied(), settings or Settings())
    return made.model_copy(update={"video_id": UUID(int=5), **changes})


def test_whatever_decides_the_result_decides_its_place():
    plain = order()
    places = {
        plain.folder,
        order(detector_version="2").folder,
        order(detector="content").folder,
        order(features=ref("f", "c")).folder,
        order(Settings(scenes_adaptive={"threshold": 4})).folder,
        order(Settings(scenes_minimum_clip=9)).folder,
        order(Settings(scenes_group_reach=1)).folder,
    }
    assert len(places) == 7
    assert order().folder == plain.folder
    assert plain.folder.startswith(f"videos/{plain.video_id}/scenes/adaptive-1-")
    assert DetectInput.model_validate_json(plain.model_dump_json()).folder == plain.folder


@pytest.mark.parametrize(
    "changes",
    [
        {"scenes_adaptive": {"treshold": 4}},
        {"scenes_content": {"threshold": 0}},
        {"scenes_histogram": {"window": 2}},
        {"scenes_minimum_clip": 8, "scenes_maximum_clip": 15},
    ],
)
def test_settings_that_no_detector_understands_are_refused_at_start(changes):
    with pytest.raises(ValidationError):
        Settings(**changes)


def test_every_detector_takes_its_own_settings():
    settings = Settings(
        scenes_adaptive={"window": 3}, scenes_content={"threshold": 30}, scenes_histogram={"fades": False}
    )
    found = {name: settings.parameters_of(each) for name, each in DECLARED.items()}
    assert found["adaptive"].window == 3
    assert found["content"].threshold == 30
    assert found["histogram"].fades is False
