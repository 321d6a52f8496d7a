"""Real files through probe, review media and master: as many frames as an independent decoder counts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.digest import FrameDigest
from services.media.master import make_master
from services.media.probe import probe
from services.media.review_media import make_review_media

FIXTURES = Path(__file__).parents[1] / "fixtures"
FRAMES = {
    "nasa_h264_2video_2audio_2sub.mp4": 390,
    "exo_av1_aac_1080x720.mp4": 30,
    "exo_vp9_odd_161x121.webm": 30,
    "mb_cursed_vfr_3026x1386_h264.mp4": 63,
    "mb_bbb_rotated90_1080p.mp4": 45,
    "psd_fades_mpeg4.mp4": 250,
    "psd_counter_1080p10_30frames.mp4": 30,
    "bbb_vp9_opus.webm": 240,
}


@pytest.mark.parametrize("name", FRAMES)
def test_a_real_file_keeps_every_frame(name: str, tmp_path: Path):
    source = FIXTURES / name
    facts = probe(source)
    told = []
    made = make_review_media(source, facts, tmp_path, progress=lambda done, total: told.append((done, total)))
    assert made.frames == facts.promised_frames == FRAMES[name]
    assert told[-1] == (FRAMES[name], FRAMES[name])
    assert (made.sound is None) == (facts.facts.audio is None)
    assert made.findings == ()
    master = make_master(source, facts, tmp_path)
    assert master.frames == FRAMES[name]
    digest = FrameDigest()
    with FrameSource(master.path, master.index) as frames:
        for _, frame in frames.frames(FrameRange(start=0, end=master.frames)):
            assert frame.rotation == facts.facts.video.rotation
            digest.add(frame)
    assert digest.hexdigest() == master.frames_sha256


def test_the_larger_of_two_default_videos_is_chosen():
    facts = probe(FIXTURES / "nasa_h264_2video_2audio_2sub.mp4")
    assert (facts.facts.video.stream_index, facts.facts.video.width) == (3, 480)
    assert (facts.facts.video_streams, facts.facts.audio_streams, facts.facts.subtitle_streams) == (2, 2, 2)
    assert [(stream.codec, stream.text) for stream in facts.subtitles] == [("mov_text", True)] * 2


def test_a_container_that_rotates_is_shown_upright():
    facts = probe(FIXTURES / "mb_bbb_rotated90_1080p.mp4")
    assert facts.facts.video.rotation == -90
    assert float(facts.start) == pytest.approx(1 / 12)


def test_memory_does_not_grow_with_the_length(tmp_path: Path):
    """Peak memory of a pass over 3,000 frames stays near that over 300: both in processes of their own."""
    code = """
import resource, sys
from pathlib import Path
from services.media.probe import probe
from services.media.review_media import make_review_media
from tests.support.made_videos import make_video
folder = Path(sys.argv[1])
source = make_video(folder / "a.mp4", frames=int(sys.argv[2]), size=(320, 240), options={"preset": "ultrafast"})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
make_review_media(source, probe(source), folder)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""
    peaks = []
    for frames in (300, 3000):
        folder = tmp_path / str(frames)
        folder.mkdir()
        command = [sys.executable, "-c", code, str(folder), str(frames)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=FIXTURES.parents[1])
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] < peaks[0] * 1.35
