"""What yt-dlp's unmodified defaults make of the planted faults, beside what ingest does. Prints the table of docs/ingest.md."""

from __future__ import annotations

import gc
import shutil
import signal
from uuid import UUID

import pytest
import yt_dlp

from contracts.errors import HeatersError
from contracts.values import Options, UrlSource
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.ingest import work
from services.ingest.domain import FetchInput
from services.ingest.settings import Settings
from tests.component.test_ingest_faults import forbid_all_but
from tests.support.origin import Site
from tests.support.planted import FALLBACK, PLANTED, Kit
from tests.support.rendering import make_video

pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PATIENCE = 10
"""Seconds after which the defaults are stopped: an endless stream has no end."""


def by_defaults(url: str, folder) -> str:
    """What yt-dlp says with its own defaults: "success" with a file, or "error"."""

    def stop(*_):
        # An error would be tried again by the library.
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(PATIENCE)
    try:
        with yt_dlp.YoutubeDL({"outtmpl": str(folder / "got.%(ext)s"), "quiet": True, "noprogress": True}) as ydl:
            code = ydl.download([url])
    except KeyboardInterrupt:
        return "goes on for ever"
    except Exception:  # noqa: BLE001 - whatever it raises is an error that it reports.
        return "error"
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    files = [path for path in folder.iterdir() if path.is_file()]
    return "error" if code or not files else "success"


def test_the_defaults_let_faults_through_that_ingest_does_not(tmp_path, monkeypatch, capfd):
    film = make_video(tmp_path / "film.mp4", 72).path
    packages: dict = {}
    rows, through = [], 0
    for number, fault in enumerate(PLANTED):
        site = Site()
        inner = Site("127.0.0.2", site.port)
        kit = Kit(site, inner, film, tmp_path, film.read_bytes(), packages)
        try:
            with monkeypatch.context() as patched:
                settings = {"ingest_allow_private_addresses": not fault.guarded}
                if fault.guarded:
                    forbid_all_but(kit, patched)
                path = fault.plant(kit)
                url = path if "://" in path else site.url(path)
                folder = tmp_path / f"run{number}"
                (folder / "defaults").mkdir(parents=True)
                theirs = by_defaults(url, folder / "defaults")
                if fault.guarded and inner.asked:
                    theirs += ", asked the private address"
                inner.asked.clear()
            with monkeypatch.context() as patched:
                if fault.guarded:
                    forbid_all_but(kit, patched)
                for name in ("scratch", "kept"):
                    (folder / name).mkdir()
                settings |= {"ingest_socket_timeout": 3.0, "ingest_host_cooldown": 0, "temp_dir": folder}
                desk = Desk(
                    Settings(**settings | fault.settings),
                    FolderStore(folder / "objects"),
                    folder / "scratch",
                    folder / "kept",
                )
                order = FetchInput(video_id=UUID(int=1), source=UrlSource(url=url), options=Options())
                try:
                    ours = work.fetch_source(order, desk).method
                except HeatersError as error:
                    ours = error.code
            assert ours in fault.codes
            through += theirs != "error"
            rows.append(
                (fault.name.replace("_", " "), theirs, "second choice, whole" if ours == FALLBACK else f"`{ours}`")
            )
        finally:
            site.close()
            inner.close()
            shutil.rmtree(folder, ignore_errors=True)
            gc.collect()
    with capfd.disabled():
        print(f"\n{through} of {len(PLANTED)} planted faults are no error by the defaults.\n")
        print("| fault | yt-dlp's defaults | ingest |\n|---|---|---|")
        for row in rows:
            print("| " + " | ".join(row) + " |")
    assert through > 0
