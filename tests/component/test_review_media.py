"""What players get: signed addresses pinned to an object, slices of the index, exact frames, overviews."""

from __future__ import annotations

import base64
import io
import json
from datetime import timedelta
from fractions import Fraction
from types import SimpleNamespace
from uuid import uuid4

import av
import numpy as np
import pytest
from PIL import Image

from contracts.events.v1.video import Proxy, ReviewAudio
from contracts.values import ObjectRef
from services.chassis.objects import S3Store
from services.media.probe import probe
from services.media.review_media import make_review_media
from services.review.playback import peak_curve, score_curve
from tests.support.made_videos import luma_of, make_video, read_number
from tests.support.review_events import accepted, detected, proxied
from tests.support.review_service import review_service

FRAMES = 40


@pytest.fixture(scope="module")
def settings(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    source = make_video(folder / "a.mp4", frames=FRAMES, rate=Fraction(30000, 1001), audio="aac")
    return make_review_media(source, probe(source), folder)


@pytest.fixture
async def review(settings, tmp_path):
    async with review_service(settings, tmp_path, media_url_lifetime="60") as review:
        review.runtime.objects.ensure_bucket()
        yield review


async def played(review, made):
    """A video whose media lie in the store."""
    video_id = uuid4()
    put, name = review.runtime.objects.put_bytes, f"videos/{video_id}"
    curve = io.BytesIO()
    np.savez_compressed(curve, curve=np.linspace(0, 1, FRAMES))
    event = proxied(video_id, frames=FRAMES).model_copy(
        update={
            "proxy": Proxy(
                **put(made.proxy.read_bytes(), f"{name}/p.mp4", "video/mp4").model_dump(),
                codec=made.index.codec,
                width=made.index.width,
                height=made.index.height,
            ),
            "index": put(made.index_path.read_bytes(), f"{name}/index.bin", "application/octet-stream"),
            "peaks": put(made.sound.peaks.read_bytes(), f"{name}/peaks.bin", "application/octet-stream"),
            "audio": ReviewAudio(
                **put(made.sound.audio.read_bytes(), f"{name}/audio.m4a", "audio/mp4").model_dump(),
                codec=made.sound.codec,
                sample_rate=made.sound.sample_rate,
                channels=made.sound.channels,
            ),
            "sprites": (put(b"s", f"{name}/s.jpg", "image/jpeg"),),
            "sprite_map": put(json.dumps({"every": 24}).encode(), f"{name}/s.json", "application/json"),
        }
    )
    scenes = detected(video_id, cuts=(10, 30), frames=FRAMES).model_copy(
        update={"scores": put(curve.getvalue(), f"{name}/scores.npz", "application/octet-stream")}
    )
    await review.hear(accepted(video_id), event, scenes)
    return await review.video(video_id)


@pytest.fixture
async def video(review, made):
    return await played(review, made)


async def test_a_clips_slice_gives_every_frame_with_one_range_of_its_own_bytes(review, video, made):
    clip = video["clips"][1]
    media = (await review.http.get(f"/api/clips/{clip['id']}/media", params={"handle": 4})).json()
    assert (media["first_frame"], len(media["sizes"]), media["frames_of_video"]) == (6, 28, FRAMES)
    assert (media["rate"], media["codec"]) == ("30000/1001", made.index.codec)
    assert media["pts"] == made.index.pts[6:34].tolist()
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = base64.b64decode(media["description"])
    start = media["offset"]
    for number, size in enumerate(media["sizes"], media["first_frame"]):
        answer = await review.http.get(
            media["proxy"]["url"],
            headers={"Range": f"bytes={start}-{start + size - 1}", "If-Match": media["proxy"]["etag"]},
        )
        assert (answer.status_code, len(answer.content)) == (206, size)
        assert answer.headers["content-range"] == f"bytes {start}-{start + size - 1}/{media['proxy']['size']}"
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = base64.b64decode(media["description"])
        (frame,) = [*decoder.decode(av.Packet(answer.content)), *decoder.decode(None)]
        assert read_number(luma_of(frame)) == number
        start += size


async def test_an_exact_frame_is_that_frame(review, video):
    for number in (0, 13, FRAMES - 1):
        answer = await review.http.get(f"/api/videos/{video['id']}/frames/{number}.jpg")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
        luma = np.asarray(Image.open(io.BytesIO(answer.content)).convert("L"))
        assert read_number(luma) == number
    again = await review.http.get(
        f"/api/videos/{video['id']}/frames/{FRAMES - 1}.jpg", headers={"If-None-Match": answer.headers["etag"]}
    )
    assert again.status_code == 304
    small = await review.http.get(f"/api/videos/{video['id']}/frames/3.jpg", params={"height": 64})
    assert Image.open(io.BytesIO(small.content)).height == 64
    for wrong in (FRAMES, 2**31 - 1):
        answer = await review.http.get(f"/api/videos/{video['id']}/frames/{wrong}.jpg")
        assert (answer.status_code, answer.json()["code"]) == (404, "review.unknown_frame")


async def test_a_frame_whose_bytes_are_damaged_is_refused_and_the_next_one_is_made(review, video):
    stored = (
        await review.rows("SELECT facts->'proxied'->'proxy'->>'key' AS key FROM video WHERE id = :id", id=video["id"])
    )[0]
    whole = review.runtime.objects.get_bytes(stored["key"])
    review.runtime.objects.put_bytes(b"\xff" * len(whole), stored["key"], "video/mp4")
    answer = await review.http.get(f"/api/videos/{video['id']}/frames/3.jpg")
    assert (answer.status_code, answer.json()["code"]) == (409, "review.frame_unreadable")
    review.runtime.objects.put_bytes(whole, stored["key"], "video/mp4")
    assert (await review.http.get(f"/api/videos/{video['id']}/frames/4.jpg")).status_code == 200


async def test_an_overview_tells_a_whole_video_at_a_glance(review, video):
    await review.edit(video["id"], "approve", [video["clips"][0]])
    shown = (await review.http.get(f"/api/videos/{video['id']}/overview")).json()
    assert [(cut["start_frame"], cut["kind"]) for cut in shown["cuts"]] == [(10, "cut"), (30, "cut")]
    assert (shown["scores"]["every"], len(shown["scores"]["values"])) == (1, FRAMES)
    assert shown["peaks"]["every_seconds"] == pytest.approx(0.01)
    assert shown["sprite_map"] == {"every": 24}
    assert len(shown["sprites"]) == 1
    assert shown["decisions"] == {"review_approved": 1, "pending_review": 2}
    assert shown["decisions_per_hour"] == 6
    assert [(clip["start_frame"], clip["end_frame"]) for clip in shown["clips"]] == [(0, 10), (10, 30), (30, 40)]


def test_curves_are_thinned_without_losing_their_extremes():
    curve = np.zeros(100_000, np.float32)
    curve[77_777] = 9
    packed = io.BytesIO()
    np.savez_compressed(packed, curve=curve)
    every, values = score_curve(packed.getvalue())
    assert len(values) <= 4_000
    assert values[77_777 // every] == 9
    pairs = np.zeros((50_000, 2), np.int8)
    pairs[41_000] = (-127, 126)
    head = b"HPKS" + (1).to_bytes(2, "little") * 2 + b"".join(n.to_bytes(4, "little") for n in (48_000, 480, 50_000))
    seconds, found = peak_curve(head + pairs.tobytes())
    assert (-127, 126) in found
    assert (len(found), seconds) == (50_000 // 13 + 1, pytest.approx(0.13))
    assert score_curve(b"no archive") is None
    assert peak_curve(head) is None


@pytest.mark.parametrize(
    ("asked", "status", "expected", "told"),
    [
        (None, 200, slice(None), None),
        ("bytes=0-0", 206, slice(0, 1), "bytes 0-0/{size}"),
        ("bytes=10-19", 206, slice(10, 20), "bytes 10-19/{size}"),
        ("bytes=10-", 206, slice(10, None), "bytes 10-{last}/{size}"),
        ("bytes=-7", 206, slice(-7, None), "bytes {tail}-{last}/{size}"),
        ("bytes=0-999999999999", 206, slice(None), "bytes 0-{last}/{size}"),
        ("bytes=999999999-", 416, None, "bytes */{size}"),
        ("bytes=-0", 416, None, "bytes */{size}"),
        ("bytes=9-2", 200, slice(None), None),
        ("bytes=0-1,5-6", 200, slice(None), None),
        ("bytes=-", 200, slice(None), None),
        ("lines=1-2", 200, slice(None), None),
    ],
)
async def test_ranges_are_answered_as_http_has_it(review, video, made, asked, status, expected, told):
    url = (await review.http.get(f"/api/videos/{video['id']}/media")).json()["proxy"]["url"]
    data = made.proxy.read_bytes()
    answer = await review.http.get(url, headers={"Range": asked} if asked else {})
    assert answer.status_code == status
    if expected is not None:
        assert answer.content == data[expected]
    words = {"size": len(data), "last": len(data) - 1, "tail": len(data) - 7}
    assert answer.headers.get("content-range") == (told.format(**words) if told else None)


async def test_large_objects_are_sent_piece_by_piece(review):
    data = np.random.default_rng(1).bytes(2_500_000)
    stored = review.runtime.objects.put_bytes(data, "videos/large.bin", "application/octet-stream")
    url = address(review, stored)
    assert (await review.http.get(url)).content == data
    part = await review.http.get(url, headers={"Range": "bytes=5-2000004"})
    assert (part.status_code, part.content) == (206, data[5:2_000_005])
    head = await review.http.head(url)
    assert (head.headers["content-length"], head.content) == ("2500000", b"")


async def test_frames_beside_one_that_was_read_cost_no_read_of_the_store_for_a_minute(review):
    data = np.random.default_rng(2).bytes(700_000)
    stored = review.runtime.objects.put_bytes(data, "videos/blocks.bin", "application/octet-stream")
    url = address(review, stored)

    async def part(start: int, end: int):
        return await review.http.get(url, headers={"Range": f"bytes={start}-{end - 1}"})

    # Over the edge of two blocks, and the last bytes of the last one.
    for start, end in ((262_000, 262_400), (10, 20), (699_990, 700_000)):
        assert (await part(start, end)).content == data[start:end]
    review.runtime.objects.delete(["videos/blocks.bin"])
    for start, end in ((100, 5_000), (300_000, 300_010), (0, 262_144), (262_143, 524_287), (600_000, 600_001)):
        answer = await part(start, end)
        assert (answer.status_code, answer.content) == (206, data[start:end])
    review.clock.now += timedelta(seconds=61)
    assert (await review.http.get(address(review, stored), headers={"Range": "bytes=100-200"})).status_code == 404


def address(review, stored: ObjectRef) -> str:
    from services.review.api.addresses import Addresses

    secret = review.runtime.settings.s3_secret_key.get_secret_value()
    return Addresses(secret, review.runtime.settings.media_url_lifetime).file(stored, review.clock.now).url


async def test_addresses_end_cannot_be_forged_and_open_one_object_only(review, video):
    stored = review.runtime.objects.put_bytes(b"first", "videos/pinned.bin", "text/plain")
    url = address(review, stored)
    answer = await review.http.get(url)
    assert (answer.content, answer.headers["etag"]) == (b"first", f'"{stored.sha256}"')
    assert (await review.http.get(url, headers={"If-None-Match": answer.headers["etag"]})).status_code == 304
    for header, status in (('"other"', 412), ("*", 200), (answer.headers["etag"], 200)):
        assert (await review.http.get(url, headers={"If-Match": header})).status_code == status
    condition = {"Range": "bytes=0-0", "If-Range": '"other"'}
    assert (await review.http.get(url, headers=condition)).status_code == 200
    body, _, signature = url.rpartition("/")[2].partition(".")
    other = base64.urlsafe_b64encode(json.dumps(["secrets", 5, "0" * 64, "text/plain", 2**33]).encode()).decode()
    for forged in (
        f"{other.rstrip('=')}.{signature}",
        f"{body}.",
        body,
        f"{body}.{signature}x",
        "é.é",
    ):
        answer = await review.http.get(f"/api/media/{forged}")
        assert (answer.status_code, answer.json()["code"]) == (403, "media.bad_address"), forged
    review.runtime.objects.put_bytes(b"other", "videos/pinned.bin", "text/plain")
    answer = await review.http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (412, "media.changed")
    review.runtime.objects.delete(["videos/pinned.bin"])
    assert (await review.http.get(url)).status_code == 404
    review.clock.now += timedelta(seconds=400)
    answer = await review.http.get(url)
    assert (answer.status_code, answer.json()["code"]) == (403, "media.expired")
    assert "videos/" not in answer.text


async def test_a_piece_of_a_stored_object_comes_with_what_it_is_of(settings):
    store = S3Store(SimpleNamespace(**_store_settings(settings)))
    store.ensure_bucket()
    stored = store.put_bytes(b"0123456789", "a/b", "text/plain")
    piece = store.get_piece("a/b", 2, 5)
    assert (piece.data, piece.size, piece.sha256) == (b"234", 10, stored.sha256)
    beyond = store.get_piece("a/b", 8, 50)
    assert (beyond.data, beyond.size, beyond.sha256) == (b"", 10, stored.sha256)


def _store_settings(settings):
    from services.review.settings import Settings

    chosen = Settings(**settings)
    return {name: getattr(chosen, name) for name in type(chosen).model_fields}


async def test_delivered_clips_are_listed_with_addresses(review, video):
    from tests.support.review_events import work_events

    clip = video["clips"][0]
    await review.edit(video["id"], "approve", [clip])
    event = work_events(clip["id"], video_id=video["id"])["exported"]
    review.runtime.objects.put_bytes(b"{}", event.deliverables[0].manifest.key, "application/json")
    await review.hear(event)
    page = (await review.http.get("/api/deliverables")).json()
    found = next(each for each in page["deliverables"] if each["clip"]["id"] == clip["id"])
    assert set(found["files"]["delivery-h264"]) == {"manifest.json", "clip.mp4"}
