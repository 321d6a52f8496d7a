"""Who may come in: tokens, roles, sessions, origins, bounds, rates, and what nobody may find out."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from contracts.events.v1.operations import DeadLetterRecorded
from services.chassis import health
from services.chassis.health import bind
from services.review.api.guard import Rates
from tests.support.review_events import accepted, detected, proxied
from tests.support.review_service import review_service

OWN = "the-operators-own-token"


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture
async def review(database, tmp_path):
    """A service that other machines can reach."""
    async with review_service(
        database, tmp_path, http_host="0.0.0.0", http_token=OWN, review_max_body_bytes=20_000
    ) as review:
        yield review


@pytest.fixture
async def video(review):
    video_id = uuid4()
    await review.hear(accepted(video_id), proxied(video_id), detected(video_id))
    answer = await review.http.get(f"/api/videos/{video_id}", headers=bearer(OWN))
    return answer.json()


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


async def token(review, role, name="ann", **more):
    answer = await review.http.post("/api/tokens", json={"name": name, "role": role, **more}, headers=bearer(OWN))
    assert answer.status_code == 201
    return answer.json()


def paths(review):
    """Every operation of the API, with ids in its path."""
    document = review.http._transport.app._app.openapi()
    for path, operations in document["paths"].items():
        for method in operations:
            yield (
                method.upper(),
                path.replace("{name}", "clip.mp4")
                .replace("{profile}", "p")
                .replace("{frame}", "1")
                .replace("{number}", "1")
                .replace("{service}", "export")
                .replace("{kind}", "csv")
                .replace("{what}", "models")
                .replace("{token}", "x")
                .replace("{token_id}", str(uuid4()))
                .replace("{", "")
                .replace("}", "")
                .replace("video_id", str(uuid4()))
                .replace("clip_id", str(uuid4()))
                .replace("edit_id", str(uuid4()))
                .replace("letter_id", str(uuid4()))
                .replace("work_id", str(uuid4()))
                .replace("upload_id", str(uuid4())),
            )


async def test_without_a_token_every_operation_is_refused_and_the_pages_are_not(review):
    asked = 0
    for method, path in paths(review):
        for headers in (
            {},
            bearer("wrong"),
            bearer("x" * 5000),
            {"Authorization": "Basic eDp5"},
            {"Cookie": "heaters_session=x"},
        ):
            answer = await review.http.request(method, path, headers=headers)
            asked += 1
            if path == "/api/media/x":
                assert (answer.status_code, answer.json()["code"]) == (403, "media.bad_address")
            elif path == "/api/session" and method != "GET":
                assert answer.status_code in (204, 422)
            else:
                assert (answer.status_code, answer.json()["code"]) == (401, "http.unauthorized"), (method, path)
                assert answer.headers["www-authenticate"] == "Bearer"
    assert asked > 200
    assert (await review.http.get("/")).status_code == 200


async def test_a_role_may_do_what_it_says_and_no_more(review, video):
    letter = uuid4()
    await review.hear(
        DeadLetterRecorded(
            dead_letter_id=letter,
            consumer="review",
            topic="heaters-videos",
            partition=0,
            offset=1,
            code="message.bad_header",
            reason="x",
            recorded_at=review.clock(),
        )
    )
    clip = video["clips"][0]
    body = {"command": "skip", "clips": [clip["id"]], "versions": [1], "by": "somebody else"}
    edits, discard = f"/api/videos/{video['id']}/edits", f"/api/dead-letters/{letter}/discard"
    expected = {
        "viewer": (200, 403, 403, 403, 403),
        "reviewer": (200, 200, 403, 403, 403),
        "operator": (200, 409, 200, 200, 200),
    }
    for role, statuses in expected.items():
        headers = bearer((await token(review, role, name=f"the {role}"))["token"])
        found = (
            await review.http.get("/api/clips", headers=headers),
            await review.http.post(edits, json=body, headers=headers),
            await review.http.post(discard, headers=headers),
            await review.http.get("/api/tokens", headers=headers),
            await review.http.get("/api/audit", headers=headers),
        )
        assert tuple(answer.status_code for answer in found) == statuses, role
        refused = [answer.json()["code"] for answer in found if answer.status_code == 403]
        assert set(refused) <= {"http.forbidden"}
    reviewer = bearer((await token(review, "reviewer"))["token"])
    for method, path in (
        ("PUT", "/api/profiles/x"),
        ("POST", "/api/search/reembed"),
        ("POST", "/api/ops/failures/retry"),
    ):
        assert (await review.http.request(method, path, headers=reviewer)).status_code == 403
    history = (await review.http.get(edits, headers=bearer(OWN))).json()["edits"]
    assert [edit["by"] for edit in history] == ["the reviewer"]
    entries = (await review.http.get("/api/audit", headers=bearer(OWN))).json()["entries"]
    told = [(entry["actor"], entry["action"].split(" ")[0], entry["status"]) for entry in entries]
    assert ("the operator", "POST", 200) in told
    assert ("operator", "POST", 201) in told
    page = (await review.http.get("/api/audit", params={"limit": 1}, headers=bearer(OWN))).json()
    following = await review.http.get("/api/audit", params={"limit": 1, "cursor": page["next"]}, headers=bearer(OWN))
    assert following.json()["entries"][0] == entries[1]


async def test_tokens_are_kept_as_digests_end_and_are_revoked(review):
    made = await token(review, "viewer", days=1)
    headers = bearer(made["token"])
    shown = await review.http.get("/api/session", headers=headers)
    assert shown.json() == {"auth": "token", "name": "ann", "role": "viewer"}
    rows = await review.rows("SELECT * FROM token WHERE id = :id", id=made["id"])
    assert made["token"] not in str(rows)
    assert made["token"].encode() not in bytes(rows[0]["digest"])
    listed = (await review.http.get("/api/tokens", headers=bearer(OWN))).text
    assert made["id"] in listed
    assert made["token"] not in listed
    assert (await review.http.delete(f"/api/tokens/{made['id']}", headers=bearer(OWN))).status_code == 204
    assert (await review.http.get("/api/session", headers=headers)).status_code == 401
    missing = await review.http.delete(f"/api/tokens/{uuid4()}", headers=bearer(OWN))
    assert (missing.status_code, missing.json()["code"]) == (404, "review.unknown_token")
    other = await token(review, "viewer", days=1)
    await review.rows("SELECT 1")
    from datetime import timedelta

    review.clock.now += timedelta(days=2)
    assert (await review.http.get("/api/session", headers=bearer(other["token"]))).status_code == 401


async def test_a_session_carries_the_token_in_a_cookie_that_no_script_reads(review):
    made = await token(review, "reviewer")
    wrong = await review.http.post("/api/session", json={"token": "wrong"})
    assert (wrong.status_code, wrong.json()["code"]) == (401, "http.unauthorized")
    assert "set-cookie" not in wrong.headers
    answer = await review.http.post("/api/session", json={"token": made["token"]})
    assert (answer.status_code, answer.json()["role"]) == (200, "reviewer")
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert (await review.http.get("/api/session")).json()["name"] == "ann"
    assert (await review.http.delete("/api/session")).status_code == 204
    assert (await review.http.get("/api/session")).status_code == 401


async def test_foreign_pages_large_bodies_and_nonsense_stay_outside_and_leak_nothing(review, video):
    path = f"/api/videos/{video['id']}/edits"
    clip = video["clips"][0]["id"]
    good = {"command": "note", "clips": [clip], "versions": [1], "note": "x"}
    nul = json.dumps({**good, "note": "a\x00b"})
    deep = '{"command":' * 900
    cases = [
        (403, "http.foreign_origin", {"json": good, "headers": {"Origin": "https://evil.example"}}),
        (403, "http.foreign_origin", {"json": good, "headers": {"Origin": "null"}}),
        (403, "http.foreign_origin", {"json": good, "headers": {"Origin": "http://[::1"}}),
        (413, "http.too_large", {"content": b"x" * 20_001}),
        (413, "http.too_large", {"content": b"", "headers": {"Content-Length": "9" * 30}}),
        (422, "http.invalid", {"content": nul, "headers": {"Content-Type": "application/json"}}),
        (422, "http.invalid", {"content": deep, "headers": {"Content-Type": "application/json"}}),
        (422, "http.invalid", {"content": b"\xff\xfe{}", "headers": {"Content-Type": "application/json"}}),
        (422, "http.invalid", {"json": [good]}),
        (422, "http.invalid", {"json": {**good, "unknown": 1}}),
        (422, "http.invalid", {"json": {**good, "versions": [2**40]}}),
        (422, "http.invalid", {"json": {**good, "note": "x" * 4001}}),
    ]
    for status, code, how in cases:
        headers = {**bearer(OWN), **how.pop("headers", {})}
        answer = await review.http.post(path, headers=headers, **how)
        assert (answer.status_code, answer.json()["code"]) == (status, code), how
        assert "Traceback" not in answer.text
        assert "services/" not in answer.text
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "trick",
    ["..%2f..%2fetc%2fpasswd", "%2e%2e", "a%00b", "*", "' OR 1=1 --", "x" * 300, "\N{SNOWMAN}", "%ff%fe", "-1", "1e9"],
)
async def test_tricks_in_every_id_are_refused(review, trick):
    for template in (
        "/api/videos/{}",
        "/api/videos/{}/media",
        "/api/videos/{}/overview",
        "/api/videos/{}/index",
        "/api/videos/{}/edits",
        "/api/videos/{}/trace",
        "/api/videos/{}/frames/1.jpg",
        "/api/videos/{}/interchange/csv",
        "/api/clips/{}",
        "/api/clips/{}/media",
        "/api/clips/{}/edits",
        "/api/clips/{}/trace",
        "/api/clips/{}/deliverables/p/n",
        f"/api/clips/{uuid4()}/deliverables/{{}}/n",
        f"/api/clips/{uuid4()}/deliverables/p/{{}}",
        f"/api/videos/{uuid4()}/frames/{{}}.jpg",
        f"/api/videos/{uuid4()}/interchange/{{}}",
        "/api/edits/{}",
        "/api/media/{}",
        "/api/dead-letters/{}",
        "/api/uploads/{}",
        "/api/search/{}",
        "/api/search/similar/{}",
        "/{}",
    ):
        answer = await review.http.get(template.format(trick), headers=bearer(OWN))
        assert answer.status_code in (403, 404, 422), template
        assert "root:" not in answer.text
        assert answer.headers["content-type"] == "application/problem+json", template


async def test_who_asks_too_often_waits(database, tmp_path):
    async with review_service(database, tmp_path, review_rate=2) as review:
        answers = [await review.http.get("/api/session") for _ in range(14)]
        assert [answer.status_code for answer in answers[:10]] == [200] * 10
        late = answers[-1]
        assert (late.status_code, late.json()["code"]) == (429, "http.too_many")
        assert int(late.headers["retry-after"]) >= 1


def test_buckets_refill_steadily():
    rates = Rates(10)
    assert [rates.take("a", 25, 0.0) for _ in range(3)] == [0, 0, 2.5]
    assert rates.take("b", 1, 0.0) == 0
    assert rates.take("a", 25, 2.5) == 0


async def test_on_loopback_without_a_token_whoever_is_there_is_an_operator(database, tmp_path):
    async with review_service(database, tmp_path) as review:
        shown = (await review.http.get("/api/session")).json()
        assert shown == {"auth": "open", "name": "local", "role": "operator"}
        opened = await review.http.post("/api/session", json={"token": "any"})
        assert opened.json() == shown
        assert "set-cookie" not in opened.headers
        assert health.is_loopback(review.runtime.settings.http_host)
        with bind(review.runtime.settings, has_api=True) as listening:
            assert listening.getsockname()[0] == "127.0.0.1"
