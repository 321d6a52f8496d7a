"""The review API against a real database: lists, edits, undo windows, refusals, dead letters, media, live events."""

from __future__ import annotations

import asyncio
import gc
import json
import re
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import TextClause

from contracts.events.v1.operations import DeadLetterRecorded
from contracts.events.v1.video import Proxy
from services.review.domain.clip import ClipState
from tests.support.review_events import accepted, detected, downloaded, proxied, work_events
from tests.support.review_service import review_service

WINDOW = timedelta(seconds=60)


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture
async def review(database, tmp_path):
    async with review_service(database, tmp_path, review_max_body_bytes=20_000) as review:
        yield review


@pytest.fixture
async def video(review):
    """A video with three pending clips."""
    video_id = uuid4()
    await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
    return await review.video(video_id)


async def fresh(review, clip):
    answer = await review.http.get(f"/api/clips/{clip['id']}")
    assert answer.status_code == 200
    return answer.json()


async def told(review, clip):
    return [row["type"].split(".")[-2] for row in await review.outbox(clip["id"])]


async def test_an_approval_waits_in_the_outbox_until_its_undo_window_is_over(review, video):
    clip = video["clips"][0]
    answer = await review.edit(video["id"], "approve", [clip], by="ann")
    assert answer.status_code == 200
    body = answer.json()
    assert body["clips"][0]["state"] == "review_approved"
    assert (body["clips"][0]["approved_by"], body["clips"][0]["version"]) == ("ann", 2)
    created, approved = await review.outbox(clip["id"])
    assert created["release_at"] is None
    assert timedelta(seconds=59) < approved["release_at"] - review.clock.now <= WINDOW
    assert json.loads(approved["payload"])["edit_id"] == body["edit"]["id"]


async def test_an_undo_inside_the_window_leaves_no_trace_outside(review, video):
    clip = video["clips"][0]
    edit = (await review.edit(video["id"], "approve", [clip])).json()["edit"]
    answer = await review.http.post(f"/api/edits/{edit['id']}/undo", json={"by": "ann"})
    assert answer.status_code == 200
    assert answer.json()["clips"][0]["state"] == "pending_review"
    assert await told(review, clip) == ["created"]
    again = await review.http.post(f"/api/edits/{edit['id']}/undo")
    assert (again.status_code, again.json()["unchanged"]) == (200, "already_undone")
    log = (await review.http.get("/api/events", params={"video": video["id"], "limit": 500})).json()["events"]
    assert [entry["type"].split(".")[-2] for entry in log if entry["clip_id"] == clip["id"]] == [
        "created",
        "approved",
        "edit_undone",
    ]


async def test_an_undo_after_the_window_is_followed_by_compensating_events(review, video):
    clip = video["clips"][0]
    edit = (await review.edit(video["id"], "approve", [clip])).json()["edit"]
    review.clock.now += WINDOW + timedelta(seconds=1)
    await review.publish()
    answer = await review.http.post(f"/api/edits/{edit['id']}/undo")
    assert answer.json()["clips"][0]["state"] == "pending_review"
    assert await told(review, clip) == ["created", "approved", "edit_undone"]
    assert (await review.outbox(clip["id"]))[-1]["release_at"] is None


async def test_an_undone_split_gives_the_first_clip_back(review, video):
    clip = video["clips"][1]
    split = (await review.edit(video["id"], "split", [clip], at=150)).json()
    shown = (await review.video(video["id"]))["clips"]
    assert [(c["start_frame"], c["end_frame"]) for c in shown] == [(0, 100), (100, 150), (150, 200), (200, 300)]
    assert (await fresh(review, clip))["state"] == "superseded"
    children = [c for c in split["clips"] if c["origin"] == "split"]
    assert {c["trace_id"] for c in children} == {c["id"].replace("-", "") for c in children}
    assert (await review.http.post(f"/api/edits/{split['edit']['id']}/undo")).status_code == 200
    shown = (await review.video(video["id"]))["clips"]
    assert [(c["start_frame"], c["end_frame"]) for c in shown] == [(0, 100), (100, 200), (200, 300)]
    assert [await told(review, child) for child in children] == [[], []]


async def test_merge_trim_group_and_archive_work_through_the_api(review, video):
    first, second, third = video["clips"]
    merged = (await review.edit(video["id"], "merge", [first, second])).json()
    child = next(c for c in merged["clips"] if c["origin"] == "merge")
    assert (child["start_frame"], child["end_frame"]) == (0, 200)
    trimmed = (await review.edit(video["id"], "trim", [third], start=210, end=290)).json()
    kept = next(c for c in trimmed["clips"] if c["state"] == "pending_review")
    grouped = (await review.edit(video["id"], "group", [child, kept])).json()
    assert {c["state"] for c in grouped["clips"]} == {"review_approved"}
    assert next(c for c in grouped["clips"] if c["id"] == kept["id"])["grouped_with"] == [child["id"]]
    archived = (await review.edit(video["id"], "archive", [await fresh(review, kept)])).json()
    assert archived["clips"][0]["state"] == "review_archived"
    review.clock.now += WINDOW
    late = await review.http.post(f"/api/edits/{archived['edit']['id']}/undo")
    assert (late.status_code, late.json()["code"]) == (409, "review.archive_released")


async def test_a_stale_edit_is_refused_with_the_fresh_state(review, video):
    clip = video["clips"][0]
    await review.edit(video["id"], "skip", [clip])
    answer = await review.edit(video["id"], "approve", [clip])
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["code"] == "review.stale_version"
    assert [(c["state"], c["version"]) for c in problem["clips"]] == [("review_skipped", 2)]


async def test_of_two_edits_at_once_one_wins_and_the_other_is_told(review, video):
    clip = video["clips"][0]
    answers = await asyncio.gather(
        *(review.edit(video["id"], command, [clip]) for command in ("approve", "skip", "archive", "approve"))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 409, 409, 409]
    assert (await fresh(review, clip))["version"] == 2


async def test_the_same_idempotency_key_is_one_edit(review, video):
    clip = video["clips"][0]
    first = await review.edit(video["id"], "approve", [clip], idempotency_key="k")
    second = await review.edit(video["id"], "approve", [clip], idempotency_key="k")
    assert second.json()["repeated"]
    assert second.json()["edit"] == first.json()["edit"]
    other = await review.edit(video["id"], "skip", [clip], idempotency_key="k")
    assert (other.status_code, other.json()["code"]) == (409, "review.key_reused")
    assert await told(review, clip) == ["created", "approved"]


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        ("/api/videos/{video}/edits", {"command": "approve", "clips": [], "versions": []}, 422, "http.invalid"),
        (
            "/api/videos/{video}/edits",
            {"command": "explode", "clips": ["{clip}"], "versions": [1]},
            422,
            "http.invalid",
        ),
        ("/api/videos/{video}/edits", {"command": "split", "clips": ["{clip}"], "versions": [1]}, 422, "http.invalid"),
        (
            "/api/videos/{video}/edits",
            {"command": "split", "clips": ["{clip}"], "versions": [1], "at": 0},
            422,
            "review.split_outside",
        ),
        (
            "/api/videos/{video}/edits",
            {"command": "skip", "clips": ["{clip}"], "versions": [1], "by": "a\x00b"},
            422,
            "http.invalid",
        ),
        (
            "/api/videos/{video}/edits",
            {"command": "skip", "clips": ["{other}"], "versions": [1]},
            404,
            "review.unknown_clip",
        ),
        (
            "/api/videos/{other}/edits",
            {"command": "skip", "clips": ["{clip}"], "versions": [1]},
            404,
            "review.unknown_video",
        ),
        ("/api/videos/../../etc/edits", {}, 405, "http.method_not_allowed"),
        ("/api/videos/x/edits", {}, 422, "http.invalid"),
        ("/api/edits/{other}/undo", {}, 404, "review.unknown_edit"),
        ("/api/dead-letters/{other}/replay", {}, 404, "review.unknown_dead_letter"),
        ("/api/requests", {"source": {"kind": "file", "path": "/etc/passwd"}}, 422, "http.invalid"),
    ],
)
async def test_wrong_requests_are_refused_with_a_code(review, video, path, body, status, code):
    names = {"{video}": video["id"], "{clip}": video["clips"][0]["id"], "{other}": str(uuid4())}
    spelt = json.dumps(body)
    for name, value in names.items():
        path, spelt = path.replace(name, value), spelt.replace(name, value)
    answer = await review.http.post(path, content=spelt, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_reading_what_is_not_there_is_refused_with_a_code(review, video):
    other = uuid4()
    for path, status, code in (
        (f"/api/videos/{other}", 404, "review.unknown_video"),
        (f"/api/clips/{other}", 404, "review.unknown_clip"),
        (f"/api/videos/{other}/media", 404, "review.unknown_video"),
        ("/api/videos?cursor=nonsense", 422, "review.bad_cursor"),
        ("/api/clips?cursor=W10", 422, "review.bad_cursor"),
        ("/api/events?after=x", 422, "review.bad_cursor"),
        ("/api/videos?limit=100000", 422, "http.invalid"),
        ("/api/nothing", 404, "http.not_found"),
        (f"/api/clips/{video['clips'][0]['id']}/deliverables/delivery-h264/clip.mp4", 404, "review.unknown_file"),
    ):
        answer = await review.http.get(path)
        assert (answer.status_code, answer.json()["code"]) == (status, code), path


async def test_foreign_pages_foreign_names_and_large_bodies_stay_outside(review, video):
    path = f"/api/videos/{video['id']}/edits"
    foreign = await review.http.post(path, json={}, headers={"origin": "https://evil.example"})
    assert (foreign.status_code, foreign.json()["code"]) == (403, "http.foreign_origin")
    renamed = await review.http.get("/api/videos", headers={"host": "evil.example"})
    assert (renamed.status_code, renamed.json()["code"]) == (421, "http.foreign_host")
    large = await review.http.post(path, content=b"x" * 20_001)
    assert (large.status_code, large.json()["code"]) == (413, "http.too_large")

    async def in_parts():
        for _ in range(30):
            yield b"x" * 1000

    large = await review.http.post(path, content=in_parts(), headers={"content-type": "application/json"})
    assert large.status_code == 413


async def test_lists_are_paged_by_cursors(review):
    ids = [uuid4() for _ in range(3)]
    for video_id in ids:
        await review.hear(accepted(video_id), proxied(video_id), detected(video_id))
    seen, cursor = [], None
    while True:
        page = (
            await review.http.get("/api/videos", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        ).json()
        seen += [entry["id"] for entry in page["videos"]]
        if (cursor := page["next"]) is None:
            break
    assert len(seen) == len(set(seen))
    assert [entry for entry in seen if entry in map(str, ids)] == [str(video_id) for video_id in reversed(ids)]
    assert page["videos"][0]["clip_states"].keys() <= set(ClipState)
    for params in ({"video": str(ids[0])}, {"state": "pending_review"}, {}):
        seen, cursor = [], None
        while True:
            query = {"limit": 2, **params, **({"cursor": cursor} if cursor else {})}
            page = (await review.http.get("/api/clips", params=query)).json()
            seen += [entry["id"] for entry in page["clips"]]
            if (cursor := page["next"]) is None:
                break
        assert len(seen) == len(set(seen))
        assert len(seen) >= 3


async def test_lists_that_are_asked_for_again_leave_nothing_behind(review, video):
    async def ask(times):
        for _ in range(times):
            for path in ("/api/videos", "/api/clips", f"/api/clips?video={video['id']}"):
                assert (await review.http.get(path)).status_code == 200
        gc.collect()
        # By type alone: to ask some libraries' objects for their class is to have them warn.
        return sum(type(kept) is TextClause for kept in gc.get_objects())

    before = await ask(2)
    assert await ask(20) <= before


async def test_a_request_to_ingest_goes_out_once_for_each_key(review):
    body = {"source": {"kind": "url", "url": "https://example.org/v"}, "idempotency_key": (key := uuid4().hex)}
    first, second = [(await review.http.post("/api/requests", json=body)) for _ in range(2)]
    assert first.status_code == 202
    assert first.json() == second.json()
    rows = await review.rows("SELECT type FROM outbox WHERE aggregateid = :key", key=key)
    assert [row["type"] for row in rows] == ["heaters.ingest.requested.v1"]


async def test_media_are_signed_addresses_and_the_sprite_map(review):
    video_id = uuid4()
    put = review.runtime.objects.put_bytes
    plain = proxied(video_id)
    layout = {"every": 24, "columns": 10, "rows": 10, "sheets": ["sprites-000.jpg"]}
    event = plain.model_copy(
        update={
            "proxy": Proxy(
                **put(b"p", f"videos/{video_id}/p.mp4", "video/mp4").model_dump(), codec="avc1", width=2, height=2
            ),
            "index": put(b"i", f"videos/{video_id}/index.bin", "application/octet-stream"),
            "sprites": (put(b"s", f"videos/{video_id}/s.jpg", "image/jpeg"),),
            "sprite_map": put(json.dumps(layout).encode(), f"videos/{video_id}/s.json", "application/json"),
        }
    )
    await review.hear(accepted(video_id))
    early = await review.http.get(f"/api/videos/{video_id}/media")
    assert (early.status_code, early.json()["code"]) == (404, "review.no_media")
    await review.hear(event)
    media = (await review.http.get(f"/api/videos/{video_id}/media")).json()
    assert media["proxy"]["url"].startswith("/api/media/")
    assert media["sprite_map"] == layout
    assert media["audio"] is None


async def test_a_delivered_file_is_one_redirect_away(review, video):
    clip = video["clips"][0]
    await review.edit(video["id"], "approve", [clip])
    event = work_events(clip["id"], video_id=video["id"])["exported"]
    review.runtime.objects.put_bytes(b"{}", event.deliverables[0].manifest.key, "application/json")
    await review.hear(event)
    answer = await review.http.get(f"/api/clips/{clip['id']}/deliverables/delivery-h264/manifest.json")
    assert answer.status_code == 307
    assert answer.headers["location"].startswith("/api/media/")


async def test_dead_letters_are_listed_replayed_as_they_came_and_discarded(review):
    letters = [uuid4(), uuid4()]
    for letter in letters:
        await review.hear(
            DeadLetterRecorded(
                dead_letter_id=letter,
                consumer="review",
                topic="heaters-videos",
                partition=1,
                offset=5,
                code="message.bad_header",
                reason="A header is no text.",
                key_base64="aw==",
                value_base64="/3t9",
                headers=({"name": "ce_id", "value_base64": "/w=="},),
                recorded_at=review.clock(),
            )
        )
    listed = (await review.http.get("/api/dead-letters", params={"state": "open", "limit": 1})).json()
    assert listed["dead_letters"][0]["id"] == str(letters[1])
    assert listed["next"]
    replayed = await review.http.post(f"/api/dead-letters/{letters[0]}/replay", json={"by": "op"})
    assert (replayed.status_code, replayed.json()["state"], replayed.json()["acted_by"]) == (200, "replayed", "op")
    assert review.replayed == [("heaters-videos", b"k", b"\xff{}", [("ce_id", b"\xff")])]
    again = await review.http.post(f"/api/dead-letters/{letters[0]}/replay")
    assert (again.status_code, again.json()["code"]) == (409, "review.dead_letter_closed")
    discarded = await review.http.post(f"/api/dead-letters/{letters[1]}/discard")
    assert discarded.json()["state"] == "discarded"


class Listener:
    """Reads an event stream straight from the application; httpx's transport would wait for its end."""

    def __init__(self, review, last_event_id=None):
        self.parts: asyncio.Queue[str] = asyncio.Queue()
        self.gone = asyncio.Event()
        headers = [(b"host", b"127.0.0.1")]
        if last_event_id:
            headers.append((b"last-event-id", last_event_id.encode()))
        scope = {
            "type": "http",
            "method": "GET",
            "path": "/api/stream",
            "raw_path": b"/api/stream",
            "query_string": b"",
            "headers": headers,
            "http_version": "1.1",
            "scheme": "http",
            "server": ("127.0.0.1", 80),
            "client": ("127.0.0.1", 1),
            "asgi": {"version": "3.0", "spec_version": "2.4"},
        }
        self.task = asyncio.create_task(review.http._transport.app(scope, self._receive, self._send))

    async def _receive(self):
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message):
        if message["type"] == "http.response.body":
            for part in message["body"].decode().split("\n\n"):
                if part:
                    await self.parts.put(part)

    async def next(self, kind):
        async with asyncio.timeout(10):
            while True:
                part = await self.parts.get()
                fields = dict(line.split(": ", 1) for line in part.splitlines())
                if fields.get("event") == kind:
                    return fields.get("id"), json.loads(fields["data"])

    async def close(self):
        self.gone.set()
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_a_page_hears_of_an_edit_at_once_and_resumes_where_it_was(review, video):
    listener = Listener(review)
    await listener.next("hello")
    clip = video["clips"][0]
    began = asyncio.get_running_loop().time()
    made = (await review.edit(video["id"], "approve", [clip], by="ann")).json()["edit"]
    position, change = await listener.next("change")
    assert asyncio.get_running_loop().time() - began < 2
    assert change == {
        "type": "heaters.clip.approved.v1",
        "video_id": video["id"],
        "clip_id": clip["id"],
        "edit": made["id"],
        "by": "ann",
    }
    await listener.close()
    await review.edit(video["id"], "skip", [video["clips"][1]])
    await review.edit(video["id"], "skip", [video["clips"][2]])
    resumed = Listener(review, position)
    heard = [(await resumed.next("change"))[1]["clip_id"] for _ in range(2)]
    assert heard == [video["clips"][1]["id"], video["clips"][2]["id"]]
    await resumed.close()


async def test_whoever_listens_or_resumes_in_mid_edit_hears_each_change_once_and_in_order(review, video):
    first = Listener(review)
    begun, _ = await first.next("hello")
    clip, made, listeners = video["clips"][0], [], [first]
    for number in range(12):
        made.append((await review.edit(video["id"], "note", [clip], note=str(number))).json())
        clip = made[-1]["clips"][0]
        if number % 3 == 0:
            listeners.append(Listener(review, begun))
    for listener in listeners:
        heard = [(await listener.next("change"))[1]["edit"] for _ in made]
        assert heard == [one["edit"]["id"] for one in made]
        assert listener.parts.empty()
        await listener.close()


async def test_pages_come_with_a_strict_policy_and_without_inline_script(review):
    page = await review.http.get("/")
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "unsafe" not in policy
    assert "style=" not in page.text
    assert "<script>" not in page.text
    assert page.headers["cache-control"] == "no-cache"
    assets = re.findall(r"/app\.[0-9a-f]{12}\.(?:js|css)", page.text)
    assert len(assets) == 2
    for asset in assets:
        answer = await review.http.get(asset)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["cache-control"]
    document = (await review.http.get("/api/openapi.json")).json()
    assert "/api/videos/{video_id}/edits" in document["paths"]
