"""The same pictures give the same packets from every encoder, however its threads ran; also where a rate is bounded."""

from __future__ import annotations

import hashlib
from fractions import Fraction

import av
import numpy as np
import pytest

from services.media.audio import open_encoder
from services.media.profiles import VideoEncoding

WIDTH, HEIGHT, FRAMES = 480, 272, 24
RUNS = 6
ENCODINGS = {
    "h264": {"encoder": "libx264", "crf": 18, "options": (("preset", "fast"),)},
    "h264-bounded": {"encoder": "libx264", "crf": 18, "max_bit_rate": 2_000_000, "options": (("preset", "fast"),)},
    "h264-rate": {"encoder": "libx264", "bit_rate": 1_000_000, "options": (("preset", "fast"),)},
    "h265": {"encoder": "libx265", "crf": 20, "options": (("preset", "ultrafast"),)},
    "h265-bounded": {"encoder": "libx265", "crf": 20, "max_bit_rate": 2_000_000, "options": (("preset", "ultrafast"),)},
    "av1": {"encoder": "libsvtav1", "crf": 30, "options": (("preset", "12"),)},
    "av1-rate": {"encoder": "libsvtav1", "bit_rate": 1_000_000, "options": (("preset", "12"),)},
}


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    """A pan over a noisy landscape with two flashes: motion, detail and surprises for the rate control."""
    chance = np.random.default_rng(1)
    land = np.cumsum(chance.normal(0, 8, (HEIGHT + FRAMES, WIDTH + 3 * FRAMES)), axis=1) % 255
    made = []
    for number in range(FRAMES):
        view = land[number : number + HEIGHT, 3 * number : 3 * number + WIDTH] + chance.normal(0, 4, (HEIGHT, WIDTH))
        luma = np.clip(view if number not in {9, 17} else 255 - view, 0, 255).astype(np.uint8)
        made.append(np.vstack([luma, np.full((HEIGHT // 2, WIDTH), 128, np.uint8)]))
    return made


def packets(pictures: list[np.ndarray], encoding: VideoEncoding) -> str:
    context = av.CodecContext.create(encoding.encoder, "w")
    context.width, context.height, context.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    context.time_base, context.framerate = Fraction(1, 24), Fraction(24)
    context.options = encoding.encoder_options() | {"g": "48"}
    open_encoder(context)
    digest = hashlib.sha256()
    for number, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
        frame.pts, frame.time_base = number, Fraction(1, 24)
        for packet in context.encode(frame):
            digest.update(bytes(packet))
    for packet in context.encode(None):
        digest.update(bytes(packet))
    return digest.hexdigest()


@pytest.mark.parametrize("name", sorted(ENCODINGS))
def test_the_same_pictures_give_the_same_packets_every_time(name: str, pictures: list[np.ndarray]) -> None:
    encoding = VideoEncoding.model_validate({"pixel_format": "yuv420p", **ENCODINGS[name]})
    assert len({packets(pictures, encoding) for _ in range(RUNS)}) == 1
