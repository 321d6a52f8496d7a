"""Trouble in mid-render, through the real worker: no bundle is seen before it is whole, and the next go succeeds."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from contracts.manifest import Manifest
from contracts.values import FrameRange
from services.chassis.stage import Routes, Stage
from services.export.domain import ExportInput, Footage
from services.export.jobs import EXPORT
from services.export.settings import Settings
from services.media.probe import probe
from tests.support.rendering import index_of, make_video
from tests.support.services import running

TROUBLED = Stage(
    name="export",
    settings=Settings,
    routes=Routes(),
    jobs=(
        replace(
            EXPORT,
            work="tests.support.troubled_export:export",
            settle="tests.support.troubled_export:settled",
        ),
    ),
)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("source") / "source.mkv", 60).path


def settings_for(servers, broker, folder: Path) -> Settings:
    return Settings(
        **servers.settings(broker.address),
        temp_dir=folder / "scratch",
        worker_concurrency=1,
        worker_lease="PT3S",
        worker_retry_base="PT0.2S",
        poll_interval="PT0.5S",
        generation_interval="PT0.3S",
        min_free_bytes=0,
    )


async def exported(runtime, source: Path) -> tuple[UUID, list[str]]:
    """Queues one clip and waits until its work is done; gives the clip and the keys in its folder."""
    video, clip, store = uuid4(), uuid4(), runtime.objects
    index = index_of(source)
    stored = await asyncio.to_thread(store.put_file, source, f"videos/{video}/source.mkv", "video/x-matroska")
    indexed = await asyncio.to_thread(
        store.put_bytes, index.to_bytes(), f"videos/{video}/i", "application/octet-stream"
    )
    footage = Footage(frames=len(index), rate=index.rate, source=stored, media=probe(source).facts, index=indexed)
    order = ExportInput(
        video_id=video, clip_id=clip, frames=FrameRange(start=5, end=55), title="t", profiles=("delivery-h264",),
        footage=footage,
    )  # fmt: skip
    async with runtime.transaction() as ledger:
        await ledger.enqueue(
            TROUBLED.job("export"), order, key=f"export:{clip}", video_id=video, clip_id=clip, batch=str(video)
        )
    for _ in range(600):
        async with runtime.engine.connect() as connection:
            row = (await connection.execute(text("SELECT state FROM work WHERE clip_id = :c"), {"c": clip})).one()
        if row.state in {"done", "failed"}:
            break
        await asyncio.sleep(0.1)
    assert row.state == "done"
    return clip, sorted(await asyncio.to_thread(lambda: list(store.list(f"clips/{clip}/exports/delivery-h264/"))))


@pytest.mark.parametrize("trouble", ["disk_full", "store_down", "killed"])
async def test_trouble_in_mid_render_leaves_no_bundle_and_the_next_go_makes_the_same_one(
    servers, broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Path, trouble: str
) -> None:
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setenv("HEATERS_TROUBLE", trouble)
    monkeypatch.setenv("HEATERS_TROUBLE_LOG", str(log))
    async with running(TROUBLED, settings_for(servers, broker, tmp_path)) as runtime:
        _, first = await exported(runtime, source)
        goes = [json.loads(path.read_text()) for path in sorted(log.iterdir())]
        assert len(goes) == 2
        # What the first go left behind, as the second one found it: no manifest, so no bundle, and no result.
        assert not [key for key in goes[1] if key.endswith(".json")]
        again, second = await exported(runtime, source)
        manifests = [
            Manifest.model_validate_json(await asyncio.to_thread(runtime.objects.get_bytes, key))
            for key in (*first, *second)
            if key.endswith("/manifest.json")
        ]
    assert len(manifests) == 2
    assert manifests[1].clip_id == again
    # Another clip of the same frames, without trouble: its pictures, sound and sidecars have the same bytes.
    sums = [{(file.role, file.sha256) for file in manifest.files if file.role != "report"} for manifest in manifests]
    assert sums[0] == sums[1]
    assert not list((tmp_path / "scratch").rglob("*.mp4"))
