"""Damage that only decoding sees is told by the ranges of frames it hurts, and never passed off as whole."""

from __future__ import annotations

from pathlib import Path

import av
import pytest

from services.media.errors import MediaError
from services.media.master import make_master
from services.media.probe import probe
from services.media.review_media import make_review_media
from tests.support.made_videos import make_video

FIXTURES = Path(__file__).parents[1] / "fixtures"


def damaged(source: Path, target: Path, hurt: set[int]) -> Path:
    """The same packets, but the bytes of those whose place in presentation order is in ``hurt`` made worthless."""
    with av.open(str(source)) as whole, av.open(str(target), "w") as output:
        stream = whole.streams.video[0]
        copy = output.add_stream_from_template(stream)
        packets = [packet for packet in whole.demux(stream) if packet.size]
        order = sorted(packet.pts for packet in packets)
        for packet in packets:
            data = bytearray(bytes(packet))
            if order.index(packet.pts) in hurt:
                data[5:] = b"\x55" * (len(data) - 5)
            spoilt = av.Packet(bytes(data))
            spoilt.pts, spoilt.dts, spoilt.time_base, spoilt.duration = (
                packet.pts, packet.dts, packet.time_base, packet.duration,
            )  # fmt: skip
            spoilt.is_keyframe = packet.is_keyframe
            spoilt.stream = copy
            output.mux(spoilt)
    return target


@pytest.mark.parametrize("make", [make_review_media, make_master])
@pytest.mark.parametrize(
    ("codec", "pixel_format"), [("ffv1", "yuv420p"), ("prores_ks", "yuv422p10le"), ("libx264", "yuv420p")]
)
def test_each_damaged_range_is_named_and_counted(codec: str, pixel_format: str, make, tmp_path: Path) -> None:
    intra = {"g": "1", "slicecrc": "1"} if codec != "prores_ks" else {}
    source = make_video(tmp_path / "whole.mkv", frames=60, codec=codec, pixel_format=pixel_format, options=intra)
    hurt = {12, 13, 14, 40}
    path = damaged(source, tmp_path / "damaged.mkv", hurt)
    with pytest.raises(MediaError) as caught:
        make(path, probe(path), tmp_path)
    assert caught.value.code in {"media.corrupt", "media.incomplete"}
    told = {number for finding in caught.value.findings for number in range(finding.frames.start, finding.frames.end)}
    assert told == hurt
    assert "[12, 15)" in caught.value.message
    assert "56 of" in caught.value.message
    failure = caught.value.failure("preprocess")
    assert failure.findings == caught.value.findings


def test_a_whole_file_has_no_damage_to_tell(tmp_path: Path) -> None:
    source = make_video(tmp_path / "whole.mkv", frames=60, options={"bf": "2", "g": "20"})
    assert make_review_media(source, probe(source), tmp_path).frames == 60


def test_damage_in_a_real_file_is_told_by_range(tmp_path: Path) -> None:
    path = FIXTURES / "decord_corrupted.mp4"
    with pytest.raises(MediaError) as caught:
        make_review_media(path, probe(path), tmp_path)
    assert caught.value.code == "media.corrupt"
    assert [str(finding.frames) for finding in caught.value.findings] == ["[30, 31)", "[32, 33)"]
