"""Delivered clips as training sets: read back as WebDataset reads them, and by their index."""

from __future__ import annotations

import io
import json
import tarfile
from uuid import uuid4

import pyarrow.parquet as pq
import pytest

from contracts.values import Deliverable, DeliverableFile, Verdict
from services.review.training import SampleChanged
from tests.support.review_events import accepted, detected, downloaded, exported, proxied
from tests.support.review_service import review_service

VTT = b"WEBVTT\n\n00:00.000 --> 00:01.000\nGood <b>morning</b>\n\n00:01.000 --> 00:02.000\nto all\n"
CLIPS = 3
BIG = 1_300_000


@pytest.fixture(scope="module")
def settings(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture
async def review(settings, tmp_path):
    async with review_service(settings, tmp_path) as review:
        review.runtime.objects.ensure_bucket()
        yield review


def bundle(review, clip_id, profile="delivery-h264", ending="mp4", fill=b"v"):
    """A deliverable whose objects lie in the store."""

    def put(role, name, data, kind):
        return DeliverableFile(
            role=role, name=name, object=review.runtime.objects.put_bytes(data, f"{prefix}/{name}", kind)
        )

    prefix = f"clips/{clip_id}/exports/{profile}/r"
    return Deliverable(
        profile=profile,
        manifest=review.runtime.objects.put_bytes(b"{}", f"{prefix}/manifest.json", "application/json"),
        files=(
            put("video", f"film.{ending}", fill * BIG, "video/mp4"),
            put("poster", "film.poster.jpg", b"jpeg" + str(clip_id).encode(), "image/jpeg"),
            put("captions_vtt", "film.en.vtt", VTT, "text/vtt"),
            put("captions_srt", "film.en.srt", b"1", "application/x-subrip"),
        ),
        verdict=Verdict.PASS,
    )


async def delivered(review, *, tag=None, more=()):
    """A video whose three clips were approved and delivered. Its id and its clips."""
    video_id = uuid4()
    await review.hear(accepted(video_id), downloaded(video_id), proxied(video_id), detected(video_id))
    clips = (await review.video(video_id))["clips"]
    assert len(clips) == CLIPS
    assert (await review.edit(video_id, "approve", clips)).status_code == 200
    if tag:
        clips = (await review.video(video_id))["clips"]
        assert (await review.edit(video_id, "tag", clips[:1], add=[tag])).status_code == 200
    for number, clip in enumerate(clips):
        made = bundle(review, clip["id"], fill=b"%d" % number)
        event = exported(clip["id"], video_id=video_id)
        others = tuple(bundle(review, clip["id"], *other) for other in more)
        await review.hear(event.model_copy(update={"deliverables": (made, *others)}))
    return video_id, (await review.video(video_id))["clips"]


async def get(review, path, **query):
    answer = await review.http.get(path, params=query or None)
    assert answer.status_code == 200, answer.text
    return answer


def samples_of(data):
    """The members of a shard by key, as WebDataset groups them: everything after the first dot is the kind."""
    samples = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as shard:
        for entry in shard:
            assert (entry.mtime, entry.uid, entry.gid, entry.isreg()) == (0, 0, 0, True)
            key, _, kind = entry.name.partition(".")
            samples.setdefault(key, {})[kind] = shard.extractfile(entry).read()
    return samples


async def test_a_set_is_read_back_as_it_was_delivered(review):
    video_id, clips = await delivered(review, tag="harbour")
    made = (await get(review, "/api/training-set", video=str(video_id), shard_bytes=3_000_000)).json()
    assert [shard["samples"] for shard in made["shards"]] == [2, 1]
    assert made["samples"] == CLIPS
    found = {}
    for shard in made["shards"]:
        answer = await get(review, shard["url"])
        assert len(answer.content) % 512 == 0
        assert len(answer.content) < 3_100_000
        assert answer.content == (await get(review, shard["url"])).content
        found |= samples_of(answer.content)
    assert list(found) == sorted(clip["id"] for clip in clips)
    for number, clip in enumerate(clips):
        sample = found[clip["id"]]
        assert set(sample) == {"mp4", "jpg", "en.vtt", "json"}
        assert sample["mp4"] == b"%d" % number * BIG
        assert (sample["jpg"], sample["en.vtt"]) == (b"jpeg" + clip["id"].encode(), VTT)
        said = json.loads(sample["json"])
        assert (said["start_frame"], said["end_frame"]) == (clip["start_frame"], clip["end_frame"])
        assert (said["tags"], said["captions"]) == (clip["tags"], {"en": "Good morning\nto all"})
        assert (said["profile"], said["title"]) == ("delivery-h264", clip["title"])
    table = pq.read_table(io.BytesIO((await get(review, made["index"])).content)).to_pylist()
    assert [row["key"] for row in table] == list(found)
    assert [row["shard"] for row in table] == ["00000.tar", "00000.tar", "00001.tar"]
    for row in table:
        said = json.loads(found[row["key"]]["json"])
        assert said.pop("captions")
        assert {name: row[name] for name in said} == said
    assert (await get(review, made["index"])).content == (await get(review, made["index"])).content


async def test_a_set_holds_what_was_asked_for(review):
    video_id, clips = await delivered(review, tag="pier", more=(("archive-ffv1", "mkv"),))
    one = (await get(review, "/api/training-set", tag="pier")).json()
    assert one["samples"] == 1
    two = (await get(review, "/api/training-set", clip=[clips[1]["id"], clips[2]["id"]])).json()
    assert two["samples"] == 2
    whole = (await get(review, "/api/training-set", video=str(video_id), profile="archive-ffv1")).json()
    (shard,) = whole["shards"]
    assert all("mkv" in sample for sample in samples_of((await get(review, shard["url"])).content).values())
    for query, status, code in (
        ({"video": str(uuid4())}, 404, "training.empty"),
        ({"tag": "pier", "profile": "proxy-preview"}, 404, "training.empty"),
    ):
        answer = await review.http.get("/api/training-set", params=query)
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    answer = await review.http.get("/api/training-set/00007.tar", params={"tag": "pier"})
    assert (answer.status_code, answer.json()["code"]) == (404, "training.unknown_shard")


async def test_a_shard_of_a_set_that_has_changed_is_refused(review):
    video_id, clips = await delivered(review)
    made = (await get(review, "/api/training-set", video=str(video_id))).json()
    assert (await review.edit(video_id, "tag", clips[:1], add=["new"])).status_code == 200
    answer = await review.http.get(made["shards"][0]["url"])
    assert (answer.status_code, answer.json()["code"]) == (409, "training.changed")


async def test_a_clip_whose_approval_was_taken_back_is_in_no_set(review):
    video_id, clips = await delivered(review)
    assert (await review.edit(video_id, "archive", clips[:1])).status_code == 200
    made = (await get(review, "/api/training-set", video=str(video_id))).json()
    assert made["samples"] == CLIPS - 1


async def test_a_damaged_object_ends_the_shard_early(review):
    video_id, clips = await delivered(review)
    made = (await get(review, "/api/training-set", video=str(video_id))).json()
    stored = clips[0]["deliverables"][0]["files"][0]["object"]
    review.runtime.objects.put_bytes(b"x" * BIG, stored["key"], "video/mp4")
    with pytest.raises(RuntimeError) as broken:
        await review.http.get(made["shards"][0]["url"])
    assert isinstance(broken.value.__cause__, SampleChanged)
