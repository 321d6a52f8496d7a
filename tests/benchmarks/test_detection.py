"""How right shot detection is and what it costs, beside PySceneDetect and TransNetV2. Printed, with the limits beside.

./heaters test tests/benchmarks/test_detection.py -s          a tenth of the set
./heaters test tests/benchmarks/test_detection.py -s --full   2,000 changes of shot; TransNetV2 takes most of an hour
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
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
print(len(detector.transitions(scores, DECLARED[sys.argv[3]].parameters())))
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


def processor_seconds(program: str, *arguments: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program, *arguments], check=True, timeout=600, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.fixture(scope="module")
def proxied(tmp_path_factory) -> tuple[Path, Path, int]:
    """A proxy of 720 lines, three times the test video end to end, with its features."""
    folder = tmp_path_factory.mktemp("proxied")
    source = folder / "thrice.mp4"
    with av.open(str(source), "w") as out:
        stream = None
        for turn in range(3):
            with av.open(str(FIXTURES / "psd_cuts_and_fades_720p2997.mp4")) as given:
                (video,) = given.streams.video
                stream = stream or out.add_stream_from_template(video)
                for packet in given.demux(video):
                    if packet.dts is None:
                        continue
                    offset = turn * video.duration
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    out.mux(packet)
    (folder / "made").mkdir()
    made = make_review_media(source, probe(source), folder / "made", ReviewSettings(max_height=720))
    return made.proxy, made.features, made.frames


def test_cost_beside_pyscenedetect(proxied, tmp_path):
    proxy, rows, frames = proxied
    theirs = min(processor_seconds(THEIRS, str(proxy)) for _ in range(2))
    print(f"\n{frames} frames of 720p: PySceneDetect detect-adaptive {theirs:.2f} CPU-s")
    taken = features_seconds(proxy, tmp_path, frames)
    print(f"features in the proxy pass {taken:.2f} CPU-s")
    for name in ("adaptive", "fused"):
        stage = min(processor_seconds(STAGE, str(rows), str(tmp_path), name) for _ in range(2))
        print(f"{name}: stage {stage:.2f} CPU-s, all together {(taken + stage) / theirs:.2f} of it (limit 0.5)")


def features_seconds(proxy: Path, folder: Path, frames: int) -> float:
    """What the small pictures and their statistics cost beside decoding and encoding."""
    from av.video.reformatter import VideoReformatter

    from services.media.planes import first_plane
    from services.media.review_media import _rgb

    small = VideoReformatter()
    spent, count = 0.0, 0
    with av.open(str(proxy)) as given, features.FeatureWriter(folder / "again.npz") as writer:
        for frame in given.decode(video=0):
            begun = time.process_time()
            writer.add(_rgb(small, frame, features.WIDTH, features.HEIGHT), first_plane(frame))
            spent += time.process_time() - begun
            count += 1
        begun = time.process_time()
    spent += time.process_time() - begun
    assert count == frames
    assert len(np.load(folder / "again.npz")["luma_mean"]) == frames
    return spent
