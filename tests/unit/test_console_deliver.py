from __future__ import annotations

import pytest

from console import deliver
from contracts.errors import HeatersError
from services.chassis.objects import FolderStore


@pytest.fixture
def store(tmp_path):
    return FolderStore(tmp_path / "store")


@pytest.fixture
def deliverable(store):
    manifest = store.put_bytes(b"{}", "clips/c/exports/p/r/manifest.json", "application/json")
    film = store.put_bytes(b"film", "clips/c/exports/p/r/film.mp4", "video/mp4")
    return {
        "profile": "p",
        "manifest": manifest.model_dump(),
        "files": [{"role": "video", "name": "film.mp4", "object": film.model_dump()}],
    }


def test_a_bundle_is_copied_with_its_manifest_and_described_by_absolute_paths(store, deliverable, tmp_path):
    target = tmp_path / "out" / "t" / "001-p"
    described = deliver.copy_bundle(store, deliverable, target)
    assert sorted(path.name for path in target.iterdir()) == ["film.mp4", "manifest.json"]
    assert described["manifest"] == str(target / "manifest.json")
    assert described["files"][0]["path"] == str(target / "film.mp4")
    assert described["files"][0]["size"] == 4


def test_a_damaged_bundle_is_replaced_whole(store, deliverable, tmp_path):
    target = tmp_path / "001-p"
    deliver.copy_bundle(store, deliverable, target)
    (target / "film.mp4").write_bytes(b"FILM")
    (target / "stray").touch()
    deliver.copy_bundle(store, deliverable, target)
    assert (target / "film.mp4").read_bytes() == b"film"
    assert not (target / "stray").exists()


def test_a_bundle_that_is_right_is_left_alone(store, deliverable, tmp_path):
    target = tmp_path / "001-p"
    deliver.copy_bundle(store, deliverable, target)
    before = (target / "film.mp4").stat().st_ino
    deliver.copy_bundle(store, deliverable, target)
    assert (target / "film.mp4").stat().st_ino == before


def test_what_cannot_be_copied_whole_leaves_nothing(store, deliverable, tmp_path):
    store.delete([deliverable["files"][0]["object"]["key"]])
    with pytest.raises(HeatersError):
        deliver.copy_bundle(store, deliverable, tmp_path / "out" / "001-p")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("title", "taken", "expected"),
    [
        ("A film", (), "A film"),
        ("a/b\\c:d", (), "a_b_c_d"),
        ("../..", (), "_"),
        (" . ", (), "video"),
        ("A film", ("A film",), "A film-12345678"),
    ],
)
def test_titles_become_folder_names(title, taken, expected):
    assert deliver.folder_name(title, taken, "12345678-0000") == expected


def test_a_long_title_fits_into_a_folder_name():
    assert len(deliver.folder_name("ü" * 400, (), "1").encode()) <= 200


def test_bundles_are_numbered_in_the_order_of_the_film():
    assert deliver.bundle_name(7, "delivery-h264") == "007-delivery-h264"
