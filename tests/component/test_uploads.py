"""Uploads in parts: by the page's way through the service, by the console's way to signed addresses, and resumed."""

from __future__ import annotations

import hashlib
from uuid import uuid4

import httpx
import pytest

from services.chassis.objects import S3Store
from services.ingest.domain import FetchInput
from tests.support.review_service import review_service

PART = 5 << 20
DATA = bytes(range(256)) * 4096 * 11


@pytest.fixture(scope="module")
def database(servers):
    return servers.settings("127.0.0.1:9")


@pytest.fixture(params=["folder", "s3"])
async def review(request, database, tmp_path):
    async with review_service(
        database, tmp_path, review_part_bytes=PART, review_max_body_bytes=20_000, temp_dir=tmp_path
    ) as review:
        if request.param == "s3":
            review.runtime.objects = S3Store(review.runtime.settings)
            review.runtime.objects.ensure_bucket()
        yield review


def body(**fields):
    return {"name": "Holiday ü.mp4", "size": len(DATA), "content_type": "video/mp4", **fields}


async def announce(review, **fields):
    answer = await review.http.post("/api/uploads", json=body(**fields))
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


async def put(review, upload, number, data=None):
    start = (number - 1) * upload["part_bytes"]
    data = DATA[start : start + upload["part_bytes"]] if data is None else data
    return await review.http.put(f"/api/uploads/{upload['upload_id']}/parts/{number}", content=data)


async def test_a_page_sends_parts_and_goes_on_after_a_reload(review):
    mark = uuid4().hex
    upload = await announce(review, fingerprint=mark)
    assert (upload["parts"], upload["have"], upload["received"]) == (3, [], 0)
    assert (await put(review, upload, 3)).json() == {"number": 3, "size": len(DATA) - 2 * PART}
    assert (await put(review, upload, 1)).status_code == 200
    again = await announce(review, fingerprint=mark)
    assert (again["upload_id"], again["have"]) == (upload["upload_id"], [1, 3])
    assert again["received"] == len(DATA) - PART
    early = await review.http.post(f"/api/uploads/{upload['upload_id']}/complete")
    assert (early.status_code, early.json()["code"]) == (409, "upload.incomplete")
    await put(review, upload, 2)
    for _ in range(2):
        done = (await review.http.post(f"/api/uploads/{upload['upload_id']}/complete")).json()
        assert (done["state"], done["have"]) == ("complete", [1, 2, 3])
    (key,) = review.runtime.objects.list(f"uploads/{upload['upload_id']}/")
    assert review.runtime.objects.get_bytes(key) == DATA
    assert (await announce(review, fingerprint=mark))["state"] == "complete"
    refused = await review.http.delete(f"/api/uploads/{upload['upload_id']}")
    assert refused.json()["code"] == "upload.complete"
    assert FetchInput.model_validate({"video_id": uuid4(), "source": done["source"], "options": {}})


async def test_parts_of_the_wrong_size_or_number_are_refused(review):
    upload = await announce(review)
    for number, data in ((1, b"short"), (3, DATA[:PART]), (0, b"x"), (4, b"x")):
        answer = await put(review, upload, number, data)
        assert (answer.status_code, answer.json()["code"]) == (422, "upload.wrong_part"), answer.text
    assert (await review.http.get(f"/api/uploads/{upload['upload_id']}")).json()["have"] == []


async def test_an_upload_that_is_given_up_is_forgotten_and_may_begin_anew(review):
    mark = uuid4().hex
    upload = await announce(review, fingerprint=mark)
    await put(review, upload, 1)
    for _ in range(2):
        assert (await review.http.delete(f"/api/uploads/{upload['upload_id']}")).status_code == 204
    assert (await review.http.get(f"/api/uploads/{upload['upload_id']}")).status_code == 404
    assert (await put(review, upload, 2)).json()["code"] == "upload.unknown"
    assert (await announce(review, fingerprint=mark))["have"] == []


async def test_an_upload_that_the_store_lost_begins_anew(review):
    mark = uuid4().hex
    upload = await announce(review, fingerprint=mark)
    await put(review, upload, 1)
    (row,) = await review.rows("SELECT object_key, handle FROM upload WHERE id = :id", id=upload["upload_id"])
    review.runtime.objects.abort_upload(row["object_key"], row["handle"])
    assert (await announce(review, fingerprint=mark))["have"] == []
    assert (await put(review, upload, 1)).status_code == 200


async def test_what_cannot_be_an_upload_is_refused(review):
    for fields, status, code in (
        ({"size": 0}, 422, "upload.empty"),
        ({"size": 10**15}, 413, "upload.too_large"),
        ({"size": -1}, 422, "http.invalid"),
        ({"name": " "}, 422, "http.invalid"),
        ({"sha256": "zz"}, 422, "http.invalid"),
    ):
        answer = await review.http.post("/api/uploads", json=body(**fields))
        assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_a_part_goes_straight_to_the_store_by_its_signed_address(review):
    if not isinstance(review.runtime.objects, S3Store):
        return
    upload = await announce(review, sha256=hashlib.sha256(DATA).hexdigest())
    told = await review.http.post(f"/api/uploads/{upload['upload_id']}/parts", json={"numbers": [1, 2, 3]})
    async with httpx.AsyncClient() as outside:
        for part in told.json()["parts"]:
            start = (part["number"] - 1) * PART
            answer = await outside.put(part["url"], content=DATA[start : start + part["size"]])
            assert answer.status_code == 200
    await review.http.post(f"/api/uploads/{upload['upload_id']}/complete")
    (key,) = review.runtime.objects.list(f"uploads/{upload['upload_id']}/")
    assert review.runtime.objects.head(key).sha256 == hashlib.sha256(DATA).hexdigest()


def test_very_large_files_get_larger_parts():
    from services.review.uploads import announced

    upload = announced(
        name="big.mov", size=200 << 30, part_bytes=8 << 20, content_type="video/mp4", sha256="", fingerprint="x"
    )
    assert upload.parts <= 10_000
    assert upload.part_bytes % (1 << 20) == 0
