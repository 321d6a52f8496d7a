"""How right shot detection is and what it costs, beside PySceneDetect and TransNetV2. Printed, with the limits beside.

./heaters test tests/benchmarks/test_detection.py -s          a tenth of the set
./heaters test tests/benchmarks/test_detection.py -s --full   2,000 changes of shot; TransNetV2 takes most of an hour
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from services.media import features
from services.media.probe import probe
from services.media.recipes import ReviewSettings
from services.media.review_media import make_review_media
from tests.detection.bench import CONTESTANTS, compete, generated, table
from tests.detection.judge import judge

FIXTURES = Path(__file__).parents[1] / "fixtures"

STAGE = """
import sys
from pathlib import Path
from services.media.features import map_frames
from services.scenes.detectors.declared import DECLARED
from services.scenes.detectors.interface import open_detector, pack_scores
frames = map_frames(Path(sys.argv[1]), Path(sys.argv[2]))
detector = open_detector(sys.argv[3])
scores = detector.scores(frames)
pack_scores(scores, source_sha256="ab" * 32)
found = detector.transitions(scores, DECLARED[sys.argv[3]].parameters())
asked = (scores.tracks["model"][0] >= 0).sum() if "model" in scores.tracks else 0
print(f"{len(found)} changes, {asked} frames asked about")
"""
THEIRS = """
import sys
from scenedetect import AdaptiveDetector, detect
print(len(detect(sys.argv[1], AdaptiveDetector())))
"""


def test_accuracy(scale):
    results, labelled, flashes = compete(generated(scale(200, 2000)), list(CONTESTANTS))
    print(f"\n{table(results, labelled, flashes)}")
    ours = judge(results["fused"].found, labelled, 2)
    best = max(judge(each.found, labelled, 2).all.f1 for name, each in results.items() if name[0] in "PT")
    assert ours.all.f1 >= 0.93
    assert ours.all.f1 > best
    assert ours.kinds["dissolve"].right / ours.kinds["dissolve"].labelled >= 0.9
    assert results["fused"].flashes_cut == 0


def processor_seconds(program: str, *arguments: str) -> tuple[float, str]:
    """What a process of its own takes, user and system, and what it says."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], check=True, timeout=600, stdout=subprocess.PIPE, text=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout.strip()


@dataclass(frozen=True)
class Proxied:
    """A proxy of 720 lines and its features."""

    proxy: Path
    features: Path
    frames: int

    def repeated(self, times: int, folder: Path) -> Proxied:
        """So many times as long: every picture stands for itself, so nothing has to be encoded."""
        target = Proxied(folder / f"{times}.mp4", folder / f"{times}.npz", times * self.frames)
        with av.open(str(target.proxy), "w") as out, av.open(str(self.proxy)) as first:
            stream = out.add_stream_from_template(first.streams.video[0])
            for turn in range(times):
                with av.open(str(self.proxy)) as given:
                    (video,) = given.streams.video
                    for packet in given.demux(video):
                        if packet.dts is None:
                            continue
                        offset = turn * video.duration
                        packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                        packet.stream = stream
                        out.mux(packet)
        with np.load(self.features) as rows:
            np.savez_compressed(target.features, **{name: np.concatenate([rows[name]] * times) for name in rows.files})
        return target


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> Proxied:
    """The test video and a street with a man in a car after it, where cars that pass leave ``fused`` in doubt."""
    folder = tmp_path_factory.mktemp("proxied")
    source = folder / "both.mp4"
    with av.open(str(source), "w") as out:
        stream = out.add_stream("libx264", rate=30, options={"crf": "18", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        count = 0
        for name in ("psd_cuts_and_fades_720p2997.mp4", "detection_held_out.mp4"):
            with av.open(str(FIXTURES / name)) as given:
                for picture in given.decode(video=0):
                    scaled = picture.reformat(1280, 720, "yuv420p")
                    scaled.pts, scaled.time_base = count, Fraction(1, 30)
                    out.mux(stream.encode(scaled))
                    count += 1
        out.mux(stream.encode())
    (folder / "made").mkdir()
    made = make_review_media(source, probe(source), folder / "made", ReviewSettings(max_height=720))
    return Proxied(made.proxy, made.features, made.frames)


@pytest.mark.parametrize("times", [2, 8, 24])
def test_cost_beside_pyscenedetect(times, proxied, tmp_path):
    """All that detection adds to the pipeline; long films have the model asked where there is doubt."""
    film = proxied.repeated(times, tmp_path)
    theirs = processor_seconds(THEIRS, str(film.proxy))[0]
    print(f"\n{film.frames} frames of 720p: PySceneDetect detect-adaptive {theirs:.2f} CPU-s")
    taken = features_seconds(proxied, tmp_path) * times
    print(f"features in the proxy pass {taken:.2f} CPU-s")
    for name in ("adaptive", "fused"):
        stage, told = processor_seconds(STAGE, str(film.features), str(tmp_path), name)
        together = (taken + stage) / theirs
        print(f"{name}: stage {stage:.2f} CPU-s, {told}, all together {together:.2f} of it (limit 0.5)")
        assert together <= 0.5


def features_seconds(film: Proxied, folder: Path) -> float:
    """What the small pictures and their statistics cost beside decoding and encoding."""
    from av.video.reformatter import VideoReformatter

    from services.media.planes import first_plane
    from services.media.review_media import _rgb

    small = VideoReformatter()
    spent, count = 0.0, 0
    with av.open(str(film.proxy)) as given, features.FeatureWriter(folder / "again.npz") as writer:
        for frame in given.decode(video=0):
            begun = time.process_time()
            writer.add(_rgb(small, frame, features.WIDTH, features.HEIGHT), first_plane(frame))
            spent += time.process_time() - begun
            count += 1
        begun = time.process_time()
    spent += time.process_time() - begun
    assert count == film.frames
    assert len(np.load(folder / "again.npz")["luma_mean"]) == film.frames
    return spent
