from __future__ import annotations

from fractions import Fraction

import pytest

from services.media.upright import Size, upright_size


@pytest.mark.parametrize(
    ("width", "height", "ratio", "rotation", "size"),
    [
        (1920, 1080, Fraction(1), 0, Size(960, 540)),
        (1920, 1080, Fraction(1), -90, Size(304, 540)),
        (720, 576, Fraction(64, 45), 0, Size(960, 540)),
        (161, 121, Fraction(1), 0, Size(160, 120)),
        (640, 360, Fraction(1), 180, Size(640, 360)),
        (3026, 1386, Fraction(1), 0, Size(1178, 540)),
        (20_000, 100, Fraction(1), 0, Size(4096, 20)),
        (1, 1, Fraction(1), 0, Size(2, 2)),
    ],
)
def test_pictures_are_upright_square_even_and_never_enlarged(width, height, ratio, rotation, size):
    assert upright_size(width, height, sample_aspect_ratio=ratio, rotation=rotation, max_height=540) == size
