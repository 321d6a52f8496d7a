"""Frame n is frame n everywhere: a number in every picture is read back from proxies, masters and exports of awkward sources."""

from __future__ import annotations

import random
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.digest import FrameDigest
from services.media.features import load_features
from services.media.frame_index import FrameIndex
from services.media.planes import visible_planes
from services.media.probe import probe
from services.media.profiles import PROFILES
from services.media.render import Cut, Rendered, render
from services.media.review_media import make_review_media
from tests.support.prepared import Prepared, footage, prepare
from tests.support.source_matrix import MATRIX, make_source, number_in, numbers_of

CLIPS_EACH, CLIPS_OF_HDR = (1, 32), (1, 2)
"""Random clips of each source: as a rule, and in full. Tone mapping makes a second of work before the first frame."""

LONGEST = 7
DELIVERIES = tuple(name for name in sorted(PROFILES) if name != "archive-ffv1")


@pytest.fixture(scope="module", params=MATRIX)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    folder = tmp_path_factory.mktemp("identity")
    return prepare(make_source(request.param, folder), folder)


def test_the_matrix_is_as_large_as_promised() -> None:
    assert len(MATRIX) >= 24
    assert sum(clips_of(name)[1] for name in MATRIX) >= 1000


def test_every_frame_has_its_number_and_time_in_the_proxy(made: Prepared) -> None:
    assert made.review.frames == len(numbers_of(made.name))
    index = FrameIndex.from_bytes(made.review.index_path.read_bytes())
    with FrameSource(made.review.proxy, index) as proxy:
        frames = list(proxy.frames(made.whole))
    assert [number_in(frame, made.rotation) for _, frame in frames] == list(numbers_of(made.name))
    assert [frame.pts for _, frame in frames] == index.pts.tolist()
    assert len(load_features(made.review.features.read_bytes())) == made.review.frames


def test_the_master_holds_the_sources_own_decode_bit_for_bit(made: Prepared) -> None:
    digest, numbers = FrameDigest(), []
    with FrameSource(made.master.path, made.master.index) as kept:
        for _, frame in kept.frames(made.whole):
            digest.add(frame)
            assert frame.rotation == made.rotation
            numbers.append(number_in(frame))
    assert numbers == list(numbers_of(made.name))
    assert digest.hexdigest() == made.master.frames_sha256
    assert np.array_equal(made.master.index.pts, made.index.pts)
    # A decode of its own, by the library alone, is the yardstick.
    yardstick, planes = FrameDigest(), []
    with av.open(str(made.path)) as file:
        for frame in file.decode(file.streams[made.probe.facts.video.stream_index]):
            yardstick.add(frame)
            planes.append([np.array(plane) for plane in visible_planes(frame)] if len(planes) < 3 else [])
    assert yardstick.frames == made.master.frames
    if made.probe.facts.video.pixel_format.startswith("yuvj"):
        # The old name of the same planes: the samples count.
        with FrameSource(made.master.path, made.master.index) as kept:
            for number, frame in kept.frames(FrameRange(start=0, end=3)):
                assert all(map(np.array_equal, visible_planes(frame), planes[number]))
    elif made.probe.facts.video.pixel_format == "rgb24":
        with FrameSource(made.master.path, made.master.index) as kept:
            for number, frame in kept.frames(FrameRange(start=0, end=3)):
                rgb = np.asarray(frame.to_ndarray(format="rgb24"))
                assert np.array_equal(rgb.reshape(rgb.shape[0], -1), planes[number][0])
    else:
        assert yardstick.hexdigest() == made.master.frames_sha256


def clips_of(name: str) -> tuple[int, int]:
    return CLIPS_OF_HDR if name.startswith("hdr") else CLIPS_EACH


def random_ranges(made: Prepared, count: int) -> list[FrameRange]:
    choose = random.Random(made.name)
    ranges = []
    for _ in range(count):
        start = choose.randrange(made.review.frames)
        ranges.append(FrameRange(start=start, end=choose.randint(start + 1, min(made.review.frames, start + LONGEST))))
    return ranges


@pytest.mark.scaled
def test_random_clips_hold_exactly_their_frames_in_every_kind_of_export(made: Prepared, tmp_path: Path, scale) -> None:
    """Each clip as an archive, bit for bit, and in one of the delivery profiles in turn; cut from the master and the source."""
    ranges = random_ranges(made, scale(*clips_of(made.name)))
    turn = random.Random(made.name).randrange(len(DELIVERIES))
    cuts = []
    for place, frames in enumerate(ranges):
        delivery = DELIVERIES[(turn + place) % len(DELIVERIES)]
        profiles = (PROFILES["archive-ffv1"], PROFILES[delivery])
        cuts.append(Cut(frames, profiles, tmp_path / str(place), "clip", "A title"))
    # Every other clip is cut from the source itself, as it is without a master.
    for mastered in (True, False):
        chosen = cuts[0 if mastered else 1 :: 2] or cuts
        with ExitStack() as ways_out:
            outcomes = dict(render(footage(made, ways_out, mastered=mastered), chosen))
        for place, cut in enumerate(chosen):
            outcome = outcomes[place]
            assert isinstance(outcome, Rendered), outcome
            check(made, cut, outcome)


def check(made: Prepared, cut: Cut, outcome: Rendered) -> None:
    wanted = [numbers_of(made.name)[number] for number in range(cut.frames.start, cut.frames.end)]
    with FrameSource(made.master.path, made.master.index) as kept:
        meant = [visible_copy(frame) for _, frame in kept.frames(cut.frames)]
    for rendition in outcome.renditions:
        tags = (rendition.color_range, rendition.color_space, rendition.color_transfer, rendition.color_primaries)
        assert tags == rendition.colours_meant, (made.name, rendition.profile.name)
        shown, numbers = [], []
        with av.open(str(rendition.path)) as file:
            for frame in file.decode(video=0):
                shown.append(visible_copy(frame))
                numbers.append(number_in(frame, made.rotation if not rendition.profile.lossless else 0))
        if rendition.profile.lossless and not made.rotation:
            assert len(shown) == len(meant)
            assert all(all(map(np.array_equal, one, two)) for one, two in zip(shown, meant, strict=True))
        assert len(numbers) == len(wanted)
        if not rendition.profile.lossless:
            assert numbers == wanted, (cut, rendition.profile.name)


def visible_copy(frame: av.VideoFrame) -> list[np.ndarray]:
    samples = [np.array(plane) for plane in visible_planes(frame)]
    if frame.format.name in ("bgr0", "rgb0"):
        # The fourth byte of a pixel means nothing.
        return [plane.reshape(frame.height, frame.width, 4)[..., :3] for plane in samples]
    return samples


@pytest.mark.parametrize(
    "name", ["open_gop.mkv", "open_gop.ts", "open_gop_265.mp4", "b_frames.mp4", "variable.mp4", "no_times.avi", "fragmented.mp4"]
)  # fmt: skip
def test_any_range_of_a_long_gop_source_is_the_one_decoded_from_its_start(name: str, tmp_path: Path) -> None:
    source = make_source(name, tmp_path)
    facts = probe(source)
    reviewed = make_review_media(source, facts, tmp_path)
    index, count = reviewed.index.without_addresses(), reviewed.frames
    choose = random.Random(7)
    with FrameSource(source, index, facts.facts.video.stream_index) as frames:
        for _ in range(8):
            start = choose.randrange(count)
            end = choose.randrange(start + 1, min(count, start + 9) + 1)
            got = list(frames.frames(FrameRange(start=start, end=end)))
            assert [number for number, _ in got] == list(range(start, end))
            assert [number_in(frame) for _, frame in got] == list(range(start, end))
            assert [frame.pts for _, frame in got] == index.pts[start:end].tolist()


def test_the_index_keeps_where_a_late_source_begins(tmp_path: Path) -> None:
    source = make_source("late.mp4", tmp_path)
    assert make_review_media(source, probe(source), tmp_path).index.start == Fraction(2, 5)
