"""What the proxy shows of awkward sources, and that the master keeps them as they are."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from contracts.values import FrameRange
from services.media.decode import FrameSource
from services.media.master import make_master
from services.media.probe import probe
from services.media.recipes import ReviewSettings
from services.media.review_media import make_review_media
from services.media.sidecars import Captions, caption_sidecars
from services.media.subtitles import read_subtitles
from tests.support.made_videos import make_video
from tests.support.source_matrix import MATRIX

FIXTURES = Path(__file__).parents[1] / "fixtures"


def write(path: Path, pictures: list[np.ndarray], pixel_format: str, *, codec: str = "ffv1", colour=None) -> Path:
    """A lossless file of luma planes (uint16 codes for deep formats), with neutral chroma."""
    height, width = pictures[0].shape
    with av.open(str(path), "w") as output:
        options = {"slices": "4"} if codec == "ffv1" else {"qp": "0", "flags": "+ildct+ilme", "x264-params": "tff=1"}
        stream = output.add_stream(codec, rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        if colour:
            context = stream.codec_context
            context.color_range, context.colorspace, context.color_primaries, context.color_trc = colour
        for number, luma in enumerate(pictures):
            frame = av.VideoFrame(width, height, pixel_format)
            deep = frame.format.components[0].bits
            for place, plane in enumerate(frame.planes):
                rows = luma if place == 0 else np.full((plane.height, plane.width), 1 << (deep - 1), luma.dtype)
                padded = np.zeros((plane.height, plane.line_size // rows.itemsize), rows.dtype)
                padded[:, : plane.width] = rows
                plane.update(padded.tobytes())
            frame.pts, frame.time_base = number, Fraction(1, 25)
            if colour:
                frame.color_range, frame.colorspace, frame.color_primaries, frame.color_trc = colour
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def luma(path: Path) -> list[np.ndarray]:
    shown = []
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            plane = frame.planes[0]
            shown.append(
                np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width].copy()
            )
    return shown


@pytest.mark.parametrize(("transfer", "name"), [(16, "smpte2084"), (18, "arib-std-b67")])
def test_hdr_is_tone_mapped_in_the_proxy_and_untouched_in_the_master(transfer: int, name: str, tmp_path: Path) -> None:
    # Diffuse white, and a highlight far above it: 203 and 1,000 cd/m² in PQ, 75 % and 100 % in HLG; limited range.
    white, bright, grey = {16: (0.581, 0.752, 0.38), 18: (0.75, 1.0, 0.38)}[transfer]
    codes = [round(64 + 876 * level) for level in (grey, white, bright)]
    picture = np.repeat(np.array([codes], np.uint16), 64, 0).repeat(64, 1)
    source = write(tmp_path / "hdr.mkv", [picture] * 3, "yuv420p10le", colour=(1, 9, 9, transfer))
    facts = probe(source)
    assert facts.facts.video.color_transfer == name
    made = make_review_media(source, facts, tmp_path)
    shown = luma(made.proxy)[1].astype(int)
    seen = [int(shown[30, 32 + 64 * place]) for place in range(3)]
    untouched = [code >> 2 for code in codes]
    assert 16 < seen[0] < seen[1] < seen[2] <= 237
    # A picture merely relabelled would keep its codes.
    assert max(abs(now - then) for now, then in zip(seen, untouched, strict=True)) > 5
    assert seen[1] > 16 + 219 * 0.45
    with av.open(str(made.proxy)) as file:
        context = file.streams.video[0].codec_context
        assert (context.pix_fmt, int(context.colorspace), int(context.color_trc), int(context.color_primaries)) == (
            "yuv420p",
            1,
            1,
            1,
        )
    master = make_master(source, facts, tmp_path)
    with FrameSource(master.path, master.index) as frames:
        _, kept = next(iter(frames.frames(FrameRange(start=1, end=2))))
        assert (kept.color_range, kept.colorspace, kept.color_primaries, kept.color_trc) == (1, 9, 9, transfer)
        plane = kept.planes[0]
        samples = np.frombuffer(plane, np.uint16).reshape(-1, plane.line_size // 2)[: kept.height, : kept.width]
        assert np.array_equal(samples, picture)


def test_interlaced_pictures_are_kept_in_the_master_and_made_whole_in_the_proxy(tmp_path: Path) -> None:
    width, height = 192, 128
    pictures = []
    for number in range(12):
        picture = np.full((height, width), 40, np.uint8)
        for row in range(height):
            # The second field was taken half a frame later: the bar has moved on, and its edge is a comb.
            left = 20 + 12 * number + (6 if row % 2 else 0)
            picture[row, left : left + 40] = 200
        pictures.append(picture)
    source = write(tmp_path / "fields.mkv", pictures, "yuv420p", codec="libx264")
    facts = probe(source)
    assert facts.facts.video.interlaced
    made = make_review_media(source, facts, tmp_path)
    assert made.frames == 12

    def combing(picture: np.ndarray) -> float:
        rows = picture[8:-8].astype(float)
        return float(np.abs(2 * rows[1:-1] - rows[:-2] - rows[2:]).mean())

    def middle(picture: np.ndarray) -> float:
        weights = np.clip(picture.astype(float).mean(0) - 45, 0, None)
        return float((weights * np.arange(len(weights))).sum() / weights.sum())

    for meant, shown in zip(pictures[2:-2], luma(made.proxy)[2:-2], strict=True):
        assert combing(shown) < combing(meant) / 3
        # One frame to one frame: the bar stands where this picture has it, not its neighbours.
        assert abs(middle(shown) - middle(meant)) <= 4
    master = make_master(source, facts, tmp_path)
    with FrameSource(master.path, master.index) as frames:
        for number, frame in frames.frames(FrameRange(start=0, end=12)):
            plane = frame.planes[0]
            kept = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[:height, :width]
            assert np.array_equal(kept, pictures[number])
            assert frame.interlaced_frame


@pytest.mark.parametrize("rotation", [0, 90])
def test_full_range_becomes_limited_in_the_proxy(rotation: int, tmp_path: Path) -> None:
    ramp = np.repeat(np.array([[0, 128, 255]], np.uint8), 96, 0).repeat(64, 1)
    source = write(tmp_path / "full.mkv", [ramp] * 2, "yuv420p", colour=(2, 1, 1, 1))
    facts = probe(source)
    assert facts.facts.video.color_range == "pc"
    shown = luma(make_review_media(source, facts, tmp_path).proxy)[0]
    assert np.allclose([shown[40, 32], shown[40, 96], shown[40, 160]], [16, 126, 235], atol=2)


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({"sample_aspect_ratio": Fraction(64, 45), "size": (180, 144)}, (256, 144)),
        ({"sample_aspect_ratio": Fraction(3, 4), "size": (192, 144)}, (144, 144)),
        ({"size": (192, 128), "rotation": 90}, (128, 192)),
        ({"size": (180, 144), "rotation": -90, "sample_aspect_ratio": Fraction(64, 45)}, (144, 256)),
        ({"size": (161, 121), "pixel_format": "yuv444p"}, (160, 120)),
    ],
    ids=str,
)
def test_the_proxy_is_upright_with_square_pixels_and_even_sides(
    changes: dict, size: tuple[int, int], tmp_path: Path
) -> None:
    source = make_video(tmp_path / "a.mp4" if "rotation" in changes else tmp_path / "a.mkv", frames=3, **changes)
    made = make_review_media(source, probe(source), tmp_path, ReviewSettings(max_height=256))
    assert abs(made.index.width - size[0]) <= 2
    assert abs(made.index.height - size[1]) <= 2
    assert made.index.width % 2 == made.index.height % 2 == 0
    with av.open(str(made.proxy)) as file:
        assert file.streams.video[0].sample_aspect_ratio in (None, 0, 1)


def test_the_choice_among_tracks_is_told() -> None:
    told = {finding.code: finding.message for finding in probe(FIXTURES / "nasa_h264_2video_2audio_2sub.mp4").findings}
    assert "Of 2 video tracks" in told["media.video_track_chosen"]
    assert told["media.video_track_chosen"].endswith("cut from 3.")
    assert "Of 2 audio tracks" in told["media.audio_track_chosen"]
    alone = {finding.code for finding in probe(FIXTURES / "exo_av1_aac_1080x720.mp4").findings}
    assert not alone & told.keys()


def test_subtitles_disturb_neither_pictures_nor_sound_and_keep_their_times(tmp_path: Path) -> None:
    said = MATRIX["subtitled.mkv"]
    made = {}
    for name, subtitles in (("with", said["subtitles"]), ("without", None)):
        folder = tmp_path / name
        folder.mkdir()
        source = make_video(folder / "source.mkv", **{**said, "subtitles": subtitles})
        facts = probe(source)
        made[name] = facts, make_review_media(source, facts, folder), make_master(source, facts, folder)
    (facts, review, master), (_, plain_review, plain_master) = made["with"], made["without"]
    assert review.proxy.read_bytes() == plain_review.proxy.read_bytes()
    assert review.sound is not None
    assert review.sound.audio.read_bytes() == plain_review.sound.audio.read_bytes()
    assert master.path.read_bytes() == plain_master.path.read_bytes()
    assert (review.frames, master.frames) == (40, 40)
    with av.open(str(master.path)) as file:
        assert [stream.type for stream in file.streams] == ["video", "audio"]
    assert [(track.codec, track.text) for track in facts.subtitles] == [("subrip", True)]
    (cues,) = read_subtitles(
        tmp_path / "with" / "source.mkv", [track.index for track in facts.subtitles], facts.start
    ).values()
    vtt, srt = caption_sidecars([Captions("de", cues)], "clip", Fraction(12, 25), Fraction(30, 25))
    # Frames 12 to 30: the first cue began before, the second goes on after.
    assert b"00:00:00.000 --> 00:00:00.220\nGuten" in vtt.data
    assert b"00:00:00.520 --> 00:00:00.720\nAuf Wiedersehen" in vtt.data
    assert b"00:00:00,520 --> 00:00:00,720\nAuf Wiedersehen" in srt.data
