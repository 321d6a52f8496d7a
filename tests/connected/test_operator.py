"""The operator's view: one timeline across six services, search, failed work resumed, dead letters replayed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import struct
import time
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.support import wire
from tests.support.media_files import FIXTURES, unique

VIDEO = FIXTURES / "psd_counter_1080p10_30frames.mp4"
SERVICES = {"ingest", "preprocess", "scenes", "review", "export", "embed"}


@pytest.fixture(scope="module")
def video(stack, tmp_path_factory) -> dict:
    return stack.run(
        "--title",
        f"Operated {uuid4().hex[:6]}",
        unique(VIDEO, tmp_path_factory.mktemp("in")),
        out=tmp_path_factory.mktemp("out"),
    )["videos"][0]


@pytest.fixture(scope="module")
def spans(stack, video) -> list[dict]:
    """The clip's whole timeline: services write their spans within a second or two of their end."""
    clip = video["clips"][0]["id"]
    seen = -1
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = json.loads(stack.console("trace", clip, "--json", "--all").stdout)["spans"]
        if len(found) == seen and "embed.embed" in {span["name"] for span in found}:
            return found
        seen = len(found)
        time.sleep(3)
    raise AssertionError(f"the timeline does not come to rest: {sorted({span['name'] for span in found})}")


def test_a_clip_has_one_timeline_across_all_six_services(spans, video):
    assert {span["service"] for span in spans} >= SERVICES
    starts = [span["start_seconds"] for span in spans]
    assert min(starts) >= 0


def test_the_timelines_spans_form_one_connected_tree(stack, spans, video):
    by_id = {span["span_id"]: span for span in spans}
    roots = [span for span in spans if span["parent_id"] not in by_id]
    clip_trace = video["clips"][0]["trace_id"]
    # The video's trace begins at the request; the clip's is linked to it. Nothing else hangs in the air.
    assert {span["trace_id"] for span in roots if span["trace_id"] == clip_trace} == {clip_trace}
    assert len([span for span in roots if span["trace_id"] == clip_trace]) == 1
    assert len({span["trace_id"] for span in spans}) == 2
    assert len(roots) <= 2
    root = next(span for span in roots if span["trace_id"] == clip_trace)
    links = stack.query("SELECT links FROM telemetry.span WHERE span_id = %s", root["span_id"])[0]["links"]
    assert {link["trace_id"] for link in links} == {span["trace_id"] for span in spans} - {clip_trace}


def test_every_stages_work_tells_its_queue_time_and_its_run_time(spans):
    work = {span["name"]: span for span in spans if span["queue_seconds"] is not None}
    assert {
        "ingest.fetch",
        "preprocess.proxy",
        "scenes.detect",
        "export.export",
        "embed.keyframe",
        "embed.embed",
    } <= work.keys()
    assert all(span["run_seconds"] > 0 and span["queue_seconds"] >= 0 for span in work.values())


def test_the_printed_timeline_names_every_stage(stack, video):
    text = stack.console("trace", video["clips"][0]["id"]).stdout
    for name in SERVICES - {"review"}:
        assert name in text


def test_similar_clips_are_found_by_api_and_console(stack, video):
    first, second = (clip["id"] for clip in video["clips"][:2])

    def by_api():
        answer = httpx.get(f"{stack.url('embed')}/api/similar/{first}", params={"limit": 100}, timeout=30).json()
        return [row["clip_id"] for row in answer["results"]]

    def by_console():
        answer = json.loads(stack.console("search", "--similar", first, "--limit", "100", "--json").stdout)
        return [row["clip_id"] for row in answer["results"]]

    # A clip that came last is shown once its facts were heard, which may lie between the two questions.
    stack.wait(lambda: by_console() == by_api(), what="both to have heard of every clip")
    found = by_api()
    assert second in found
    assert first not in found


def test_a_picture_finds_the_clip_it_is_from(stack, video):
    poster = next(file["path"] for file in video["clips"][1]["deliverables"][0]["files"] if file["role"] == "poster")
    found = json.loads(stack.console("search", "--image", poster, "--limit", "3", "--json").stdout)["results"]
    title = video["title"]
    assert any(row["clip_id"] == video["clips"][1]["id"] or row.get("title") == title for row in found)


def test_status_counts_the_services_and_their_work(stack, video):
    status = json.loads(stack.console("status", "--json").stdout)
    assert {part["name"] for part in status["parts"]} >= SERVICES
    assert all(part["state"] in {"ready", "external"} for part in status["parts"])


def test_metrics_tell_the_throughput_the_lag_and_what_an_edit_costs(stack, video):
    def sample(service: str, name: str) -> float | None:
        told = httpx.get(f"{stack.url(service)}/metrics", timeout=30).text
        return next((float(line.rpartition(" ")[2]) for line in told.splitlines() if line.startswith(name + " ")), None)

    seconds = video["frames"] / 10
    for service, kind in (
        ("ingest", "fetch"),
        ("preprocess", "proxy"),
        ("preprocess", "master"),
        ("scenes", "detect"),
        ("export", "export"),
        ("embed", "keyframe"),
    ):
        assert sample(service, f'heaters_media_seconds_total{{kind="{kind}"}}') >= seconds * 0.99, kind
    stack.wait(
        lambda: sample("review", 'heaters_consumer_lag{topic="heaters-clips"}') == 0, what="everything read", timeout=30
    )
    clip = httpx.get(f"{stack.url('review')}/api/clips/{video['clips'][0]['id']}", timeout=30).json()
    note = {"command": "note", "clips": [clip["id"]], "versions": [clip["version"]], "note": "Measured."}
    made = httpx.post(f"{stack.url('review')}/api/videos/{clip['video_id']}/edits", json=note, timeout=30).json()
    assert sample("review", 'heaters_edit_seconds_count{edit="note"}') == 1
    httpx.post(f"{stack.url('review')}/api/edits/{made['edit']['id']}/undo", timeout=30).raise_for_status()


def test_events_of_a_video_are_listed_in_order(stack, video):
    lines = stack.console("events", "--video", video["id"], "--json").stdout.splitlines()
    types = [json.loads(line)["type"] for line in lines]
    assert types.index("heaters.video.accepted.v1") < types.index("heaters.video.proxied.v1")
    assert "heaters.clip.embedded.v1" in types


def test_work_that_failed_is_resumed_and_finishes(stack, tmp_path):
    """An object that is not there yet fails the request; once it is, the operator resumes."""
    key = f"uploads/late/{uuid4().hex}.mp4"
    request = {
        "source": {"kind": "object", "key": key},
        "title": "Late",
        "options": {"review": "auto"},
        "idempotency_key": uuid4().hex,
    }
    taken = httpx.post(f"{stack.url('review')}/api/requests", json=request, timeout=30)
    taken.raise_for_status()
    video_id = taken.json()["video_id"]

    def state():
        answer = httpx.get(f"{stack.url('review')}/api/videos/{video_id}", timeout=30)
        return answer.json() if answer.status_code == 200 else {}

    stack.wait(lambda: state().get("state") == "download_failed", what="the failure", timeout=60)
    assert state()["error"]["code"] in {"ingest.not_found", "ingest.object_missing", "objects.missing"}
    stack.store().put_file(unique(FIXTURES / "exo_av1_aac_1080x720.mp4", tmp_path), key, "video/mp4")
    stack.console("retry", video_id)
    stack.wait(
        lambda: state().get("error") is None and state().get("state") == "ready", what="the resumed video", timeout=120
    )


def test_a_dead_letter_is_listed_shown_replayed_and_discarded(stack):
    mine = uuid4().hex.encode()

    async def publish():
        async with wire.producer(stack.bootstrap) as producer:
            await producer.send_and_wait("heaters-clips", wire.NO_EVENT, mine)

    asyncio.run(publish())

    def letters():
        found = json.loads(stack.console("dead-letters", "list", "--json").stdout)
        rows = found["dead_letters"]
        shown = [json.loads(stack.console("dead-letters", "show", row["id"]).stdout) for row in rows[:5]]
        return [letter for letter in shown if letter["key_base64"] == wire.base64(mine)]

    letter = stack.wait(letters, what="the dead letter", timeout=30)[0]
    assert letter["code"] == "message.missing_header"
    stack.console("dead-letters", "replay", letter["id"])
    again = stack.wait(lambda: [one for one in letters() if one["id"] != letter["id"]], what="it again", timeout=30)[0]
    stack.console("dead-letters", "discard", again["id"])


def test_the_doctor_finds_nothing_bad(stack):
    assert stack.console("doctor", check=False).returncode == 0


def about(found: dict, ids: set[str]) -> list[str]:
    """Keys of an audit that speak of some videos or clips; other tests may be at work on theirs."""
    keys = [entry["key"] for entry in (*found["orphans"], *found["missing"])]
    return [key for key in keys if any(each in key for each in ids)]


def test_an_audit_finds_every_object_known_and_every_row_kept(stack, video):
    ids = {video["id"], *(clip["id"] for clip in video["clips"])}
    found = json.loads(stack.console("audit", "--json", "--grace", "0", check=False).stdout)
    assert found["objects"] > 10
    assert found["due"] > 5
    assert about(found, ids) == []


def test_a_stray_object_is_found_and_deleted_by_an_audit(stack, video):
    stray = f"clips/{uuid4()}/exports/x/stray.mp4"
    stack.store().put_bytes(b"x", stray, "video/mp4")
    found = json.loads(stack.console("audit", "--json", "--grace", "0", check=False).stdout)
    assert stray in {entry["key"] for entry in found["orphans"]}
    printed = stack.console("audit", "--grace", "0", check=False)
    assert printed.returncode == 1
    assert "audit --mend" in printed.stdout


def test_a_submitted_file_goes_on_from_the_parts_that_have_arrived(stack, tmp_path):
    path = unique(VIDEO, tmp_path)
    with path.open("ab") as file:
        # A box that players pass over makes it two parts long.
        file.write(struct.pack(">I4s", 9 << 20, b"free") + bytes((9 << 20) - 8))
    data = path.read_bytes()
    review = httpx.Client(base_url=stack.settings["HEATERS_REVIEW_URL"], timeout=30)
    digest = hashlib.sha256(data).hexdigest()
    told = {"name": path.name, "size": len(data), "sha256": digest, "fingerprint": f"sha256:{digest}"}
    upload = review.post("/api/uploads", json=told).json()
    assert upload["parts"] == 2
    sent = review.put(f"/api/uploads/{upload['upload_id']}/parts/1", content=data[: upload["part_bytes"]])
    assert sent.status_code == 200
    video_id = json.loads(stack.console("submit", "--json", "--whole", path).stdout)["videos"][0]["id"]
    again = review.get(f"/api/uploads/{upload['upload_id']}").json()
    assert (again["state"], again["have"]) == ("complete", [1, 2])
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        found = review.get(f"/api/videos/{video_id}")
        if found.status_code == 200 and found.json()["state"] not in {"new", "downloading"}:
            break
        time.sleep(0.3)
    review.close()
    assert found.json()["error"] is None
    (source,) = [key for key in stack.store().list(f"videos/{video_id}/source/") if digest in key]
    assert stack.store().get_bytes(source) == data


def test_an_approval_undone_after_its_export_takes_away_all_that_was_made(stack, video):
    clip, store = video["clips"][0]["id"], stack.store()

    def shown():
        return httpx.get(f"{stack.url('review')}/api/clips/{clip}", timeout=30).json()

    assert len(list(store.list(f"clips/{clip}/"))) > 5
    httpx.post(f"{stack.url('review')}/api/edits/{shown()['last_edit']}/undo", timeout=30).raise_for_status()
    stack.wait(lambda: shown()["is_virtual"], what="the cleaning", timeout=60)
    assert (shown()["state"], shown()["deliverables"]) == ("pending_review", [])
    stack.wait(lambda: not list(store.list(f"clips/{clip}/")), what="an empty folder", timeout=60)


def test_an_approval_undone_while_its_export_runs_ends_it_and_takes_away_what_it_wrote(stack, tmp_path):
    review, store = stack.url("review"), stack.store()
    submitted = stack.console("submit", "--json", "--whole", "--review", "auto", unique(VIDEO, tmp_path))
    video_id = json.loads(submitted.stdout)["videos"][0]["id"]

    def states(kind):
        found = stack.query("SELECT state FROM export.work WHERE video_id = %s AND kind = %s", video_id, kind)
        return [row["state"] for row in found]

    stack.wait(lambda: states("export") == ["running"], what="the export", every=0.02)
    # Stood still in the middle of its work, and half a bundle in the store, as a process that is killed leaves it.
    at_work = stack.children("export")
    with contextlib.suppress(psutil.NoSuchProcess):
        for process in at_work:
            process.suspend()
    assert states("export") == ["running"]
    (clip,) = httpx.get(f"{review}/api/videos/{video_id}", timeout=30).json()["clips"]
    half = f"clips/{clip['id']}/exports/delivery-h264/half/half.mp4"
    store.put_bytes(b"half", half, "video/mp4")
    httpx.post(f"{review}/api/edits/{clip['last_edit']}/undo", timeout=30).raise_for_status()
    stack.wait(lambda: states("export") == ["cancelled"], what="the withdrawal", timeout=30)
    stack.wait(lambda: not any(process.is_running() for process in at_work), what="the end of the process", timeout=30)
    assert states("clean") == ["waiting"]
    shown = httpx.get(f"{review}/api/clips/{clip['id']}", timeout=30).json()
    assert (shown["state"], shown["is_virtual"], shown["deliverables"]) == ("pending_review", True, [])
    # Cleaning waits until the process has surely ended; the test need not.
    stack.query(
        "UPDATE export.work SET not_before = now() WHERE video_id = %s AND kind = 'clean' RETURNING id", video_id
    )
    stack.wait(lambda: not list(store.list(f"clips/{clip['id']}/")), what="an empty folder", timeout=60)
    assert states("export") == ["cancelled"]
