"""Export's work on a generated video: from an order to a checked bundle in a folder store."""

from __future__ import annotations

import hashlib
import json
import uuid
from dataclasses import dataclass
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import jsonschema
import numpy as np
import pytest

from contracts.errors import Permanent
from contracts.manifest import SCHEMA_NAME, Manifest
from contracts.publish import document_schema
from contracts.values import CaptionAsset, FrameRange, ObjectRef, Verdict
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.export.domain import CleanInput, ExportInput, ExportResult, Footage
from services.export.plans import Plan
from services.export.work import clean_clip, export_clips
from services.media.frame_index import FrameIndex
from services.media.master import make_master
from services.media.probe import probe
from tests.support.made_videos import make_video as numbered_video
from tests.support.rendering import decoded, index_of, make_video

VIDEO = uuid.UUID(int=7)
FLASHES = frozenset({20, 55, 100, 130})


@dataclass
class Shelf:
    store: FolderStore
    mastered: Footage
    unmastered: Footage
    index: FrameIndex


def desk_for(store: FolderStore, scratch: Path, plan: Plan | None = None) -> Desk:
    scratch.mkdir(parents=True, exist_ok=True)
    return Desk(
        SimpleNamespace(plan=plan or Plan(), export_qc_limits=None, profile_folder=None), store, scratch, scratch
    )


def order(footage: Footage, start: int, end: int, **changes: object) -> ExportInput:
    said = {"title": "Ünder the: bridge/1", "tags": ("night",), "profiles": ("delivery-h264",), **changes}
    clip = uuid.uuid5(VIDEO, f"{start}-{end}")
    return ExportInput(video_id=VIDEO, clip_id=clip, frames=FrameRange(start=start, end=end), footage=footage, **said)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    folder = tmp_path_factory.mktemp("shelf")
    store = FolderStore(folder / "store")
    made = make_video(folder / "source.mkv", 150, rate=Fraction(30000, 1001), variable=True, flashes=FLASHES)
    known = probe(made.path)
    out = folder / "master"
    out.mkdir()
    master = make_master(made.path, known, out)
    source = store.put_file(made.path, "videos/v/source/a.mkv", "video/x-matroska")
    index = index_of(made.path)
    captions = b"WEBVTT\n\n00:00.000 --> 00:01.000\nfirst\n\n00:01.500 --> 00:09.000\nsecond & last\n"
    plain = Footage(
        frames=len(index),
        rate=made.rate,
        source=source,
        media=known.facts,
        index=store.put_bytes(index.to_bytes(), "videos/v/proxy/index.bin", "application/octet-stream"),
        captions=(
            CaptionAsset(
                language="en", origin="sidecar", object=store.put_bytes(captions, "videos/v/en.vtt", "text/vtt")
            ),
        ),
    )
    mastered = plain.model_copy(
        update={
            "index": store.put_file(master.index_path, "videos/v/master/index.bin", "application/octet-stream"),
            "master": store.put_file(master.path, "videos/v/master/master.mkv", "video/x-matroska"),
            "master_frames_sha256": master.frames_sha256,
        }
    )
    return Shelf(store, mastered, plain, index)


def exported(shelf: Shelf, orders: list[ExportInput], scratch: Path) -> dict[int, ExportResult]:
    outcomes = dict(export_clips(orders, desk_for(shelf.store, scratch)))
    for outcome in outcomes.values():
        assert isinstance(outcome, ExportResult), outcome
    return outcomes


def manifest_of(shelf: Shelf, ref: ObjectRef) -> Manifest:
    return Manifest.model_validate_json(shelf.store.get_bytes(ref.key))


@pytest.mark.parametrize("policy", ["mastered", "unmastered"])
def test_every_clip_holds_exactly_its_frames_at_their_times(shelf: Shelf, tmp_path: Path, policy: str) -> None:
    footage = getattr(shelf, policy)
    edges = [(0, 1), (1, 40), (40, 57), (90, 150)]
    orders = [order(footage, start, end) for start, end in edges]
    outcomes = exported(shelf, orders, tmp_path / "scratch")
    assert sorted(outcomes) == list(range(len(edges)))
    for place, (start, end) in enumerate(edges):
        (deliverable,) = outcomes[place].deliverables
        video = next(file for file in deliverable.files if file.role == "video")
        numbers, times, _ = decoded(shelf.store.fetch(video.object, tmp_path / f"{place}.mp4"))
        assert numbers == list(range(start, end))
        assert times == [shelf.index.time(number) - shelf.index.time(start) for number in range(start, end)]


def test_master_and_source_give_the_same_pictures_and_sound(shelf: Shelf, tmp_path: Path) -> None:
    heard = []
    for name in ("mastered", "unmastered"):
        outcome = exported(shelf, [order(getattr(shelf, name), 33, 111, profiles=("archive-ffv1",))], tmp_path / name)[
            0
        ]
        file = next(file for file in outcome.deliverables[0].files if file.role == "video")
        heard.append(decoded(shelf.store.fetch(file.object, tmp_path / f"{name}.mkv")))
    assert heard[0][:2] == heard[1][:2]
    assert np.array_equal(heard[0][2], heard[1][2])


def test_a_bundle_is_whole_true_and_described(shelf: Shelf, tmp_path: Path) -> None:
    wanted = order(shelf.mastered, 10, 80)
    deliverable = exported(shelf, [wanted], tmp_path)[0].deliverables[0]
    manifest = manifest_of(shelf, deliverable.manifest)
    jsonschema.validate(json.loads(shelf.store.get_bytes(deliverable.manifest.key)), document_schema(SCHEMA_NAME))
    assert {file.role for file in manifest.files} == {
        "video", "poster", "thumbnail", "contact_sheet", "sprites", "sprite_map", "peaks", "waveform", "captions_vtt",
        "captions_srt", "qc_report", "report",
    }  # fmt: skip
    for file, told in zip(deliverable.files, manifest.files, strict=True):
        data = shelf.store.get_bytes(file.object.key)
        assert (told.name, told.size, told.sha256) == (file.name, len(data), hashlib.sha256(data).hexdigest())
        assert file.object.key.startswith(f"clips/{wanted.clip_id}/exports/delivery-h264/")
    assert manifest.trace_id == wanted.clip_id.hex
    assert manifest.lineage.master == shelf.mastered.master
    assert manifest.lineage.end == shelf.index.time(80)
    assert manifest.lineage.start_timecode == "00:00:00;10"
    assert manifest.qc.verdict is deliverable.verdict
    video = manifest.files[0]
    assert video.name == "Under-the-bridge-1_000010-000080.mp4"
    assert video.pictures is not None
    assert (video.pictures.codec, video.pictures.frames, video.pictures.color_space) == ("h264", 70, "smpte170m")
    captions = next(file for file in deliverable.files if file.role == "captions_vtt")
    text = shelf.store.get_bytes(captions.object.key).decode()
    assert "first" in text
    assert "second &amp; last" in text


def test_the_report_is_a_page_that_needs_nothing_beside_itself(shelf: Shelf, tmp_path: Path) -> None:
    wanted = order(shelf.mastered, 10, 80, title="<script>alert(1)</script> & more", tags=("<b>",))
    deliverable = exported(shelf, [wanted], tmp_path)[0].deliverables[0]
    report = next(file for file in deliverable.files if file.role == "report")
    assert report.object.content_type == "text/html"
    page = shelf.store.get_bytes(report.object.key).decode()

    class Seen(HTMLParser):
        tags: ClassVar[list[str]] = []
        sources: ClassVar[list[str]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.tags.append(tag)
            self.sources += [value or "" for name, value in attrs if name in {"src", "href"}]

    Seen().feed(page)
    assert "script" not in Seen.tags
    assert "link" not in Seen.tags
    assert [source.split(";")[0] for source in Seen.sources] == ["data:image/jpeg", "data:image/jpeg", "data:image/png"]
    for said in ("00:00:00;10", shelf.mastered.master.sha256, "delivery-h264@", "&lt;script&gt;", "LUFS"):
        assert said in page


def test_the_same_order_gives_the_same_bytes_again(shelf: Shelf, tmp_path: Path) -> None:
    wanted = order(shelf.mastered, 60, 95, profiles=("delivery-h264", "archive-ffv1"))
    first = exported(shelf, [wanted], tmp_path / "a")[0]
    # Another batch, another order of work: the bytes must not know.
    second = exported(shelf, [order(shelf.mastered, 0, 70), wanted], tmp_path / "b")[1]
    for one, two in zip(first.deliverables, second.deliverables, strict=True):
        for a, b in zip(one.files, two.files, strict=True):
            assert a == b
    assert first == second


def test_a_refused_clip_does_not_take_others_with_it(shelf: Shelf, tmp_path: Path) -> None:
    orders = [
        order(shelf.mastered, 0, 10, profiles=("delivery-vhs",)),
        order(shelf.mastered, 140, 151),
        order(shelf.mastered, 0, 130),
        order(shelf.mastered, 5, 15),
    ]
    desk = desk_for(shelf.store, tmp_path, Plan(longest_seconds=4))
    outcomes = dict(export_clips(orders, desk))
    codes = [outcome.code if isinstance(outcome, Permanent) else "" for _, outcome in sorted(outcomes.items())]
    assert codes == ["profile.unknown", "export.out_of_range", "export.clip_too_long", ""]


def test_a_vanished_source_is_named(shelf: Shelf, tmp_path: Path) -> None:
    gone = shelf.mastered.model_copy(update={"master": shelf.mastered.master.model_copy(update={"key": "videos/gone"})})
    ((_, outcome),) = export_clips([order(gone, 0, 10)], desk_for(shelf.store, tmp_path))
    assert isinstance(outcome, Permanent)
    assert outcome.code == "export.source_missing"


def test_unreadable_captions_are_a_warning(shelf: Shelf, tmp_path: Path) -> None:
    broken = shelf.store.put_bytes(b"\xff\xfe no captions", "videos/v/broken.vtt", "text/vtt")
    footage = shelf.mastered.model_copy(
        update={"captions": (CaptionAsset(language="de", origin="downloaded", object=broken),)}
    )
    deliverable = exported(shelf, [order(footage, 0, 12)], tmp_path)[0].deliverables[0]
    assert deliverable.verdict is Verdict.WARN
    findings = manifest_of(shelf, deliverable.manifest).qc.findings
    assert "qc.captions_readable" in deliverable.finding_codes
    assert deliverable.finding_codes == tuple(dict.fromkeys(finding.code for finding in findings))


def test_a_hole_in_the_sources_sound_is_a_warning_with_its_frames_wherever_the_clip_is_cut_from(tmp_path: Path) -> None:
    """The source has no sound for a second; nothing else is wrong with it."""
    made = numbered_video(
        tmp_path / "holed.mkv", frames=100, audio="pcm_s16le", audio_block=960, audio_hole=(Fraction(1), Fraction(2))
    )
    known = probe(made)
    store = FolderStore(tmp_path / "store")
    master = make_master(made, known, tmp_path)
    plain = Footage(
        frames=100,
        rate=Fraction(25),
        source=store.put_file(made, "videos/h/source/h.mkv", "video/x-matroska"),
        media=known.facts,
        index=store.put_bytes(index_of(made).to_bytes(), "videos/h/proxy/index.bin", "application/octet-stream"),
    )
    mastered = plain.model_copy(
        update={
            "index": store.put_file(master.index_path, "videos/h/master/index.bin", "application/octet-stream"),
            "master": store.put_file(master.path, "videos/h/master/master.mkv", "video/x-matroska"),
        }
    )
    orders = [order(footage, *edges) for footage in (plain, mastered) for edges in ((10, 40), (40, 60), (60, 90))]
    outcomes = dict(export_clips(orders, desk_for(store, tmp_path / "scratch")))
    told = []
    for place in range(len(orders)):
        manifest = Manifest.model_validate_json(store.get_bytes(outcomes[place].deliverables[0].manifest.key))
        told.append([(each.verdict, each.frames) for each in manifest.qc.findings if each.code == "qc.sound_missing"])
    first, second = FrameRange(start=25, end=40), FrameRange(start=40, end=50)
    assert told == 2 * [[(Verdict.WARN, first)], [(Verdict.WARN, second)], []]


def test_cleaning_deletes_what_was_made_and_nothing_else(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    clip, other = uuid.uuid4(), uuid.uuid4()
    for key in (f"clips/{clip}/exports/a", f"clips/{clip}/keyframes/b", f"clips/{other}/exports/a", "videos/c"):
        store.put_bytes(b"x", key, "text/plain")
    desk = desk_for(store, tmp_path / "scratch")
    cleaning = CleanInput(video_id=VIDEO, clip_id=clip, version=3)
    assert clean_clip(cleaning, desk).objects == 2
    assert clean_clip(cleaning, desk).objects == 0
    assert list(store.list("")) == [f"clips/{other}/exports/a", "videos/c"]
