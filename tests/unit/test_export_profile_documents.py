"""Profile documents: each fault is explained, and what users add is kept and found by one set of rules."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from console.profiles import as_toml
from contracts.errors import Permanent
from services.chassis.objects import FolderStore
from services.media import shelf
from services.media.profiles import CATALOGUE, PROFILES, ProfileInvalid, profile_from, read_folder, read_profile

EIGHT = {
    "delivery-h264", "delivery-h265", "delivery-av1", "prores-proxy", "prores-lt", "prores-422", "prores-hq",
    "archive-ffv1",
}  # fmt: skip


def document(like: str = "delivery-h264", /, **changes: object) -> dict[str, object]:
    """A document of the house under another name; ``video__crf=3`` changes a part, None takes a field out."""
    said = {**json.loads(json.dumps(PROFILES[like].document())), "name": "mine"}
    for key, value in changes.items():
        *parts, last = key.split("__")
        place = said
        for part in parts:
            place = place[part]
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return said


def test_the_house_has_its_profiles_as_documents():
    assert set(PROFILES) >= EIGHT
    for path in CATALOGUE.glob("*.toml"):
        assert read_profile(path.read_bytes(), origin=path.name).name == path.stem


@pytest.mark.parametrize("name", sorted(PROFILES))
def test_a_profile_is_the_same_whichever_way_it_is_written(name: str):
    profile = PROFILES[name]
    assert profile_from(profile.document(), origin="x") == profile
    assert read_profile(json.dumps(profile.document()).encode(), origin="x") == profile
    assert read_profile(as_toml(profile.document()).encode(), origin="x") == profile


FAULTS = [
    ({"name": "No Name"}, "name", "pattern"),
    ({"version": 0}, "version", "greater than or equal to 1"),
    ({"version": None}, "version", "missing"),
    ({"colour": "red"}, "colour", "no such field"),
    ({"schema": 2}, "schema", "1"),
    ({"container": "avi"}, "container", "mp4"),
    ({"container": "matroska"}, "", "no option called"),
    ({"container_options": {"movflag": "x"}}, "", "movflag"),
    ({"container_options": {"movflags": "a b"}}, "container_options.0.1", "pattern"),
    ({"video": None}, "video", "missing"),
    ({"video__encoder": "h264"}, "video.encoder", "libx264"),
    ({"video__encoder": "prores_aw"}, "video", "no yuv420p"),
    ({"video__pixel_format": "rgb24"}, "video", "takes no rgb24"),
    ({"video__pixel_format": None}, "video", "needs a pixel_format"),
    ({"video__crf": 60}, "video", "between 0 and 51"),
    ({"video__crf": "good"}, "video.crf", "number"),
    ({"video__crf": None}, "video", "say a crf or a bit_rate"),
    ({"video__bit_rate": 5_000_000}, "video", "not both"),
    ({"video__crf": None, "video__bit_rate": 5_000_000, "video__max_bit_rate": 60_000}, "video", "at least bit_rate"),
    ({"video__longest_side": 100, "video__shortest_side": 200}, "video", "at most longest_side"),
    ({"video__longest_side": 7}, "video.longest_side", "16"),
    ({"video__options": {"preste": "fast"}}, "video", "may not set preste"),
    ({"video__options": {"crf": 3}}, "video", "field of its own"),
    ({"video__options": {"preset": "fast; rm"}}, "video.options.0.1", "pattern"),
    ({"video__codec": "hevc"}, "video", "makes h264"),
    ({"video__keeps_hdr": True}, "video", "10 bits"),
    ({"video__keyframe_seconds": 0}, "video.keyframe_seconds", "1"),
    ({"audio__encoder": "mp3"}, "audio.encoder", "aac"),
    ({"audio__encoder": "flac"}, "audio", "no bit rate"),
    ({"audio__sample_rates": [12345]}, "audio", "some rates only"),
    ({"audio__sample_rates": None}, "audio", "some rates only"),
    ({"audio__sample_format": "s16"}, "audio", "fltp"),
    ({"audio__fade_milliseconds": 9}, "audio.fade_milliseconds", "5"),
    ({"audio__max_channels": 0}, "audio.max_channels", "1"),
    ({"audio__options": {"x": 1}}, "audio", "may not set options"),
    ({"lossless": True}, "", "changes no pixel"),
    ({"loudness": {"integrated": 3}}, "loudness.integrated", "-8"),
    ({"loudness": {"true_peak": -1}}, "loudness.integrated", "missing"),
]


@pytest.mark.parametrize(("changes", "where", "said"), FAULTS)
def test_each_fault_is_explained_where_it_is(changes: dict[str, object], where: str, said: str):
    with pytest.raises(ProfileInvalid) as caught:
        profile_from(document(**changes), origin="mine.toml")
    assert caught.value.code == "profile.invalid"
    assert [fault for fault in caught.value.faults if fault[0] == where and said in fault[1]], caught.value.faults
    assert "mine.toml" in caught.value.message


def test_every_fault_of_a_document_is_told_at_once():
    with pytest.raises(ProfileInvalid) as caught:
        profile_from({"name": "x", "video": {"encoder": "libx264", "crf": 99}}, origin="x")
    assert {where for where, _ in caught.value.faults} >= {"version", "purpose", "container", "audio", "video"}
    assert "between 0 and 51" in caught.value.message
    assert "needs a pixel_format" in caught.value.message


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("prores-hq", {"video__crf": 3}, "no crf"),
        ("prores-hq", {"video__bit_rate": 9_000_000}, "no bit rate"),
        ("prores-hq", {"container": "mp4"}, "does not carry"),
        ("archive-ffv1", {"video__pixel_format": "yuv420p"}, "the source's own only"),
        ("archive-ffv1", {"loudness": {"integrated": -23}}, "changes no sample"),
        ("archive-ffv1", {"audio__fade_milliseconds": 1}, "changes no sample"),
        ("delivery-av1", {"video__crf": 0}, "between 1 and 63"),
        ("delivery-h265", {"video__options": {"log-level": "full"}}, "may not set log-level"),
        ("delivery-h265", {"video__standard_range": False}, "keeps_hdr says nothing"),
    ],
)
def test_encoders_have_rules_of_their_own(name: str, changes: dict[str, object], said: str):
    with pytest.raises(ProfileInvalid, match=said):
        profile_from(document(name, **changes), origin="x")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"name = ", "no TOML"),
        (b'{"name": ', "no TOML or JSON"),
        (b"\xff\xfe\x00", "no TOML"),
        (b"[" * 5000, "no TOML"),
        (b'{"a":' * 30_000, "65536"),
        (b"[1]", "1: there is no such field"),
    ],
)
def test_what_is_no_document_is_refused(data: bytes, said: str):
    with pytest.raises(ProfileInvalid, match=said):
        read_profile(data, origin="x")


def test_numbers_and_truth_values_of_options_are_spelt_one_way():
    one = profile_from(document(video__options={"threads": 2, "preset": "fast"}), origin="x")
    two = profile_from(document(video__options={"preset": "fast", "threads": "2"}), origin="x")
    assert one.fingerprint() == two.fingerprint()


def test_kept_profiles_are_found_changed_by_version_and_removed(tmp_path: Path):
    store = FolderStore(tmp_path)
    mine = profile_from(document(), origin="x")
    assert shelf.keep(mine, store)
    assert not shelf.keep(mine, store)
    assert shelf.find(["mine", "delivery-h264", "none"], store) == {
        "mine": mine,
        "delivery-h264": PROFILES["delivery-h264"],
    }
    assert [(origin, each.name) for origin, each in shelf.everything(store) if origin != "house"] == [("store", "mine")]
    changed = profile_from(document(video__crf=30), origin="x")
    with pytest.raises(Permanent) as caught:
        shelf.keep(changed, store)
    assert caught.value.code == "profile.version_not_raised"
    raised = changed.model_copy(update={"version": 2})
    assert shelf.keep(raised, store)
    assert shelf.find(["mine"], store) == {"mine": raised}
    shelf.remove("mine", store)
    assert shelf.find(["mine"], store) == {}
    for name, code in (("mine", "profile.unknown"), ("delivery-h264", "profile.not_removable")):
        with pytest.raises(Permanent) as caught:
            shelf.remove(name, store)
        assert caught.value.code == code


def test_a_folder_of_files_needs_no_adding(tmp_path: Path):
    folder, store = tmp_path / "folder", FolderStore(tmp_path / "store")
    folder.mkdir()
    (folder / "mine.toml").write_text(as_toml(document()))
    (folder / "other.json").write_text(json.dumps({**document(), "name": "other"}))
    (folder / "notes.txt").write_text("no profile")
    assert [each.name for origin, each in shelf.everything(store, folder) if origin == "folder"] == ["mine", "other"]
    with pytest.raises(Permanent) as caught:
        shelf.keep(profile_from(document(), origin="x"), store, folder)
    assert caught.value.code == "profile.name_taken"
    (folder / "again.toml").write_text(as_toml(document()))
    with pytest.raises(ProfileInvalid, match="another file"):
        read_folder(folder)
    (folder / "again.toml").write_text(as_toml({**document(), "name": "delivery-h264"}))
    with pytest.raises(ProfileInvalid, match="the house has"):
        shelf.known_without_store(folder)
    with pytest.raises(Permanent, match="HEATERS_PROFILE_FOLDER"):
        shelf.known_without_store(tmp_path / "none")


def test_a_name_of_the_house_cannot_be_taken(tmp_path: Path):
    with pytest.raises(Permanent) as caught:
        shelf.keep(PROFILES["delivery-h264"].model_copy(update={"version": 99}), FolderStore(tmp_path))
    assert caught.value.code == "profile.name_taken"


def test_a_damaged_document_is_left_out_of_the_list_and_can_be_removed_or_replaced(tmp_path: Path):
    store = FolderStore(tmp_path)
    store.put_bytes(b"{", shelf.key_of("mine"), "application/json")
    assert {origin for origin, _ in shelf.everything(store)} == {"house"}
    with pytest.raises(ProfileInvalid):
        shelf.find(["mine"], store)
    shelf.remove("mine", store)
    store.put_bytes(b"{", shelf.key_of("mine"), "application/json")
    assert shelf.keep(profile_from(document(), origin="x"), store)
