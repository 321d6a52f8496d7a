from __future__ import annotations

import subprocess
import sys
from uuid import UUID

import pytest

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone
from contracts.events.v1.video import Proxy, VideoDownloaded, VideoMastered, VideoProxied
from contracts.values import Failure, FrameRange, MasteringPolicy, MediaFacts, ObjectRef, Options, VideoFacts
from services.media.recipes import MasterSettings, ReviewSettings
from services.preprocess import handlers
from services.preprocess.domain import (
    ClipFacts,
    MasterResult,
    PartResult,
    ProxyInput,
    ProxyResult,
    heard,
    master_order,
    part_order,
    proxy_order,
)
from services.preprocess.jobs import MASTER, PART, PROXY
from services.preprocess.settings import Settings
from tests.support.fake_ledger import FakeLedger

VIDEO = UUID(int=7)
REF = ObjectRef(key="videos/7/source/a.mp4", size=3, sha256="0" * 64)


def downloaded(mastering: MasteringPolicy = MasteringPolicy.EAGER, **changes) -> VideoDownloaded:
    video = VideoFacts(
        stream_index=0,
        codec="h264",
        width=64,
        height=48,
        pixel_format="yuv420p",
        rate="25/1",
        timebase="1/25",
        packets=9,
    )
    fields = {
        "video_id": VIDEO,
        "title": "A film",
        "options": Options(mastering=mastering),
        "object": REF,
        "media": MediaFacts(container="mp4", duration="9/25", video=video),
        "method": "upload",
    }
    return VideoDownloaded(**{**fields, **changes})


def proxy_result() -> ProxyResult:
    proxy = Proxy(**REF.model_dump(), codec="avc1.64101f", width=64, height=48)
    return ProxyResult(
        frames=9, rate="25/1", duration="9/25", proxy=proxy, index=REF, features=REF, sprites=(REF,), sprite_map=REF
    )


async def accept(event) -> FakeLedger:
    ledger = FakeLedger(settings=Settings(_env_file=None))
    await handlers.accept_downloaded_video(event, ledger)
    return ledger


async def test_review_media_are_queued_before_the_master():
    ledger = await accept(downloaded())
    assert [asked.kind for asked in ledger.work] == ["proxy", "master"]
    assert PROXY.priority > MASTER.priority


async def test_without_mastering_there_is_no_second_piece_of_work():
    ledger = await accept(downloaded(MasteringPolicy.NONE))
    assert [asked.kind for asked in ledger.work] == ["proxy"]


async def test_a_duplicate_is_not_processed_again():
    ledger = await accept(downloaded(duplicate_of=UUID(int=1)))
    assert not ledger.work
    assert not ledger.events


async def test_mastering_of_approved_ranges_waits_for_approvals():
    ledger = await accept(downloaded(MasteringPolicy.APPROVED))
    assert [asked.kind for asked in ledger.work] == ["proxy"]
    assert not ledger.events


def test_a_video_without_master_is_mastered_when_its_frames_are_counted():
    order = proxy_order(downloaded(MasteringPolicy.NONE), ReviewSettings())
    proxied, mastered = PROXY.succeeded(order, 2, proxy_result())
    assert isinstance(proxied, VideoProxied)
    assert isinstance(mastered, VideoMastered)
    assert (mastered.policy, mastered.frames, mastered.master, mastered.run) == (MasteringPolicy.NONE, 9, None, 2)


def test_events_carry_on_what_the_next_stages_need():
    order = proxy_order(downloaded(), ReviewSettings())
    [proxied] = PROXY.succeeded(order, 1, proxy_result())
    assert (proxied.title, proxied.source, proxied.frames) == ("A film", REF, 9)
    result = MasterResult(frames=9, master=REF, index=REF, frames_sha256="1" * 64)
    [mastered] = MASTER.succeeded(master_order(downloaded(), MasterSettings()), 1, result)
    assert (mastered.policy, mastered.frames_sha256) == (MasteringPolicy.EAGER, "1" * 64)


@pytest.mark.parametrize("job", [PROXY, MASTER])
def test_failures_name_the_phase(job):
    event = downloaded()
    order = proxy_order(event, ReviewSettings()) if job is PROXY else master_order(event, MasterSettings())
    failure = Failure(stage="preprocess", error_class="permanent", code="media.corrupt", message="It is damaged.")
    [failed] = job.failed(order, 1, failure)
    assert (failed.phase, failed.failure) == (job.kind, failure)


def test_other_settings_lie_in_another_place():
    one = proxy_order(downloaded(), ReviewSettings())
    other = proxy_order(downloaded(), ReviewSettings(crf=20))
    assert PROXY.marker(one) != PROXY.marker(other)
    assert PROXY.marker(one) == PROXY.marker(ProxyInput.model_validate_json(one.model_dump_json()))


CLIP = UUID(int=70)


def proxied(mastering: MasteringPolicy = MasteringPolicy.APPROVED) -> VideoProxied:
    [event, *_] = PROXY.succeeded(proxy_order(downloaded(mastering), ReviewSettings()), 1, proxy_result())
    return event


def said(version: int, **more):
    return {"video_id": VIDEO, "clip_id": CLIP, "edit_id": UUID(int=version), "version": version, "by": "me", **more}


def told(*events) -> ClipFacts:
    facts = ClipFacts()
    for event in events:
        facts = heard(facts, event)
    return facts


APPROVED = ClipApproved(**said(2), frames=FrameRange(start=2, end=7), title="t", profiles=("delivery-h264",))
UNDONE = ClipEditUndone(**said(3), undone="approve")
ARCHIVED = ClipArchived(**said(3))
TAKEN_BACK = ClipEditUndone(**said(4), undone="archive")


@pytest.mark.parametrize(
    ("events", "since"),
    [
        ((), None),
        ((APPROVED,), 2),
        ((APPROVED, UNDONE), None),
        ((UNDONE, APPROVED), None),
        ((APPROVED, ARCHIVED), None),
        ((TAKEN_BACK, ARCHIVED, APPROVED), 4),
        ((APPROVED, UNDONE, APPROVED.model_copy(update={"version": 4})), 4),
    ],
)
def test_a_clip_is_mastered_while_it_is_wanted_and_once_for_each_time_it_becomes_so(events, since):
    order = part_order(CLIP, told(*events), proxied(), MasterSettings())
    assert (order.version if order else None) == since
    if order:
        assert (order.frames, order.source) == (APPROVED.frames, REF)
        assert PART.marker(order).startswith(f"clips/{CLIP}/")
        result = PartResult(master=REF, index=REF, frames_sha256="1" * 64)
        [mastered] = PART.succeeded(order, 1, result)
        assert (mastered.version, mastered.frames) == (since, APPROVED.frames)


@pytest.mark.parametrize("policy", [MasteringPolicy.EAGER, MasteringPolicy.NONE])
def test_other_policies_master_no_clip(policy):
    assert part_order(CLIP, told(APPROVED), proxied(policy), MasterSettings()) is None


def test_approved_mastering_announces_no_master_of_the_whole():
    order = proxy_order(downloaded(MasteringPolicy.APPROVED), ReviewSettings())
    assert [type(event) for event in PROXY.succeeded(order, 1, proxy_result())] == [VideoProxied]


def test_the_service_itself_loads_no_codec_library():
    code = (
        "import sys, services.preprocess.app; print(sorted({'av', 'numpy', 'cv2', 'torch', 'PIL'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
