"""Rendering of generated videos: which frames, when, with what sound, and what is noticed on the way."""

from __future__ import annotations

import gc
import io
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import PictureType, VideoFrame

from contracts.errors import HeatersError, Permanent
from contracts.values import FrameRange
from services.media import rendition
from services.media.audio import SoundChain
from services.media.decode import FrameSource
from services.media.footage import Footage, Frames
from services.media.frame_spool import FrameSpool
from services.media.profiles import ARCHIVE_FFV1, DELIVERY_H264, PROFILES, AudioEncoding, Profile
from services.media.render import Budget, Cut, Rendered, render
from services.media.rendition import frugal
from services.media.shaping import Chains
from services.media.stills import stills
from tests.support.rendering import HEIGHT, RATE, WIDTH, burnt, decoded, footage_of, make_video, read_number

FLASHES = frozenset({12, 47, 90, 133, 170})


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "flashes.mp4"
    return make_video(path, 180, variable=True, flashes=FLASHES).path


def cut(folder: Path, start: int, end: int, *profiles: Profile) -> Cut:
    frames = FrameRange(start=start, end=end)
    return Cut(frames, profiles or (DELIVERY_H264,), folder / f"{start}-{end}", "clip", "A title")


def rendered(footage: Footage, cuts: list[Cut]) -> list[Rendered]:
    outcomes = dict(render(footage, cuts))
    for outcome in outcomes.values():
        assert isinstance(outcome, Rendered), outcome
    return [outcomes[place] for place in range(len(cuts))]


def whole(path: Path, folder: Path, *profiles: Profile, **facts: object) -> Rendered:
    footage = footage_of(path, **facts)
    return rendered(footage, [cut(folder, 0, footage.frames, *profiles)])[0]


class Counted:
    """Pictures of a footage, and which were asked for."""

    def __init__(self, pictures: Frames) -> None:
        self._pictures = pictures
        self.asked: list[int] = []

    def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
        for number, frame in self._pictures.frames(wanted):
            self.asked.append(number)
            yield number, frame

    def close(self) -> None:
        self._pictures.close()


@pytest.mark.parametrize("seed", [1, 2])
def test_random_clips_of_a_variable_rate_source_with_b_frames_are_exact(
    source: Path, tmp_path: Path, seed: int
) -> None:
    footage = footage_of(source)
    edges = sorted(random.Random(seed).sample(range(footage.frames + 1), 10))
    cuts = [cut(tmp_path, start, end) for start, end in zip(edges[::2], edges[1::2], strict=True)]
    random.Random(seed).shuffle(cuts)
    for wanted, made in zip(cuts, rendered(footage, cuts), strict=True):
        numbers, times, _ = decoded(made.renditions[0].path)
        expected = range(wanted.frames.start, wanted.frames.end)
        assert numbers == list(expected)
        assert times == [footage.time_of(number) - footage.time_of(expected.start) for number in expected]
        assert made.renditions[0].duration == made.duration


def test_each_frame_is_decoded_once_for_all_clips_and_profiles(source: Path, tmp_path: Path) -> None:
    footage = footage_of(source)
    counted = Counted(footage.pictures)

    cuts = [cut(tmp_path, 10, 40, DELIVERY_H264, ARCHIVE_FFV1), cut(tmp_path, 30, 50), cut(tmp_path, 90, 100)]
    rendered(replace(footage, pictures=counted), cuts)
    assert counted.asked == [*range(10, 50), *range(90, 100)]


@pytest.mark.parametrize(
    ("budget", "twice"),
    [
        (Budget(encoder_memory=1_000_000_000), False),
        (Budget(encoder_memory=1), False),
        (Budget(encoder_memory=1, waiting_frames=0), True),
        (Budget(encoder_memory=1, waiting_frames=15 * WIDTH * HEIGHT * 3 // 2), True),
    ],
    ids=["room", "no-room", "no-disk", "little-disk"],
)
def test_encoders_that_find_no_room_take_their_turn_and_the_files_are_the_same(
    source: Path, tmp_path: Path, budget: Budget, *, twice: bool
) -> None:
    footage = footage_of(source)
    counted = Counted(footage.pictures)

    def cuts(folder: Path) -> list[Cut]:
        both = (DELIVERY_H264, ARCHIVE_FFV1)
        return [
            cut(folder, 10, 40, *both),
            cut(folder, 20, 50),
            cut(folder, 30, 60, *both),
            cut(folder, 60, 70),
            cut(folder, 90, 95),
        ]

    alone = [rendered(footage, [each])[0] for each in cuts(tmp_path / "alone")]
    outcomes = dict(render(replace(footage, pictures=counted), cuts(tmp_path / "together"), budget=budget))
    for place, meant in enumerate(alone):
        outcome = outcomes[place]
        assert isinstance(outcome, Rendered), outcome
        for one, other in zip(outcome.renditions, meant.renditions, strict=True):
            assert one.profile == other.profile
            assert one.path.read_bytes() == other.path.read_bytes()
        assert (outcome.sidecars, outcome.pictures) == (meant.sidecars, meant.pictures)
    assert (len(counted.asked) > len(set(counted.asked))) is twice
    assert set(counted.asked) == {*range(10, 70), *range(90, 95)}


def test_an_encoder_that_takes_its_turn_and_fails_fails_its_clip_alone(source: Path, tmp_path: Path) -> None:
    cuts = [cut(tmp_path, 10, 20, ARCHIVE_FFV1, DELIVERY_H264), cut(tmp_path, 15, 25)]
    (cuts[0].folder / DELIVERY_H264.name).parent.mkdir(parents=True)
    (cuts[0].folder / DELIVERY_H264.name).write_text("in the way")
    outcomes = dict(render(footage_of(source), cuts, budget=Budget(encoder_memory=1)))
    assert isinstance(outcomes[0], HeatersError)
    assert isinstance(outcomes[1], Rendered)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["10-20", "15-25"]


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p10le", "gbrp", "nv12", "rgb24"])
def test_a_frame_that_waited_on_the_disk_is_the_same(form: str, tmp_path: Path) -> None:
    meant = av.VideoFrame(181, 97, form)
    for plane in meant.planes:
        samples = np.frombuffer(memoryview(plane), np.uint8)
        samples[:] = np.random.default_rng(plane.line_size).integers(0, 256, samples.size)
    meant.color_range, meant.colorspace, meant.color_trc, meant.color_primaries = 1, 9, 16, 9
    with closing(FrameSpool(tmp_path, 1_000_000)) as spool:
        spool.keep(7, meant)
        spool.keep(8, av.VideoFrame(181, 97, form))
        spool.drop(8)
        spool.keep(9, meant)
        for number in (7, 9):
            frame = spool.frame(number)
            assert [bytes(plane) for plane in frame.planes] == [bytes(plane) for plane in meant.planes]
            assert (frame.color_range, frame.colorspace, frame.color_trc, frame.color_primaries) == (1, 9, 16, 9)
        assert (7 in spool, 8 in spool) == (True, False)
    assert list(tmp_path.iterdir()) == []


def test_a_clip_is_given_as_soon_as_its_encoders_have_finished(source: Path, tmp_path: Path) -> None:
    def working() -> int:
        threads = (thread.name for thread in threading.enumerate())
        return sum(name.startswith(("encode-", "prove-", "sound", "sidecars")) for name in threads)

    class Patient(Counted):
        def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
            for number, frame in super().frames(wanted):
                if number == 100:
                    # The second clip has four threads, as many as the first had.
                    deadline = time.monotonic() + 30
                    while working() > 4 and time.monotonic() < deadline:
                        time.sleep(0.01)
                yield number, frame

    footage = footage_of(source)
    patient = Patient(footage.pictures)
    results = render(replace(footage, pictures=patient), [cut(tmp_path, 0, 20), cut(tmp_path, 60, 180)])
    place, outcome = next(results)
    assert (place, type(outcome)) == (0, Rendered)
    assert patient.asked[-1] <= 100, "it waited for the end of the second"
    assert [place for place, _ in results] == [1]


def test_the_encoders_of_ended_clips_are_freed(source: Path, tmp_path: Path) -> None:
    def encoders() -> int:
        # By the type itself: to ask some objects of other libraries for their class is a deprecated thing to do.
        return sum(issubclass(type(each), av.VideoCodecContext) and each.is_encoder for each in gc.get_objects())

    gc.collect()
    gc.disable()
    try:
        before = encoders()
        alive = []
        for _, outcome in render(footage_of(source), [cut(tmp_path, 20 * n, 20 * n + 20) for n in range(8)]):
            assert isinstance(outcome, Rendered), outcome
            alive.append(encoders() - before)
    finally:
        gc.enable()
    # The last clip's, and those of the ones that are being rendered meanwhile.
    assert max(alive) <= 2, alive


@pytest.mark.parametrize(("size", "kept"), [((320, 180), True), ((1920, 1080), False)], ids=str)
def test_chains_are_handed_on_but_for_those_of_large_pictures(size: tuple[int, int], *, kept: bool) -> None:
    chains, frame = Chains(), av.VideoFrame(1920, 1080, "yuv420p")
    first = chains.take(frame, size=size, pixel_format="yuv422p10le")
    chains.give(first)
    assert (chains.take(frame, size=size, pixel_format="yuv422p10le") is first) is kept


def test_clicks_stay_with_their_flashes_within_a_millisecond(source: Path, tmp_path: Path) -> None:
    footage = footage_of(source)
    cuts = [cut(tmp_path, 5, 60), cut(tmp_path, 61, 140), cut(tmp_path, 150, 180)]
    worst, seen = 0.0, 0
    for wanted, made in zip(cuts, rendered(footage, cuts), strict=True):
        numbers, times, sound = decoded(made.renditions[0].path)
        assert sound is not None
        heard = np.abs(sound).max(axis=0) > 0.2
        for number, at in zip(numbers, times, strict=True):
            if number in FLASHES:
                near = int(at * RATE) - 480
                onset = near + int(np.argmax(heard[max(0, near) : near + 960]))
                worst = max(worst, abs(onset / RATE - float(at)))
                seen += 1
        assert abs(made.renditions[0].sound_duration - made.duration) <= Fraction(1, RATE)
        assert made.renditions[0].sound.samples == round(made.duration * RATE), wanted
    assert seen == len(FLASHES)
    assert worst < 0.001


def test_the_same_clip_gives_the_same_bytes_whatever_else_is_rendered(source: Path, tmp_path: Path) -> None:
    alone, among = footage_of(source), footage_of(source)
    both = (DELIVERY_H264, ARCHIVE_FFV1)
    one = rendered(alone, [cut(tmp_path / "a", 60, 95, *both)])[0]
    cuts = [cut(tmp_path / "b", 0, 70), cut(tmp_path / "b", 60, 95, *both), cut(tmp_path / "b", 95, 110)]
    two = rendered(among, cuts)[1]
    assert [each.path.read_bytes() for each in one.renditions] == [each.path.read_bytes() for each in two.renditions]
    assert one.sidecars == two.sidecars
    assert one.pictures == two.pictures


OPUS = AudioEncoding(encoder="libopus", sample_rates=(48_000,), bit_rate_per_channel=64_000)


def test_sound_that_renditions_want_alike_is_encoded_once_and_their_bytes_are_the_same(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spoken = [ARCHIVE_FFV1.model_copy(update={"name": f"opus-{name}", "audio": OPUS}) for name in "ab"]
    faded = DELIVERY_H264.audio.model_copy(update={"fade_milliseconds": 5})
    profiles = [
        *(PROFILES[name] for name in ("delivery-h264", "delivery-av1", "prores-proxy", "prores-lt")),
        DELIVERY_H264.model_copy(update={"name": "faded", "audio": faded}),
        *spoken,
    ]
    alone = [rendered(footage_of(source), [cut(tmp_path / each.name, 20, 50, each)])[0] for each in profiles]
    opened = Counter[str]()
    monkeypatch.setattr(rendition, "SoundChain", lambda output, *given, **more: _counted(opened, output, given, more))
    together = rendered(footage_of(source), [cut(tmp_path / "all", 20, 50, *profiles)])[0]
    assert opened == {"aac": 2, "pcm_s24le": 1, "libopus": 1}
    for made, meant in zip(together.renditions, (each.renditions[0] for each in alone), strict=True):
        assert made.path.read_bytes() == meant.path.read_bytes()
        assert made == replace(meant, path=made.path)


def _counted(opened: Counter[str], output: object, given: tuple, more: dict) -> SoundChain:
    opened[given[0].encoder] += 1
    return SoundChain(output, *given, **more)


def test_the_archive_profile_keeps_every_bit(source: Path, tmp_path: Path) -> None:
    footage = footage_of(source)
    made = rendered(footage, [cut(tmp_path, 20, 60, ARCHIVE_FFV1)])[0]
    with FrameSource(made.renditions[0].path, None, 0) as archive:
        kept = [frame.to_ndarray() for _, frame in archive.frames(FrameRange(start=0, end=40))]
    meant = [frame.to_ndarray() for _, frame in footage.pictures.frames(FrameRange(start=20, end=60))]
    assert all(np.array_equal(one, two) for one, two in zip(kept, meant, strict=True))


def test_decoded_frame_types_do_not_force_key_frames(source: Path, tmp_path: Path) -> None:
    intra = whole(source, tmp_path / "intra", ARCHIVE_FFV1).renditions[0].path
    made = whole(intra, tmp_path / "again")
    with av.open(str(made.renditions[0].path)) as file:
        kinds = [PictureType(frame.pict_type).name for frame in file.decode(video=0)]
    assert "B" in kinds
    # The flashes and the changing bars are cuts to the encoder; the other frames are none.
    assert kinds.count("I") < len(kinds) // 4


def test_rotation_and_aspect_ratio_are_applied(tmp_path: Path) -> None:
    path = make_video(tmp_path / "plain.mp4", 4, sound=False).path
    turned = whole(path, tmp_path / "turned", rotation=-90).renditions[0]
    assert (turned.width, turned.height) == (HEIGHT, WIDTH)
    with av.open(str(turned.path)) as file:
        picture = next(file.decode(video=0)).to_ndarray(format="rgb24")
    assert read_number(np.rot90(picture)) == 0
    # The bars lie in the upper half; turned clockwise, that is the right one.
    assert picture[:, WIDTH // 4 + 8 :].mean() < picture[:, : WIDTH // 4 - 8].mean()
    wide = whole(path, tmp_path / "wide", sample_aspect_ratio=Fraction(64, 45)).renditions[0]
    assert (wide.width, wide.height) == (274, HEIGHT)


def test_odd_sizes_and_other_pixel_formats_become_what_the_profile_says(tmp_path: Path) -> None:
    path = make_video(tmp_path / "odd.mp4", 6, sound=False, pixel_format="yuv444p", size=(181, 97)).path
    made = whole(path, tmp_path, DELIVERY_H264, ARCHIVE_FFV1)
    delivered, archived = made.renditions
    assert (delivered.width, delivered.height, delivered.pixel_format) == (180, 96, "yuv420p")
    assert (archived.width, archived.height, archived.pixel_format) == (181, 97, "yuv444p")
    assert decoded(delivered.path)[0] == list(range(6))


def test_surround_is_mixed_down_and_silence_black_and_freezes_are_found(tmp_path: Path) -> None:
    pictures = [burnt(number) for number in range(144)]
    pictures[24:48] = [np.zeros_like(pictures[0])] * 24
    pictures[72:132] = [pictures[72]] * 60
    tone = 0.3 * np.sin(2 * np.pi * 997 * np.arange(6 * RATE) / RATE).astype(np.float32)
    tone[RATE : 4 * RATE] = 0
    made = make_video(tmp_path / "faulty.mp4", 144, pictures=pictures, samples=tone, channels="5.1")
    found = whole(made.path, tmp_path)
    assert found.pictures.black == (FrameRange(start=24, end=48),)
    assert found.pictures.frozen == (FrameRange(start=72, end=132),)
    sound = found.renditions[0].sound
    assert sound is not None
    assert sound.channels == 2
    ((start, end),) = sound.silence
    # The codec smears the edges by a block or two.
    assert abs(start - RATE) < 4096
    assert abs(end - 4 * RATE) < 4096
    assert sound.clipped == 0
    assert sound.peak <= 1


def test_loudness_of_a_reference_tone_is_what_the_standard_says(tmp_path: Path) -> None:
    # EBU Tech 3341, case 1: a stereo 1 kHz sine at -23 dBFS measures -23 LUFS.
    tone = 10 ** (-23 / 20) * np.sin(2 * np.pi * 1000 * np.arange(10 * RATE) / RATE)
    path = make_video(tmp_path / "tone.mkv", 200, samples=tone.astype(np.float32)).path
    sound = whole(path, tmp_path).renditions[0].sound
    assert sound is not None
    assert sound.loudness == pytest.approx(-23.0, abs=0.1)
    assert sound.true_peak == pytest.approx(-23.0, abs=0.2)


def test_clipping_is_counted(tmp_path: Path) -> None:
    wave = 0.2 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)
    for start in (1000, 30_000, 50_000):
        wave[start : start + 8] = 1.0
    path = make_video(tmp_path / "rail.mkv", 48, samples=wave.astype(np.float32)).path
    sound = whole(path, tmp_path).renditions[0].sound
    assert sound is not None
    # Each of the three stretches is heard in both channels.
    assert sound.clipped == 6


def test_a_misspelt_codec_option_is_an_error(source: Path, tmp_path: Path) -> None:
    video = DELIVERY_H264.video.model_copy(update={"options": (("preste", "fast"),)})
    profile = DELIVERY_H264.model_copy(update={"video": video})
    ((_, outcome),) = render(footage_of(source), [cut(tmp_path, 0, 5, profile)])
    assert isinstance(outcome, Permanent)
    assert outcome.code == "media.unknown_encoder_option"
    assert "preste" in outcome.message


def test_a_clip_that_fails_does_not_take_others_with_it(source: Path, tmp_path: Path) -> None:
    footage = footage_of(source)
    video = DELIVERY_H264.video.model_copy(update={"options": (("crf", "nonsense"),)})
    broken = DELIVERY_H264.model_copy(update={"video": video})
    cuts = [cut(tmp_path, 0, 30), cut(tmp_path, 10, 40, broken), cut(tmp_path, 170, 181), cut(tmp_path, 40, 60)]
    outcomes = dict(render(footage, cuts))
    assert isinstance(outcomes[0], Rendered)
    assert isinstance(outcomes[1], HeatersError)
    assert isinstance(outcomes[2], HeatersError)
    assert outcomes[2].code == "media.out_of_range"
    assert isinstance(outcomes[3], Rendered)


def test_a_decoder_that_gives_up_fails_the_open_clips_and_reads_on_for_the_rest(source: Path, tmp_path: Path) -> None:
    footage = footage_of(source)

    class Damaged(Counted):
        def frames(self, wanted: FrameRange) -> Iterator[tuple[int, VideoFrame]]:
            for number, frame in super().frames(wanted):
                if number == 50 and wanted.start < 50:
                    raise Permanent("Frame 50 is damaged. Preprocess the video again.", code="media.corrupt")
                yield number, frame

    cuts = [cut(tmp_path, 0, 30), cut(tmp_path, 30, 60), cut(tmp_path, 60, 80)]
    outcomes = dict(render(replace(footage, pictures=Damaged(footage.pictures)), cuts))
    assert isinstance(outcomes[0], Rendered)
    assert isinstance(outcomes[1], HeatersError)
    assert outcomes[1].code == "media.corrupt"
    assert isinstance(outcomes[2], Rendered)


def test_stopping_early_stops_the_encoders(source: Path, tmp_path: Path) -> None:
    outcomes = render(footage_of(source), [cut(tmp_path, 0, 5), cut(tmp_path, 5, 20), cut(tmp_path, 20, 90)])
    next(outcomes)
    outcomes.close()


def test_the_file_starts_before_it_is_whole_and_carries_its_colours(source: Path, tmp_path: Path) -> None:
    made = whole(source, tmp_path).renditions[0]
    assert made.faststart
    assert (made.color_space, made.color_range, made.color_primaries) == ("smpte170m", "tv", "smpte170m")
    with av.open(str(made.path)) as file:
        assert file.metadata["title"] == "A title"
        assert "encoder" not in file.metadata


def test_stills_show_the_frames_asked_for(source: Path) -> None:
    taken = dict(stills(source, [150, 3, 77, 3]))
    assert list(taken) == [3, 77, 150]
    for number, data in taken.items():
        with av.open(io.BytesIO(data), format="jpeg_pipe") as file:
            assert read_number(next(file.decode(video=0)).to_ndarray(format="rgb24")) == number


def test_interlaced_footage_keeps_its_frames(source: Path, tmp_path: Path) -> None:
    footage = footage_of(source, interlaced=True)
    made = rendered(footage, [cut(tmp_path, 20, 45)])[0].renditions[0]
    numbers, times, _ = decoded(made.path)
    assert numbers == list(range(20, 45))
    assert times == [footage.time_of(number) - footage.time_of(20) for number in range(20, 45)]


def test_hdr_is_brought_to_an_ordinary_screen_and_kept_in_the_archive(tmp_path: Path) -> None:
    path = tmp_path / "hdr.mkv"
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=24, options={"crf": "8", "profile": "high10"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        context = stream.codec_context
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = 1, 9, 9, 16
        for number in range(6):
            frame = av.VideoFrame(64, 48, "yuv420p10le")
            for plane, level in zip(frame.planes, (500, 512, 512), strict=True):
                plane.update(np.full(plane.buffer_size // 2, level, np.uint16).tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 24)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    delivered, archived = whole(path, tmp_path, DELIVERY_H264, ARCHIVE_FFV1).renditions
    assert (delivered.pixel_format, delivered.color_transfer, delivered.color_primaries, delivered.color_space) == (
        "yuv420p", "bt709", "bt709", "bt709",
    )  # fmt: skip
    assert (archived.pixel_format, archived.color_transfer, archived.color_primaries, archived.color_space) == (
        "yuv420p10le", "smpte2084", "bt2020", "bt2020nc",
    )  # fmt: skip
    with av.open(str(delivered.path)) as file:
        level = next(file.decode(video=0)).to_ndarray(format="gray").mean()
    # 500 of 1023 in PQ is about 92 nits, near the white of an ordinary screen; passed through it would be grey.
    assert level > 150


def test_a_file_that_does_not_show_what_was_encoded_is_noticed(source: Path, tmp_path: Path) -> None:
    video = DELIVERY_H264.video.model_copy(update={"crf": 51, "options": (("preset", "ultrafast"),)})
    made = whole(source, tmp_path, DELIVERY_H264.model_copy(update={"video": video})).renditions[0]
    good = whole(source, tmp_path / "good").renditions[0]
    assert good.picture_difference < 0.02
    assert made.picture_difference > 3 * good.picture_difference


@pytest.mark.parametrize(("level", "highest"), [(0.1, 0.25), (0.6, 0.99)])
def test_a_mix_down_keeps_loudness_and_never_overloads(tmp_path: Path, level: float, highest: float) -> None:
    tone = level * np.sin(2 * np.pi * 997 * np.arange(3 * RATE) / RATE)
    path = make_video(tmp_path / "surround.mkv", 60, samples=tone.astype(np.float32), channels="5.1").path
    delivered, archived = whole(path, tmp_path, DELIVERY_H264, ARCHIVE_FFV1).renditions
    assert delivered.layout == "stereo"
    assert archived.layout == "5.1"
    assert delivered.sound.peak <= highest
    # All channels carry the same tone, which adds up to more than the sum of their powers.
    assert -1 < delivered.sound.loudness - archived.sound.loudness < 4


@pytest.mark.parametrize(
    "said", [(), (("bframes", "8"),), (("rc-lookahead", "2"),), (("rc-lookahead", "12"), ("bframes", "6"))], ids=str
)
def test_large_pictures_are_encoded_within_bounds_whatever_a_profile_says_of_the_encoder(
    said: tuple[tuple[str, str], ...],
) -> None:
    encoding = PROFILES["delivery-h265"].video.model_copy(update={"options": (("preset", "fast"), *said)})
    told = frugal(encoding, (1920, 1080))
    assert frugal(encoding, (1280, 720)) == {}
    options = encoding.encoder_options(unless_said=told)
    for name, value in said:
        assert f"{name}={value}" in options["x265-params"].split(":")
    context = av.CodecContext.create("libx265", "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = 320, 180, "yuv420p"
    context.time_base, context.options = Fraction(1, 25), options
    assert sum(1 for number in range(12) for _ in context.encode(plain(number))) + len(context.encode(None)) == 12


def plain(number: int) -> av.VideoFrame:
    """A grey picture."""
    frame = av.VideoFrame.from_ndarray(np.full((270, 320), 90, np.uint8), format="yuv420p")
    frame.pts = number
    return frame
