from __future__ import annotations

import errno

import av
import pytest

from contracts.errors import Permanent, Transient
from services.media import errors


@pytest.mark.parametrize(
    ("raised", "code"),
    [
        (av.error.InvalidDataError(1, "x"), "media.corrupt"),
        (av.error.EOFError(1, "x"), "media.truncated"),
        (av.error.DecoderNotFoundError(1, "x"), "media.codec_unsupported"),
        (av.error.EncoderNotFoundError(1, "x"), "media.encoder_missing"),
        (av.error.ArgumentError(22, "x"), "media.encoding_failed"),
        (FileNotFoundError(errno.ENOENT, "x"), "media.missing"),
        (MemoryError(), "media.out_of_memory"),
    ],
)
def test_library_errors_become_permanent_ones_with_a_stable_code_and_a_remedy(raised, code):
    with pytest.raises(Permanent) as caught, errors.translated("reading clip.mp4"):
        raise raised
    assert caught.value.code == code
    assert "reading clip.mp4" in caught.value.message
    assert not any(character.isdigit() for character in caught.value.message.replace("mp4", "").replace("MP4", "")
                   .replace("H.264", "").replace("H.265", ""))  # fmt: skip


def test_a_full_disk_may_be_better_next_time():
    with pytest.raises(Transient) as caught, errors.translated("writing proxy.mp4"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.code == "media.disk_full"


def test_errors_of_the_house_pass_unchanged():
    mine = errors.Truncated("It is cut off.")
    with pytest.raises(errors.Truncated) as caught, errors.translated("anything"):
        raise mine
    assert caught.value is mine
