"""The review service as a process of its own on real servers, with real media, for a browser to visit."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import psycopg

from console.home import free_port
from contracts.events.v1 import video as events
from contracts.events.v1.clip import ClipExported
from contracts.events.v2.video import Detector, VideoScenesDetected
from contracts.manifest import Lineage, Loudness, Manifest, ManifestFile, ProfileUsed, QcFinding, QcReport, spelt
from contracts.values import Deliverable, DeliverableFile, FrameRange, Transition, TransitionKind, UrlSource, Verdict
from services.chassis.objects import S3Store
from services.chassis.settings import ChassisSettings
from services.export.report import html_report
from services.media import features, frame_index, review_sound
from services.media.probe import probe
from services.media.recipes import ReviewSettings
from services.media.review_media import ReviewMedia, make_review_media
from services.media.sidecars import Sidecar
from services.media.timebase import timecode
from services.scenes.detectors.interface import open_detector, pack_scores
from tests.support.review_events import options, stored
from tests.support.services import publish

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Film:
    """Review media of one source, made once and shared by as many videos as tests want."""

    made: ReviewMedia
    facts: object
    refs: dict

    @property
    def frames(self) -> int:
        return self.made.frames

    @property
    def rate(self) -> Fraction:
        return self.facts.video.rate


class ReviewSite:
    """One review service. It may be killed and comes back on the same port."""

    def __init__(self, servers, broker, folder: Path, **more: str) -> None:
        self.folder = folder
        self.broker = broker
        self.port = free_port([])
        self.search_port = free_port([self.port])
        self.settings = servers.settings(broker.address)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("HEATERS_")},
            **{f"HEATERS_{name.upper()}": str(value) for name, value in self.settings.items()},
            "HEATERS_HTTP_PORT": str(self.port),
            "HEATERS_REVIEW_SEARCH_URL": f"http://127.0.0.1:{self.search_port}",
            "HEATERS_TEMP_DIR": str(folder / "scratch"),
            "HEATERS_LOG_LEVEL": "WARNING",
            "PYTHONPATH": str(ROOT),
            **more,
        }
        self.store = S3Store(ChassisSettings(**self.settings))
        self.store.ensure_bucket()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        with (self.folder / "review.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "services.review"],
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        self.wait(self._answers, "the service")

    def _answers(self) -> bool:
        try:
            self.get("/api/videos?limit=1")
        except urllib.error.HTTPError as error:
            # With a token set it answers that it wants one.
            return error.code == 401
        return True

    def kill(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(timeout=30)
            self._process = None

    def close(self) -> None:
        self.kill(signal.SIGTERM)

    def wait(self, until, what: str, timeout: float = 30):
        deadline = time.monotonic() + timeout
        while True:
            try:
                if found := until():
                    return found
            except (OSError, ValueError):
                pass
            if time.monotonic() > deadline:
                raise AssertionError(
                    f"waited {timeout} s for {what}\n{(self.folder / 'review.log').read_text()[-3000:]}"
                )
            time.sleep(0.1)

    def get(self, path: str):
        with urllib.request.urlopen(self.url + path, timeout=10) as answer:
            return json.load(answer)

    def post(self, path: str, body):
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"content-type": "application/json"}, method="POST"
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{path}: {error.code} {error.read()[:500]!r}") from error

    def decide(self, video: str, command: str, *clips: dict, **more):
        """An edit of clips as they are known here, as another person or system would send it."""
        body = {"command": command, "clips": [clip["id"] for clip in clips], **more}
        return self.post(f"/api/videos/{video}/edits", {**body, "versions": [clip["version"] for clip in clips]})

    def rows(self, statement: str, *values):
        with psycopg.connect(str(self.settings["database_url"]), autocommit=True) as connection:
            found = connection.execute(statement, values)
            return found.fetchall() if found.description else []

    def film(self, source: Path, name: str, settings: ReviewSettings | None = None) -> Film:
        """Makes review media of a file and stores them."""
        out = self.folder / name
        out.mkdir()
        facts = probe(source)
        made = make_review_media(source, facts, out, settings)
        put = self.store.put_file
        refs = {
            "proxy": put(made.proxy, f"films/{name}/proxy.mp4", "video/mp4"),
            "index": put(made.index_path, f"films/{name}/index.bin", frame_index.CONTENT_TYPE),
            "features": put(made.features, f"films/{name}/features.npz", features.CONTENT_TYPE),
            "sprites": tuple(put(path, f"films/{name}/{path.name}", "image/jpeg") for path in made.sprites.sheets),
            "sprite_map": put(made.sprites.map, f"films/{name}/sprites.json", "application/json"),
            "peaks": put(made.sound.peaks, f"films/{name}/peaks.bin", review_sound.PEAKS_CONTENT_TYPE)
            if made.sound
            else None,
            "audio": put(made.sound.audio, f"films/{name}/audio.m4a", "audio/mp4") if made.sound else None,
            "scores": self.store.put_bytes(_scores(made), f"films/{name}/scores.npz", "application/octet-stream"),
        }
        return Film(made, facts.facts, refs)

    def video(self, film: Film, cuts: list[int], title: str = "A film") -> str:
        """A video of a film, cut into clips, as the other services would announce it."""
        video_id = uuid4()
        made, refs = film.made, film.refs
        named = {"video_id": video_id, "title": title, "tags": ("test",), "options": options()}
        source = stored(f"videos/{video_id}/source/a.mp4")
        audio = refs["audio"]
        edges = [0, *cuts, film.frames]
        told = (
            events.VideoAccepted(source=UrlSource(url="https://example.org/film"), **named),
            events.VideoDownloaded(object=source, media=film.facts, method="primary", **named),
            events.VideoProxied(
                source=source,
                media=film.facts,
                frames=film.frames,
                rate=film.rate,
                duration=made.index.duration,
                proxy=events.Proxy(
                    **refs["proxy"].model_dump(),
                    codec=made.index.codec,
                    width=made.index.width,
                    height=made.index.height,
                ),
                index=refs["index"],
                features=refs["features"],
                sprites=refs["sprites"],
                sprite_map=refs["sprite_map"],
                peaks=refs["peaks"],
                audio=events.ReviewAudio(
                    **audio.model_dump(),
                    codec=made.sound.codec,
                    sample_rate=made.sound.sample_rate,
                    channels=made.sound.channels,
                )
                if audio
                else None,
                **named,
            ),
            VideoScenesDetected(
                video_id=video_id,
                detector=Detector(name="adaptive", version="1"),
                frames=film.frames,
                clips=tuple(FrameRange(start=start, end=end) for start, end in pairwise(edges)),
                transitions=tuple(
                    Transition(
                        kind=TransitionKind.CUT,
                        frames=FrameRange(start=cut, end=cut + 1),
                        confidence=0.5 + number * 7 % 10 / 20,
                    )
                    for number, cut in enumerate(cuts)
                ),
                scores=refs["scores"],
            ),
        )
        self.tell(*told)
        self.wait(lambda: len(self.get(f"/api/videos/{video_id}")["clips"]) == len(edges) - 1, "the clips")
        return str(video_id)

    def tell(self, *told) -> None:
        """Publishes events as the other services would."""
        # The browser's driver has an event loop in this thread already.
        with ThreadPoolExecutor(1) as beside:
            beside.submit(lambda: asyncio.run(publish(self.broker.address, *told))).result(timeout=60)

    def deliver(self, video: str, clip, film: Film, title: str = "A film") -> None:
        """Says what export says of an approved clip, with files that are there and a manifest and report like its own."""
        stem = f"clips/{clip['id']}/"
        frames = FrameRange(start=clip["start_frame"], end=clip["end_frame"])
        with urllib.request.urlopen(f"{self.url}/api/videos/{video}/frames/{frames.start}.jpg?height=270") as answer:
            still = answer.read()
        sidecars = [
            Sidecar("poster", "poster.jpg", still, "image/jpeg", (("width", "480"), ("height", "270"))),
            Sidecar(
                "contact_sheet",
                "contact-sheet.jpg",
                film.made.sprites.sheets[0].read_bytes(),
                "image/jpeg",
                (("width", "640"), ("height", "360")),
            ),
        ]
        files = [("video", "clip.mp4", self.store.put_file(film.made.proxy, stem + "clip.mp4", "video/mp4"))]
        files += [
            (one.role, one.name, self.store.put_bytes(one.data, stem + one.name, one.content_type)) for one in sidecars
        ]
        manifest = Manifest(
            clip_id=UUID(clip["id"]),
            trace_id=UUID(clip["id"]).hex,
            title=title,
            profile=ProfileUsed(name="delivery-h264", version=1, sha256="0" * 64),
            lineage=Lineage(
                video_id=UUID(video),
                source=film.refs["proxy"],
                master=None,
                frames=frames,
                rate=film.rate,
                start=frames.start / film.rate,
                end=frames.end / film.rate,
                start_timecode=timecode(frames.start, film.rate),
                end_timecode=timecode(frames.end, film.rate),
            ),
            files=tuple(
                ManifestFile(role=role, name=name, size=ref.size, sha256=ref.sha256, content_type=ref.content_type)
                for role, name, ref in files
            ),
            qc=QcReport(
                verdict=Verdict.WARN,
                checks=("qc.frame_count", "qc.too_quiet"),
                findings=(
                    QcFinding(
                        code="qc.too_quiet",
                        verdict=Verdict.WARN,
                        message="The clip is quieter than the limit.",
                        measured="-37.1 LUFS",
                        limit="-36 LUFS",
                    ),
                ),
                loudness=Loudness(integrated=-37.1, true_peak=-20.5),
                frames=len(frames),
            ),
            tools={"heaters": "1"},
        )
        page = self.store.put_bytes(html_report(manifest, sidecars), stem + "report.html", "text/html")
        bundle = Deliverable(
            profile="delivery-h264",
            manifest=self.store.put_bytes(spelt(manifest), stem + "manifest.json", "application/json"),
            files=tuple(
                DeliverableFile(role=role, name=name, object=ref)
                for role, name, ref in [*files, ("report", "report.html", page)]
            ),
            verdict=manifest.qc.verdict,
            finding_codes=tuple(finding.code for finding in manifest.qc.findings),
        )
        self.tell(
            ClipExported(
                video_id=UUID(video),
                clip_id=UUID(clip["id"]),
                run=1,
                frames=frames,
                title=title,
                deliverables=(bundle,),
            )
        )
        self.wait(lambda: self.get(f"/api/clips/{clip['id']}")["deliverables"], "the delivered clip")

    @contextlib.contextmanager
    def searching(self) -> Iterator[None]:
        """The service that this one asks for searches, for as long as the context is open."""
        with (self.folder / "embed.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.embed"],
                cwd=self.folder,
                env={**self.environment, "HEATERS_HTTP_PORT": str(self.search_port)},
                stdout=log,
                stderr=log,
            )
        try:
            yield
        finally:
            process.terminate()
            process.wait(timeout=30)

    def fail_work(self, count: int, video: str) -> None:
        """Fills the operators' lists: dead letters and failed work."""
        self.rows(
            'INSERT INTO review.dead_letter (id, consumers, topic, partition, "offset", code, reason, key, value, headers,'
            " recorded_at) SELECT gen_random_uuid(), ARRAY['export'], 'clips', 0, n, 'contracts.unreadable',"
            " 'The message is no event; mend its producer and publish it again.', 'k', 'not json', '[]', now()"
            " FROM generate_series(1, %s) AS n",
            count,
        )
        error = {
            "stage": "export",
            "error_class": "permanent",
            "code": "media.corrupt",
            "message": "The file is damaged from frame 211 on; get a whole copy and submit it again.",
            "attempts": 3,
        }
        self.rows(
            "INSERT INTO review.work (id, kind, dedupe_key, video_id, input, state, attempts, error, created_at, started_at,"
            " finished_at) SELECT gen_random_uuid(), 'render', 'planted-' || n, %s, '{}', 'failed', 3, %s,"
            " now() - interval '1 minute', now() - interval '50 seconds', now() FROM generate_series(1, %s) AS n",
            video,
            json.dumps(error),
            count,
        )


def _scores(made: ReviewMedia) -> bytes:
    """The curve that the default detector makes of the film."""
    frames = features.load_features(made.features.read_bytes()).frames
    return pack_scores(open_detector("adaptive").scores(frames), source_sha256="0" * 64)
