"""The main job, as its user runs it: files in, delivered and searchable clips out; bad files refused by name."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import jsonschema
import pyarrow.parquet as pq
import pytest

from contracts.manifest import SCHEMA_NAME
from contracts.publish import document_schema
from tests.support.media_files import FIXTURES, unique

GOOD = sorted(
    path for path in FIXTURES.iterdir() if path.suffix in {".mp4", ".webm", ".ts"} and "corrupt" not in path.name
)
SHORT = {"bbb_vp9_opus", "exo_av1_aac_1080x720", "exo_vp9_odd_161x121"}
"""Two codecs, with sound and without, of even and odd sizes, in seconds; the others are taken under ``--full``."""
ALL_AT_ONCE = pytest.mark.timeout(900)
"""Whichever test comes first waits for every video."""


def taken(config) -> list[Path]:
    return [path for path in GOOD if config.getoption("--full") or path.stem in SHORT]


def pytest_generate_tests(metafunc) -> None:
    if "path" in metafunc.fixturenames:
        metafunc.parametrize("path", taken(metafunc.config), ids=lambda path: path.stem)


def decoded_frames(path: Path) -> int:
    """Counted by the plain decoder, in the stream that players choose: the default one, else the largest."""
    with av.open(str(path)) as container:
        stream = max(
            container.streams.video,
            key=lambda stream: (bool(stream.disposition & av.stream.Disposition.default), stream.width * stream.height),
        )
        stream.thread_type = "AUTO"
        return sum(1 for _ in container.decode(stream))


@pytest.fixture(scope="module")
def out(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def document(stack, out, request) -> dict:
    return stack.run(*taken(request.config), out=out)


@ALL_AT_ONCE
@pytest.mark.scaled
def test_a_good_file_becomes_clips_that_tile_it_exactly_and_are_all_embedded(document, path):
    video = next(video for video in document["videos"] if video["source"] == str(path))
    assert video["error"] is None
    assert video["state"] == "ready"
    assert video["frames"] == decoded_frames(path)
    assert {clip["state"] for clip in video["clips"]} == {"embedded"}
    edges = [0, *(clip["end_frame"] for clip in video["clips"])]
    assert [clip["start_frame"] for clip in video["clips"]] == edges[:-1]
    assert edges[-1] == video["frames"]


@ALL_AT_ONCE
@pytest.mark.scaled
def test_every_delivered_file_is_what_its_manifest_says(document, path):
    video = next(video for video in document["videos"] if video["source"] == str(path))
    for clip in video["clips"]:
        assert clip["deliverables"]
        for deliverable in clip["deliverables"]:
            manifest_path = Path(deliverable["manifest"])
            manifest = json.loads(manifest_path.read_text())
            jsonschema.validate(manifest, document_schema(SCHEMA_NAME))
            named = {entry["name"]: entry for entry in manifest["files"]}
            assert {Path(file["path"]).name for file in deliverable["files"]} == named.keys()
            for file in deliverable["files"]:
                data = Path(file["path"]).read_bytes()
                entry = named[Path(file["path"]).name]
                assert len(data) == file["size"] == entry["size"]
                assert hashlib.sha256(data).hexdigest() == file["sha256"] == entry["sha256"]
            delivered = next(file for file in deliverable["files"] if file["role"] == "video")
            assert decoded_frames(Path(delivered["path"])) == clip["end_frame"] - clip["start_frame"]


def test_delivered_clips_are_brought_as_a_training_set_and_only_once(stack, document, tmp_path):
    video = document["videos"][0]
    command = ("training-set", "--out", tmp_path, "--video", video["id"])
    assert "00000.tar" in stack.console(*command).stderr
    with tarfile.open(tmp_path / "00000.tar") as shard:
        found = {entry.name: hashlib.sha256(shard.extractfile(entry).read()).hexdigest() for entry in shard}
    for clip in video["clips"]:
        files = {file["role"]: file["sha256"] for file in clip["deliverables"][0]["files"]}
        assert (found[f"{clip['id']}.mp4"], found[f"{clip['id']}.jpg"]) == (files["video"], files["poster"])
    rows = pq.read_table(tmp_path / "index.parquet").to_pylist()
    assert sorted(row["key"] for row in rows) == sorted(clip["id"] for clip in video["clips"])
    assert "wrote" not in stack.console(*command).stderr
    (tmp_path / "00000.tar").unlink()
    assert "00000.tar" in stack.console(*command).stderr


def test_bundles_lie_under_the_title_by_position_and_profile(document, out):
    video = document["videos"][0]
    manifest = Path(video["clips"][0]["deliverables"][0]["manifest"])
    assert manifest.relative_to(out).parts == (video["title"], "001-delivery-h264", "manifest.json")


def test_running_the_same_file_again_does_no_work_and_gives_the_same_answer(stack, document, out):
    before = stack.query("SELECT count(*) AS pieces FROM export.work")
    again = stack.run(GOOD[0], out=out)
    first = next(video for video in document["videos"] if video["source"] == str(GOOD[0]))
    assert again["videos"][0]["id"] == first["id"]
    assert again["videos"][0]["clips"] == first["clips"]
    assert stack.query("SELECT count(*) AS pieces FROM export.work") == before


def test_a_run_tells_that_the_same_video_came_before_and_which_profiles_are_missing(stack, document, tmp_path):
    first = document["videos"][0]
    copied = shutil.copy(first["source"], tmp_path / f"another name{Path(first['source']).suffix}")
    done = stack.console(
        "run", "--json", "--profile", "archive-ffv1", "--out", tmp_path / "out", copied, first["source"], check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("the same video was handed in before") == 2
    for again in json.loads(done.stdout)["videos"]:
        assert again["error"]["code"] == "run.delivered_before"
        assert [clip["id"] for clip in again["clips"]] == [clip["id"] for clip in first["clips"]]
        assert all(clip["deliverables"] for clip in again["clips"])


def test_a_run_does_not_wait_for_the_person_that_an_earlier_request_asked_for(stack, tmp_path):
    film = unique(FIXTURES / "exo_vp9_odd_161x121.webm", tmp_path)
    (submitted,) = json.loads(stack.console("submit", "--json", film).stdout)["videos"]
    (found,) = stack.run(film, out=tmp_path / "out", check=False)["videos"]
    assert found["error"]["code"] == "run.waits_for_review"
    assert f"/#/review/{submitted['id']}" in found["error"]["message"]
    assert {clip["state"] for clip in found["clips"]} == {"pending_review"}


@pytest.fixture(scope="module")
def missing_url():
    class NotFound(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(404)

        do_HEAD = do_GET

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), NotFound)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/no-such-video.mp4"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def bad_files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("bad")
    text = folder / "letter.mp4"
    text.write_text("Dear editor, this is no video.\n" * 100)
    empty = folder / "empty.mp4"
    empty.touch()
    truncated = folder / "truncated.mp4"
    whole = (FIXTURES / "psd_fades_mpeg4.mp4").read_bytes()
    truncated.write_bytes(whole[: len(whole) // 2])
    cut = folder / "cut-off.webm"
    whole = (FIXTURES / "bbb_vp9_opus.webm").read_bytes()
    cut.write_bytes(whole[: len(whole) * 2 // 3])
    song = folder / "song.m4a"
    with av.open(str(song), "w") as container:
        stream = container.add_stream("aac", rate=48_000, layout="mono")
        for number in range(100):
            frame = av.AudioFrame(format="fltp", layout="mono", samples=1024)
            frame.planes[0].update(bytes(4096))
            frame.sample_rate, frame.pts = 48_000, number * 1024
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    corrupted = folder / "corrupted.mp4"
    shutil.copy(FIXTURES / "decord_corrupted.mp4", corrupted)
    return {path.stem: path for path in (text, empty, truncated, cut, song, corrupted)} | {
        "missing": folder / "missing.mp4"
    }


CODES = {
    "letter": {"media.not_a_video"},
    "empty": {"media.empty_file"},
    "truncated": {"media.not_a_video", "media.truncated"},
    "cut-off": {"media.truncated", "media.incomplete"},
    "song": {"media.no_video_stream"},
    "corrupted": {"media.corrupt", "media.incomplete"},
    "missing": {"input.not_found"},
}


@pytest.fixture(scope="module")
def refused(stack, bad_files, missing_url, tmp_path_factory):
    out = tmp_path_factory.mktemp("refused")
    names = [*bad_files.values(), missing_url, GOOD[0]]
    done = stack.console("run", "--out", out, "--json", *names, check=False)
    return done, json.loads(done.stdout), out


def test_bad_files_end_the_command_with_1_and_good_ones_finish_all_the_same(refused):
    done, document, _ = refused
    assert done.returncode == 1
    good = document["videos"][-1]
    assert good["error"] is None
    assert {clip["state"] for clip in good["clips"]} == {"embedded"}


@pytest.mark.parametrize("name", CODES)
def test_a_bad_file_is_refused_with_a_code_and_a_sentence(refused, bad_files, name):
    _, document, _ = refused
    video = next(video for video in document["videos"] if video["source"] == str(bad_files[name]))
    assert video["error"]["code"] in CODES[name]
    assert video["error"]["message"].endswith((".", "!"))
    assert len(video["error"]["message"]) > 30
    assert video["clips"] == []


def test_an_address_that_is_not_there_or_not_allowed_is_refused_with_a_code(refused, missing_url):
    _, document, _ = refused
    video = next(video for video in document["videos"] if video["source"] == missing_url)
    # The address is on this machine, which a default setting forbids before anything is asked.
    assert video["error"]["code"] == "ingest.forbidden_address"


def test_nothing_half_written_is_left_of_what_was_refused(refused, stack):
    _, document, out = refused
    assert {path.name for path in out.iterdir()} == {document["videos"][-1]["title"]}
    ids = [video["id"] for video in document["videos"][:-1] if video["id"]]
    left = [key for key in stack.store().list("videos/") for video_id in ids if video_id in key]
    assert [key for key in left if "/source/" not in key] == []


def test_with_the_policy_approved_each_clip_is_cut_from_a_master_of_its_own_frames(stack, out, tmp_path):
    path = unique(FIXTURES / "exo_av1_aac_1080x720.mp4", tmp_path)
    document = stack.run(path, "--mastering", "approved", out=out)
    (video,) = document["videos"]
    assert {clip["state"] for clip in video["clips"]} == {"embedded"}
    rows = stack.query(
        "SELECT kind, state, clip_id FROM preprocess.work WHERE video_id = %s ORDER BY kind", video["id"]
    )
    assert [(row["kind"], row["state"]) for row in rows] == [("part", "done")] * len(video["clips"]) + [
        ("proxy", "done")
    ]
    for clip in video["clips"]:
        manifest = json.loads(Path(clip["deliverables"][0]["manifest"]).read_text())
        assert manifest["lineage"]["master"]["key"].startswith(f"clips/{clip['id']}/master/")
        delivered = next(file for file in clip["deliverables"][0]["files"] if file["role"] == "video")
        assert decoded_frames(Path(delivered["path"])) == clip["end_frame"] - clip["start_frame"]
