"""What every object store does: the S3 client against a real server, and the folder that unit tests use."""

from __future__ import annotations

import io
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest

from contracts.errors import Permanent
from contracts.values import ObjectRef
from services.chassis.objects import FolderStore, ObjectDamaged, ObjectMissing, S3Store, sha256_of
from services.chassis.settings import ChassisSettings

DATA = bytes(range(256)) * 4096


@pytest.fixture(scope="module")
def s3(servers):
    store = S3Store(ChassisSettings(**servers.settings("127.0.0.1:9")))
    store.ensure_bucket()
    return store


@pytest.fixture(params=["s3", "folder"])
def store(request, tmp_path):
    if request.param == "s3":
        return request.getfixturevalue("s3")
    store = FolderStore(tmp_path / "store")
    store.ensure_bucket()
    return store


@pytest.fixture
def key():
    return f"test/{uuid4().hex}/object.bin"


def test_what_is_put_is_got_whole_in_part_and_by_reference(store, key, tmp_path):
    ref = store.put_bytes(DATA, key, "application/x-test")
    assert store.head(key) == ref
    assert store.get_bytes(key) == DATA
    assert store.get_range(key, 10, 20) == DATA[10:20]
    assert store.get_range(key, len(DATA) - 5, len(DATA) + 50) == DATA[-5:]
    assert store.get_range(key, 7, 7) == b""
    assert store.fetch(ref, tmp_path / "fetched").read_bytes() == DATA


def test_a_file_is_put_with_its_digest_and_its_progress(store, key, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(DATA)
    moved = []
    ref = store.put_file(path, key, "video/mp4", progress=moved.append)
    assert (ref.size, ref.sha256, ref.content_type) == (len(DATA), sha256_of(path), "video/mp4")
    assert sum(moved) == len(DATA)
    assert store.head(key) == ref


def test_what_is_not_there_is_missing(store, key):
    assert store.head(key) is None
    for read in (lambda: store.get_bytes(key), lambda: store.get_range(key, 0, 1), lambda: store.open(key)):
        with pytest.raises(ObjectMissing):
            read()


def test_putting_again_replaces(store, key):
    store.put_bytes(b"one", key, "text/plain")
    store.put_bytes(b"another", key, "text/plain")
    assert store.get_bytes(key) == b"another"


def test_an_object_that_is_not_the_one_meant_is_damaged_and_leaves_no_file(store, key, tmp_path):
    store.put_bytes(b"something else", key, "text/plain")
    with pytest.raises(ObjectDamaged):
        store.fetch(ObjectRef(key=key, size=3, sha256="a" * 64), tmp_path / "fetched")
    assert not (tmp_path / "fetched").exists()


def test_listing_deleting_and_copying(store, key):
    folder = key.rsplit("/", 1)[0] + "/"
    ref = store.put_bytes(b"x", key, "text/plain")
    copied = store.copy(key, folder + "copy.bin")
    assert copied == ref.model_copy(update={"key": folder + "copy.bin"})
    assert list(store.list(folder)) == [folder + "copy.bin", key]
    assert store.delete([key, folder + "copy.bin", folder + "never.bin"]) == 3
    assert list(store.list(folder)) == []


def test_an_open_object_seeks_and_reads_only_what_it_needs(store, key):
    store.put_bytes(DATA * 4, key, "application/x-test")
    reader = store.open(key)
    assert reader.seek(-10, io.SEEK_END) == 4 * len(DATA) - 10
    assert reader.read() == DATA[-10:]
    reader.seek(1000)
    assert reader.read(24) == DATA[1000:1024]
    assert reader.bytes_read <= 10 + (1 << 20)
    assert reader.read(0) == b""


@pytest.mark.parametrize("bad", ["", "/absolute", "a/../b", "a//b", "./a"])
def test_keys_that_lead_elsewhere_are_refused(store, bad):
    with pytest.raises(Permanent):
        store.put_bytes(b"x", bad, "text/plain")


def test_a_signed_address_is_readable_without_keys_and_by_ranges(s3, key):
    s3.put_bytes(DATA, key, "application/x-test")
    address = s3.presign_get(key, timedelta(minutes=1))
    assert httpx.get(address).content == DATA
    part = httpx.get(address, headers={"Range": "bytes=5-9"})
    assert (part.status_code, part.content) == (206, DATA[5:10])
    assert httpx.get(address.split("?")[0]).status_code in {401, 403}


def test_a_large_object_is_copied_inside_the_store(store, key):
    ref = store.put_bytes(DATA * 12, key, "video/mp4")
    copied = store.copy(key, f"{key}.copy")
    assert store.head(f"{key}.copy") == copied == ref.model_copy(update={"key": f"{key}.copy"})
    assert store.get_range(f"{key}.copy", len(DATA) * 12 - 4, len(DATA) * 12) == DATA[-4:]


def part_of(folder, data):
    path = folder / "part"
    path.write_bytes(data)
    return path


def test_an_object_may_arrive_in_parts_in_any_order_and_more_than_once(store, key, tmp_path):
    first, second = DATA * 5, b"the end"
    handle = store.begin_upload(key, "video/mp4", sha256="b" * 64)
    assert store.parts(key, handle) == {}
    for number, data in ((2, b"wrong"), (1, first), (2, second)):
        store.upload_part(key, handle, number, part_of(tmp_path, data))
    assert store.parts(key, handle) == {1: len(first), 2: len(second)}
    assert store.head(key) is None
    store.finish_upload(key, handle)
    assert store.get_bytes(key) == first + second
    assert store.head(key) == ObjectRef(key=key, size=len(first + second), sha256="b" * 64, content_type="video/mp4")
    with pytest.raises(ObjectMissing):
        store.parts(key, handle)


def test_an_upload_that_is_given_up_leaves_nothing(store, key, tmp_path):
    handle = store.begin_upload(key, "video/mp4")
    store.upload_part(key, handle, 1, part_of(tmp_path, b"x"))
    store.abort_upload(key, handle)
    store.abort_upload(key, handle)
    assert store.head(key) is None
    for call in (lambda: store.finish_upload(key, handle), lambda: store.parts(key, handle)):
        with pytest.raises(ObjectMissing):
            call()


def test_a_part_may_be_put_to_its_signed_address(s3, key):
    handle = s3.begin_upload(key, "video/mp4")
    assert httpx.put(s3.presign_part(key, handle, 1, timedelta(minutes=1)), content=DATA).status_code == 200
    assert (
        httpx.put(s3.presign_part(key, handle, 2, timedelta(minutes=1)).split("&X-Amz-Sig")[0], content=b"").status_code
        >= 400
    )
    s3.finish_upload(key, handle)
    assert s3.get_bytes(key) == DATA


def test_objects_get_the_storage_class_of_the_first_pattern_that_fits(servers):
    classes = {"videos/*/source/*": "STANDARD_IA", "videos/*": "ONEZONE_IA"}
    store = S3Store(ChassisSettings(**servers.settings("127.0.0.1:9"), s3_storage_classes=classes))
    store.ensure_bucket()
    assert store._class_of("videos/1/source/a.mp4") == {"StorageClass": "STANDARD_IA"}
    assert store._class_of("videos/1/proxy/x/a.mp4") == {"StorageClass": "ONEZONE_IA"}
    assert store._class_of("clips/1/a.mp4") == {}
    store.put_bytes(b"x", "videos/1/source/a.mp4", "video/mp4")
    store.copy("videos/1/source/a.mp4", "videos/1/proxy/a.mp4")
    assert store.get_bytes("videos/1/proxy/a.mp4") == b"x"
