from __future__ import annotations

from uuid import uuid4

import pytest

from contracts.events.v1.ingest import IngestRequested
from contracts.values import MasteringPolicy, ObjectSource, Options, UrlSource
from services.ingest.domain import FetchInput, video_id_of
from services.ingest.handlers import accept_request
from tests.support.fake_ledger import FakeLedger

KEY = "holiday-1"


async def heard(request, event_id=None):
    ledger = FakeLedger(event_id=event_id or uuid4())
    await accept_request(request, ledger)
    return ledger


async def test_a_request_becomes_a_video_and_a_fetch():
    request = IngestRequested(source=ObjectSource(key="in/My Film.mp4"), tags=("a",), idempotency_key=KEY)
    ledger = await heard(request)
    (accepted,) = ledger.events
    assert accepted.TYPE == "heaters.video.accepted.v1"
    assert (accepted.title, accepted.tags, accepted.video_id) == ("My Film", ("a",), video_id_of(request, None))
    (asked,) = ledger.work
    kind, order, key, video_id = asked.kind, asked.order, asked.key, asked.video_id
    assert (kind, key, video_id) == ("fetch", f"fetch:{accepted.video_id}", accepted.video_id)
    assert order == FetchInput(video_id=video_id, source=request.source, tags=("a",), options=request.options)


async def test_the_same_key_asks_for_the_same_things_twice():
    request = IngestRequested(source=UrlSource(url="https://example.org/x.mp4"), idempotency_key=KEY)
    one, other = await heard(request), await heard(request)
    assert one.event_id != other.event_id
    assert one.work == other.work
    # Equal causes give equal event ids, so the outbox keeps one.
    assert (one.events, one.causes) == (other.events, other.causes)


async def test_without_a_key_each_event_is_a_video_of_its_own():
    request = IngestRequested(source=ObjectSource(key="in/x.mp4"))
    event_id = uuid4()
    again = await heard(request, event_id)
    assert (await heard(request, event_id)).work == again.work
    assert (await heard(request)).work[0].video_id != again.work[0].video_id


@pytest.mark.parametrize("policy", MasteringPolicy)
async def test_every_mastering_policy_is_taken(policy):
    options = Options(mastering=policy)
    ledger = await heard(IngestRequested(source=ObjectSource(key="x"), options=options, idempotency_key=KEY))
    assert [event.options for event in ledger.events] == [options]
    assert [asked.order.options for asked in ledger.work] == [options]


@pytest.mark.parametrize("profile", ["delivery-h264", "no-such-profile"])
async def test_profiles_are_none_of_ingests_business(profile):
    ledger = await heard(IngestRequested(source=ObjectSource(key="x"), options=Options(profiles=(profile,))))
    assert len(ledger.work) == 1
