"""The watermark: where it is drawn, in which colours, and that it touches nothing else."""

from __future__ import annotations

import io
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from contracts.errors import Permanent
from contracts.values import FrameRange
from services.media.overlay import Overlay, drawn, marked
from services.media.profiles import PROFILES
from services.media.render import Cut, Rendered, render
from services.media.shaping import Colours
from services.media.watermark import Watermark
from tests.support.rendering import decoded, footage_of, make_video

BT709 = Colours(1, 1, 1, 1)


def square(colour: tuple[int, int, int, int], size: int = 40) -> bytes:
    file = io.BytesIO()
    Image.new("RGBA", (size, size), colour).save(file, "PNG")
    return file.getvalue()


def plain(form: str, width: int = 320, height: int = 180) -> av.VideoFrame:
    frame = av.VideoFrame(width, height, form)
    deep = frame.format.components[0].bits > 8
    for plane, level in zip(frame.planes, (90, 120, 130), strict=True):
        count = plane.buffer_size // (2 if deep else 1)
        plane.update(np.full(count, level * 4 if deep else level, np.uint16 if deep else np.uint8).tobytes())
    return frame


@pytest.mark.parametrize("form", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv420p12le"])
@pytest.mark.parametrize(
    ("position", "corner"),
    [
        ("top-left", (0, 0)),
        ("top-right", (1, 0)),
        ("bottom-left", (0, 1)),
        ("bottom-right", (1, 1)),
        ("center", (0.5, 0.5)),
    ],
)
def test_a_mark_lies_in_its_corner_and_changes_nothing_else(
    form: str, position: str, corner: tuple[float, float]
) -> None:
    mark = Watermark(picture=square((255, 0, 0, 255)), position=position, opacity=1, height=0.2, margin=0.05)
    after = plain(form)
    Overlay(mark, (320, 180), BT709).mark(after)
    depth = after.format.components[0].bits
    plane = after.planes[0]
    luma = np.frombuffer(memoryview(plane), np.uint16 if depth > 8 else np.uint8).reshape(plane.height, -1)[:, :320]
    rows, columns = np.nonzero(luma != (90 if depth == 8 else 360))
    assert (rows.max() - rows.min(), columns.max() - columns.min()) == (35, 35)
    left = {0: 9, 1: 320 - 36 - 9, 0.5: 142}[corner[0]]
    top = {0: 9, 1: 180 - 36 - 9, 0.5: 72}[corner[1]]
    assert abs(columns.min() - left) <= 1
    assert abs(rows.min() - top) <= 1
    red = luma[(rows.min() + rows.max()) // 2, (columns.min() + columns.max()) // 2] / (1 << depth - 8)
    assert red == pytest.approx(16 + 219 * 0.2126, abs=1)


def test_opacity_mixes_and_hdr_white_is_no_glare() -> None:
    mark = Watermark(picture=square((255, 255, 255, 255)), position="center", opacity=0.5, height=0.5)
    frame = plain("yuv420p")
    Overlay(mark, (320, 180), BT709).mark(frame)
    assert frame.to_ndarray(format="gray")[90, 160] == pytest.approx((235 + 90) / 2 * 1.0, abs=20)
    deep = plain("yuv420p10le")
    Overlay(mark.model_copy(update={"opacity": 1}), (320, 180), Colours(1, 9, 16, 9)).mark(deep)
    luma = np.frombuffer(memoryview(deep.planes[0]), np.uint16).reshape(180, -1)
    assert luma[90, 160] == pytest.approx(4 * (16 + 219 * 0.58), abs=2)


def test_text_is_drawn_within_the_picture_and_the_same_again() -> None:
    mark = Watermark(text="© Nordlicht Film – Ünïcode", height=0.1)
    one, two = drawn(mark, (320, 180)), drawn(mark, (320, 180))
    assert np.array_equal(one[2], two[2])
    left, top, pixels = one
    assert left >= 0
    assert top >= 0
    assert left + pixels.shape[1] <= 320
    assert top + pixels.shape[0] <= 180
    assert pixels[:, :, 3].max() == pytest.approx(0.6, abs=0.01)
    # A line too long for the picture is shrunk until it fits.
    wide = drawn(Watermark(text="word " * 39, height=0.3), (64, 48))[2]
    assert wide.shape[1] <= 64


@pytest.mark.parametrize(
    "changes", [{}, {"text": "a", "picture": b"b"}, {"text": "a", "opacity": 0}, {"text": "a", "at": 1}]
)
def test_a_mark_that_says_nothing_or_too_much_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Watermark.model_validate(changes)


@pytest.mark.parametrize("data", [b"no picture", square((1, 2, 3, 4))[:60]])
def test_a_picture_that_cannot_be_read_has_a_code(data: bytes) -> None:
    with pytest.raises(Permanent) as refusal:
        drawn(Watermark(picture=data), (320, 180))
    assert refusal.value.code == "watermark.unreadable"


def test_anything_that_changes_the_mark_changes_its_fingerprint() -> None:
    marks = [
        Watermark(text="a"), Watermark(text="b"), Watermark(text="a", opacity=0.5), Watermark(picture=b"a"),
        Watermark(picture=b"b"), Watermark(text="a", position="top"),
    ]  # fmt: skip
    assert len({mark.fingerprint() for mark in marks}) == len(marks)


def test_deliverables_and_their_pictures_are_marked_and_the_archive_is_not(tmp_path: Path) -> None:
    source = make_video(tmp_path / "plain.mkv", 24, pictures=[np.full((96, 192, 3), 40, np.uint8)] * 24).path
    profiles = tuple(PROFILES[name] for name in ("delivery-h264", "delivery-h265", "prores-lt", "archive-ffv1"))
    mark = Watermark(picture=square((255, 255, 255, 255)), opacity=1, height=0.25, position="bottom-right")
    made = []
    for name in ("one", "two"):
        cut = Cut(FrameRange(start=2, end=20), profiles, tmp_path / name, "clip", "Marked", watermark=mark)
        ((_, outcome),) = render(footage_of(source), [cut])
        assert isinstance(outcome, Rendered), outcome
        made.append(outcome)
    for rendition, again in zip(made[0].renditions, made[1].renditions, strict=True):
        assert rendition.path.read_bytes() == again.path.read_bytes()
        with av.open(str(rendition.path)) as file:
            picture = next(file.decode(video=0)).to_ndarray(format="gray")
        bright = picture[96 - 15, 192 - 15]
        assert (bright > 180) != rendition.profile.lossless, rendition.profile.name
        assert picture[20, 20] < 70
        assert len(decoded(rendition.path)[0]) == 18
    poster = next(sidecar for sidecar in made[0].sidecars if sidecar.role == "poster")
    with Image.open(io.BytesIO(poster.data)) as image:
        assert image.convert("L").getpixel((192 - 15, 96 - 15)) > 180


def test_a_marked_picture_leaves_the_given_one_alone() -> None:
    picture = np.zeros((90, 160, 3), np.uint8)
    result = marked(Watermark(text="x", opacity=1), picture)
    assert picture.max() == 0
    assert result.max() > 200
