"""What every export profile keeps, the house's own ones and whatever is added to the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.values import FrameRange
from services.media.light import light_of
from services.media.probe import probe
from services.media.profiles import PROFILES, Profile
from services.media.render import Cut, Rendered, render
from services.media.rendition import Rendition
from tests.support.rendering import decoded, footage_of, hdr_source, make_video

FLASHES = frozenset({12, 33, 47, 61})
START, END = 9, 65
NAMES = sorted(PROFILES)
ENTRIES = {
    "delivery-h264": "avc1", "delivery-h265": "hvc1", "delivery-av1": "av01", "broadcast-h264": "avc1",
    "prores-proxy": "apco", "prores-lt": "apcs", "prores-422": "apcn", "prores-hq": "apch", "archive-ffv1": "FFV1",
}  # fmt: skip


def rendered(path: Path, cuts: list[Cut]) -> list[Rendered]:
    outcomes = dict(render(footage_of(path), cuts))
    for outcome in outcomes.values():
        assert isinstance(outcome, Rendered), outcome
    return [outcomes[place] for place in range(len(cuts))]


@dataclass
class Made:
    source: Path
    clip: Rendered
    again: dict[str, bytes]

    def __getitem__(self, name: str) -> Rendition:
        return next(each for each in self.clip.renditions if each.profile.name == name)


@pytest.fixture(scope="module", params=[48_000, 44_100])
def made(request, tmp_path_factory) -> Made:
    """One clip in every profile, made twice: the second time between others, so that threads run otherwise."""
    folder = tmp_path_factory.mktemp("profiles")
    source = make_video(folder / "source.mp4", 84, variable=True, flashes=FLASHES, sample_rate=request.param).path
    everything = tuple(PROFILES[name] for name in NAMES)

    def cut(name: str, start: int, end: int, *profiles: Profile) -> Cut:
        return Cut(FrameRange(start=start, end=end), profiles, folder / name, "clip", "A title")

    (clip,) = rendered(source, [cut("once", START, END, *everything)])
    _, second, _ = rendered(
        source,
        [
            cut("before", 0, 20, everything[0]),
            cut("twice", START, END, *reversed(everything)),
            cut("after", 60, 80, everything[1]),
        ],
    )
    return Made(source, clip, {each.profile.name: each.path.read_bytes() for each in second.renditions})


@pytest.mark.parametrize("name", NAMES)
def test_every_frame_is_there_once_at_its_time(made: Made, name: str) -> None:
    footage = footage_of(made.source)
    numbers, times, _ = decoded(made[name].path)
    assert numbers == list(range(START, END))
    due = [footage.time_of(number) - footage.time_of(START) for number in numbers]
    # Matroska rounds to its tick of a millisecond; the others hold every time exactly.
    slack = Fraction(1, 2000) if PROFILES[name].container == "matroska" else 0
    assert max(abs(time - when) for time, when in zip(times, due, strict=True)) <= slack
    assert made[name].duration == pytest.approx(float(made.clip.duration), abs=0.001)


@pytest.mark.parametrize("name", NAMES)
def test_the_file_is_what_the_profile_says(made: Made, name: str) -> None:
    profile, rendition = PROFILES[name], made[name]
    facts = probe(rendition.path).facts
    assert (facts.video.codec, facts.video.width, facts.video.height) == (profile.video.codec, 192, 96)
    assert facts.video.pixel_format == rendition.pixel_format == (profile.video.pixel_format or "yuv420p")
    assert facts.video.packets == END - START
    assert facts.audio is not None
    assert facts.audio.codec == profile.audio.codec
    assert facts.audio.channels == 2
    if profile.audio.sample_rates:
        assert facts.audio.sample_rate in profile.audio.sample_rates
    with av.open(str(rendition.path)) as file:
        assert file.streams.video[0].codec_context.codec_tag == ENTRIES[name] or profile.container == "matroska"
        assert file.metadata["title"] == "A title"
        # Matroska names its writing library, without a version.
        assert file.metadata.get("encoder", "Lavf") == "Lavf"
        assert "creation_time" not in file.metadata
    assert (rendition.color_space, rendition.color_range) == ("smpte170m", "tv") or profile.lossless
    assert rendition.faststart == ("+faststart" in dict(profile.container_options).get("movflags", ""))
    assert rendition.picture_difference < (0.000001 if profile.lossless else 0.03)


@pytest.mark.parametrize("name", NAMES)
def test_clicks_stay_with_their_flashes_within_a_millisecond(made: Made, name: str) -> None:
    numbers, times, sound = decoded(made[name].path)
    rate = made[name].sample_rate
    assert sound is not None
    assert rate is not None
    loud = np.abs(sound).max(axis=0)
    heard = loud > 0.25 * loud.max()
    seen = 0
    for number, time in zip(numbers, times, strict=True):
        if number in FLASHES:
            near = int(time * rate) - rate // 100
            onset = near + int(np.argmax(heard[max(0, near) : near + rate // 50]))
            assert abs(onset / rate - float(time)) < 0.001, number
            seen += 1
    assert seen == len(FLASHES)
    assert made[name].sound.samples == round(made.clip.duration * rate)
    assert abs(made[name].sound_duration - made.clip.duration) <= Fraction(2, 1000)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_bytes_come_again(made: Made, name: str) -> None:
    assert made[name].path.read_bytes() == made.again[name]


def test_hdr_stays_hdr_where_the_profile_keeps_it(tmp_path: Path) -> None:
    source, said = hdr_source(tmp_path / "hdr.mkv"), "smpte2084"
    cut = Cut(FrameRange(start=0, end=8), tuple(PROFILES[name] for name in NAMES), tmp_path, "clip", "HDR")
    for made in rendered(source, [cut])[0].renditions:
        told = (made.pixel_format, made.color_transfer, made.color_primaries, made.color_space)
        with av.open(str(made.path)) as file:
            first = next(file.decode(video=0))
            light = light_of(first)
            level = first.to_ndarray()[0, 0] if first.format.name == "yuv420p10le" else None
        if made.profile.video.keeps_hdr or made.profile.lossless:
            deep = "yuv422p10le" if made.profile.container == "mov" else "yuv420p10le"
            assert told == (deep, said, "bt2020", "bt2020nc"), made.profile.name
            assert level is None or abs(int(level) - 300) <= 3
        else:
            assert told == ("yuv420p", "bt709", "bt709", "bt709"), made.profile.name
        if made.profile.video.encoder in ("libx265", "libsvtav1"):
            assert light is not None
            assert light.levels == (1000, 400)
            assert [round(float(value), 4) for value in light.luminance] == [0.0001, 1000.0]
            assert [round(float(value), 3) for value in light.display[0]] == [0.68, 0.32]


def test_ten_bits_of_an_ordinary_source_are_kept_where_the_profile_can(tmp_path: Path) -> None:
    source = make_video(tmp_path / "deep.mkv", 12, pixel_format="yuv422p10le", sound=False).path
    cut = Cut(FrameRange(start=0, end=12), tuple(PROFILES[name] for name in NAMES), tmp_path, "clip", "Ten bits")
    formats = {made.profile.name: made.pixel_format for made in rendered(source, [cut])[0].renditions}
    assert formats == {
        "archive-ffv1": "yuv422p10le",
        "broadcast-h264": "yuv420p",
        "delivery-av1": "yuv420p10le",
        "delivery-h264": "yuv420p",
        "delivery-h265": "yuv420p10le",
        **{f"prores-{kind}": "yuv422p10le" for kind in ("proxy", "lt", "422", "hq")},
    }


def test_caps_and_rates_of_a_profile_are_kept(tmp_path: Path) -> None:
    source = make_video(tmp_path / "plain.mkv", 48).path
    video = PROFILES["delivery-h264"].video.model_copy(
        update={"longest_side": 100, "crf": None, "bit_rate": 200_000, "max_bit_rate": 250_000}
    )
    capped = PROFILES["delivery-h264"].model_copy(update={"video": video})
    (made,) = rendered(source, [Cut(FrameRange(start=0, end=48), (capped,), tmp_path, "clip", "Capped")])
    (rendition,) = made.renditions
    assert (rendition.width, rendition.height) == (100, 50)
    with av.open(str(rendition.path)) as file:
        bits = 8 * sum(packet.size for packet in file.demux(video=0))
    assert bits / float(made.duration) < 300_000
