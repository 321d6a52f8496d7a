"""Plans, watermarks and users' profiles through export's own work: refused before any encoder opens, or delivered."""

from __future__ import annotations

import io
import json
import shutil
import uuid
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from contracts.errors import HeatersError
from contracts.manifest import Manifest
from contracts.values import FrameRange
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.export.domain import ExportInput, ExportResult, Footage
from services.export.plans import Plan
from services.export.preflight import RULES
from services.export.work import export_clips, settled
from services.media import render, shelf
from services.media.probe import probe
from services.media.profiles import PROFILES, profile_from
from services.media.trial import try_profile
from services.media.watermark import Watermark
from tests.support.rendering import hdr_source, index_of, make_video

VIDEO = uuid.UUID(int=9)
MARK = Watermark(text="Preview", opacity=1, height=0.3)


def own_profile(**changes: object) -> dict[str, object]:
    return {**json.loads(json.dumps(PROFILES["delivery-h264"].document())), "name": "mine", **changes}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[FolderStore, Footage]:
    folder = tmp_path_factory.mktemp("plans")
    store = FolderStore(folder / "store")
    made = make_video(folder / "source.mkv", 40, pictures=[np.full((96, 192, 3), 40, np.uint8)] * 40)
    index = index_of(made.path)
    footage = Footage(
        frames=40,
        rate=Fraction(24),
        source=store.put_file(made.path, "videos/p/source/a.mkv", "video/x-matroska"),
        media=probe(made.path).facts,
        index=store.put_bytes(index.to_bytes(), "videos/p/proxy/index.bin", "application/octet-stream"),
    )
    return store, footage


def order(footage: Footage, *profiles: str, start: int = 4, end: int = 16) -> ExportInput:
    clip = uuid.uuid5(VIDEO, f"{start}-{end}")
    frames = FrameRange(start=start, end=end)
    return ExportInput(
        video_id=VIDEO,
        clip_id=clip,
        frames=frames,
        title="A clip",
        profiles=profiles or ("delivery-h264",),
        footage=footage,
    )


def desk(store: FolderStore, scratch: Path, plan: Plan | None = None, folder: Path | None = None) -> Desk:
    scratch.mkdir(exist_ok=True)
    settings = SimpleNamespace(plan=plan or Plan(), export_qc_limits=None, profile_folder=folder)
    return Desk(settings, store, scratch, scratch)


def outcome(wanted: ExportInput, at: Desk) -> ExportResult | HeatersError:
    ((_, found),) = export_clips([wanted], at)
    return found


@pytest.fixture
def encoders(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Every writer that was made: none, if a refusal comes in time."""
    opened: list[object] = []
    real = render.Writer

    def counted(*arguments: object, **more: object) -> object:
        opened.append(arguments)
        return real(*arguments, **more)

    monkeypatch.setattr(render, "Writer", counted)
    return opened


def broken_index(footage: Footage, store: FolderStore) -> Footage:
    return footage.model_copy(update={"frames": 39})


REFUSALS = [
    ("profile.unknown", ("delivery-vhs",), Plan(), {}),
    ("profile.invalid", ("damaged",), Plan(), {}),
    ("export.too_many_profiles", ("delivery-h264", "prores-lt"), Plan(most_profiles=1), {}),
    ("export.profile_not_allowed", (), Plan(profiles=("archive-ffv1",)), {}),
    ("export.out_of_range", (), Plan(), {"start": 30, "end": 41}),
    ("export.clip_too_long", (), Plan(longest_seconds=1), {"start": 0, "end": 40}),
    ("export.picture_too_large", (), Plan(largest_picture=192 * 96 - 1), {}),
    ("export.delivery_too_large", (), Plan(largest_delivery=192 * 96 - 1), {}),
    ("export.rate_too_high", (), Plan(highest_rate=23), {}),
    ("export.watermark_impossible", ("archive-ffv1",), Plan(watermark=MARK), {}),
    ("export.source_missing", (), Plan(), {}),
    ("export.index_mismatch", (), Plan(), {}),
    ("export.disk_full", (), Plan(), {}),
]


@pytest.mark.parametrize(("code", "profiles", "plan", "where"), REFUSALS, ids=[each[0] for each in REFUSALS])
def test_every_rule_refuses_before_an_encoder_opens(
    kept, encoders: list[object], tmp_path: Path, monkeypatch, code: str, profiles, plan: Plan, where
) -> None:
    store, footage = kept
    store.put_bytes(b'{"name": "damaged"}', shelf.key_of("damaged"), "application/json")
    if code == "export.source_missing":
        gone = footage.source.model_copy(update={"size": footage.source.size + 1})
        footage = footage.model_copy(update={"source": gone})
    if code == "export.index_mismatch":
        footage = footage.model_copy(update={"frames": 39})
    if code == "export.disk_full":
        monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))
    before = set(store.list("clips/"))
    found = outcome(order(footage, *profiles, **where), desk(store, tmp_path, plan))
    assert isinstance(found, HeatersError)
    assert found.code == code
    assert len(found.message) > 40
    assert encoders == []
    assert set(store.list("clips/")) == before
    assert list(tmp_path.rglob("*.mp4")) == []


def test_every_rule_of_the_table_has_its_refusal() -> None:
    assert {code for code, *_ in REFUSALS} == {rule.code for rule in RULES}


def test_what_passes_preflight_opens_an_encoder(kept, encoders: list[object], tmp_path: Path) -> None:
    store, footage = kept
    assert isinstance(outcome(order(footage), desk(store, tmp_path)), ExportResult)
    assert len(encoders) == 1


def test_a_plans_watermark_is_in_the_deliverable_and_makes_it_another_bundle(kept, tmp_path: Path) -> None:
    store, footage = kept
    wanted = order(footage, "delivery-h264", "archive-ffv1")
    plan = Plan(watermark=MARK, unmarked_profiles=("archive-ffv1",))
    plain = outcome(wanted, desk(store, tmp_path / "plain"))
    marked = outcome(wanted, desk(store, tmp_path / "marked", plan))
    assert isinstance(plain, ExportResult)
    assert isinstance(marked, ExportResult)
    brightest = []
    for result in (plain, marked):
        poster = next(file for file in result.deliverables[0].files if file.role == "poster")
        with Image.open(io.BytesIO(store.get_bytes(poster.object.key))) as image:
            brightest.append(image.convert("L").getextrema()[1])
    assert brightest[0] < 70
    assert brightest[1] > 180
    keys = [deliverable.manifest.key for result in (plain, marked) for deliverable in result.deliverables]
    assert len(set(keys)) == 4
    _, markers = settled([wanted], desk(store, tmp_path, plan))
    _, others = settled([wanted], desk(store, tmp_path))
    assert markers != others


def test_a_kept_profile_is_delivered_and_its_next_version_is_another_bundle(kept, tmp_path: Path) -> None:
    store, footage = kept
    made = []
    for version, crf in ((1, 20), (2, 40)):
        document = own_profile(version=version)
        document["video"]["crf"] = crf
        shelf.keep(profile_from(document, origin="mine"), store)
        found = outcome(order(footage, "mine"), desk(store, tmp_path))
        assert isinstance(found, ExportResult), found
        manifest = Manifest.model_validate_json(store.get_bytes(found.deliverables[0].manifest.key))
        assert (manifest.profile.name, manifest.profile.version) == ("mine", version)
        made.append(found.deliverables[0].manifest.key)
    shelf.remove("mine", store)
    assert made[0] != made[1]


def test_a_profile_of_the_folder_is_delivered(kept, tmp_path: Path) -> None:
    store, footage = kept
    folder = tmp_path / "profiles"
    folder.mkdir()
    (folder / "mine.json").write_text(json.dumps(own_profile(name="from-a-file")))
    found = outcome(order(footage, "from-a-file"), desk(store, tmp_path / "scratch", folder=folder))
    assert isinstance(found, ExportResult)


def test_hdr_passes_the_checks_of_each_kind_of_profile(tmp_path: Path) -> None:
    store = FolderStore(tmp_path / "store")
    path = hdr_source(tmp_path / "hlg.mkv", 18)
    footage = Footage(
        frames=8,
        rate=Fraction(24),
        source=store.put_file(path, "videos/h/source/a.mkv", "video/x-matroska"),
        media=probe(path).facts,
        index=store.put_bytes(index_of(path).to_bytes(), "videos/h/proxy/index.bin", "application/octet-stream"),
    )
    names = ("archive-ffv1", "delivery-av1", "delivery-h264", "delivery-h265", "prores-lt")
    found = outcome(order(footage, *names, start=1, end=7), desk(store, tmp_path / "scratch"))
    assert isinstance(found, ExportResult), found
    for deliverable in found.deliverables:
        manifest = Manifest.model_validate_json(store.get_bytes(deliverable.manifest.key))
        pictures, video = manifest.files[0].pictures, PROFILES[deliverable.profile].video
        assert pictures is not None
        kept = video.keeps_hdr or not video.standard_range
        assert pictures.color_transfer == ("arib-std-b67" if kept else "bt709"), deliverable.profile


def test_a_loudness_target_is_reached_and_the_manifest_tells_the_gain(kept, tmp_path: Path) -> None:
    store, _ = kept
    wave = 0.02 * np.sin(2 * np.pi * 1000 * np.arange(3 * 48_000) / 48_000)
    path = make_video(tmp_path / "quiet.mkv", 48, samples=wave.astype(np.float32)).path
    footage = Footage(
        frames=48,
        rate=Fraction(24),
        source=store.put_file(path, "videos/q/source/a.mkv", "video/x-matroska"),
        media=probe(path).facts,
        index=store.put_bytes(index_of(path).to_bytes(), "videos/q/proxy/index.bin", "application/octet-stream"),
    )
    found = outcome(order(footage, "broadcast-h264", "delivery-h264", start=0, end=48), desk(store, tmp_path / "s"))
    assert isinstance(found, ExportResult), found
    told = [
        Manifest.model_validate_json(store.get_bytes(deliverable.manifest.key)).qc.loudness
        for deliverable in found.deliverables
    ]
    assert told[0].integrated == pytest.approx(-23, abs=0.2)
    assert told[0].gain == pytest.approx(-23 - told[1].integrated, abs=0.2)
    assert told[1].gain is None


def test_a_profile_is_tried_by_its_encoder() -> None:
    try_profile(profile_from(own_profile(), origin="x"))
    document = own_profile()
    document["video"]["options"] = {"preset": "warp"}
    with pytest.raises(HeatersError) as caught:
        try_profile(profile_from(document, origin="x"))
    assert caught.value.code == "profile.refused_by_encoder"
