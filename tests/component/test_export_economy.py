"""What an export costs: bytes from the store, decoded frames, and opens of what it rendered."""

from __future__ import annotations

import random
import uuid
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from contracts.values import AudioFacts, FrameRange, MediaFacts, VideoFacts
from services.chassis.desk import Desk
from services.chassis.objects import FolderStore
from services.export.domain import ExportInput, ExportResult, Footage
from services.export.plans import Plan
from services.export.work import export_clips
from services.media.decode import FrameSource
from services.media.frame_index import FrameIndex
from services.media.layout import layout_of
from services.media.master import _payload_offset
from services.media.profiles import ARCHIVE_FFV1, DELIVERY_H264
from services.media.render import Cut, Rendered, render
from tests.support.opens import opens_in
from tests.support.rendering import footage_of, make_video

RATE, SECONDS, SIZE = 4, 600, (256, 144)
FRAMES = RATE * SECONDS
SOUND_RATE = 24_000
VIDEO = uuid.UUID(int=9)


class CountingStore(FolderStore):
    """A folder store that counts the bytes which leave it by ranges; masters are read so, and nothing else here is."""

    read = 0

    def get_range(self, key: str, start: int, end: int) -> bytes:
        data = super().get_range(key, start, end)
        self.read += len(data)
        return data


def long_master(path: Path) -> FrameIndex:
    """Ten minutes of noise as a master holds it: every frame by itself, with sound between them; and its index.

    A few packets are encoded and written over and over, which no reader can tell from many.
    """
    noise = np.random.default_rng(3)
    with av.open(str(path), "w", format="matroska", options={"fflags": "+bitexact"}) as output:
        video = output.add_stream("ffv1", rate=RATE, options={"g": "1", "level": "3", "coder": "0", "slices": "4"})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        video.codec_context.time_base = video.time_base = Fraction(1, 1000)
        sound = output.add_stream("flac", rate=SOUND_RATE)
        sound.codec_context.layout, sound.codec_context.format = "mono", "s16"
        payloads = []
        for _ in range(6):
            frame = av.VideoFrame.from_ndarray(noise.integers(16, 235, (*SIZE[::-1], 3), np.uint8), format="rgb24")
            payloads += [bytes(packet) for packet in video.encode(frame.reformat(format="yuv420p"))]
        tone = (3000 * np.sin(np.arange(SOUND_RATE * SECONDS) / 5)).astype(np.int16)[None]
        heard = []
        for start in range(0, tone.shape[1], 4096):
            block = av.AudioFrame.from_ndarray(tone[:, start : start + 4096].copy(), format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = SOUND_RATE, start, Fraction(1, SOUND_RATE)
            heard += sound.encode(block)
        heard += sound.encode(None)
        for number in range(FRAMES):
            while heard and heard[0].pts * heard[0].time_base <= Fraction(number, RATE):
                output.mux(heard.pop(0))
            packet = av.Packet(payloads[number % len(payloads)])
            packet.stream, packet.time_base = video, Fraction(1, 1000)
            packet.pts = packet.dts = number * 1000 // RATE
            packet.duration, packet.is_keyframe = 1000 // RATE, True
            output.mux(packet)
        for packet in heard:
            output.mux(packet)
    offsets, sizes = [], []
    with av.open(str(path)) as container, path.open("rb") as raw:
        stream = container.streams.video[0]
        extradata = bytes(stream.codec_context.extradata or b"")
        for packet in container.demux(stream):
            if packet.size:
                offsets.append(_payload_offset(raw, packet.pos or 0, bytes(packet)))
                sizes.append(packet.size)
    return FrameIndex(
        codec="ffv1",
        extradata=extradata,
        width=SIZE[0],
        height=SIZE[1],
        rate=Fraction(RATE),
        timebase=Fraction(1, 1000),
        pts=np.arange(FRAMES, dtype=np.int64) * (1000 // RATE),
        last_duration=1000 // RATE,
        sizes=np.asarray(sizes, np.uint32),
        offsets=np.asarray(offsets, np.uint64),
        keys=np.ones(FRAMES, np.bool_),
    )


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> tuple[CountingStore, Footage, FrameIndex]:
    folder = tmp_path_factory.mktemp("long")
    index = long_master(folder / "master.mkv")
    store = CountingStore(folder / "store")
    video = VideoFacts(
        stream_index=0, codec="ffv1", width=SIZE[0], height=SIZE[1], pixel_format="yuv420p", rate=Fraction(RATE),
        timebase=Fraction(1, 1000), packets=FRAMES,
    )  # fmt: skip
    sound = AudioFacts(stream_index=1, codec="flac", sample_rate=SOUND_RATE, channels=1, packets=1)
    footage = Footage(
        frames=FRAMES,
        rate=Fraction(RATE),
        source=store.put_bytes(b"never read", "videos/l/source", "video/mp4"),
        media=MediaFacts(container="matroska", duration=Fraction(SECONDS), video=video, audio=sound),
        index=store.put_bytes(index.to_bytes(), "videos/l/master/index.bin", "application/octet-stream"),
        master=store.put_file(folder / "master.mkv", "videos/l/master/master.mkv", "video/x-matroska"),
    )
    (folder / "master.mkv").unlink()
    return store, footage, index


def exported(store: FolderStore, footage: Footage, clips: list[tuple[int, int]], scratch: Path) -> None:
    scratch.mkdir()
    settings = SimpleNamespace(plan=Plan(), export_qc_limits=None, profile_folder=None)
    orders = [
        ExportInput(
            video_id=VIDEO, clip_id=uuid.uuid5(VIDEO, f"{start}-{end}"), frames=FrameRange(start=start, end=end),
            title="t", profiles=("delivery-h264",), footage=footage,
        )
        for start, end in clips
    ]  # fmt: skip
    for _, outcome in export_clips(orders, Desk(settings, store, scratch, scratch)):
        assert isinstance(outcome, ExportResult), outcome


def size_of(index: FrameIndex, frames: set[int]) -> int:
    return sum(int(index.sizes[number]) for number in frames)


@pytest.mark.parametrize("start", [0, 1200, FRAMES - 5 * RATE])
def test_five_seconds_of_ten_minutes_read_little_more_than_their_frames(
    shelf: tuple[CountingStore, Footage, FrameIndex], tmp_path: Path, start: int
) -> None:
    store, footage, index = shelf
    store.read = 0
    exported(store, footage, [(start, start + 5 * RATE)], tmp_path / "scratch")
    needed = size_of(index, set(range(start, start + 5 * RATE)))
    # What a demuxer reads at both ends of the file is counted as well, and the sound.
    assert needed <= store.read <= 1.2 * needed


def test_twenty_clips_with_overlaps_decode_and_read_no_frame_twice(
    shelf: tuple[CountingStore, Footage, FrameIndex], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, footage, index = shelf
    chance = random.Random(5)
    starts = [chance.randrange(0, FRAMES - 8) for _ in range(12)]
    clips = [(start, start + chance.randrange(2, 8)) for start in starts]
    clips += [(start + 1, end + 1) for start, end in clips[:8]]
    decoded: list[int] = []
    plain = FrameSource.frames

    def counted(self: FrameSource, wanted: FrameRange) -> object:
        for number, frame in plain(self, wanted):
            decoded.append(number)
            yield number, frame

    monkeypatch.setattr(FrameSource, "frames", counted)
    store.read = 0
    exported(store, footage, clips, tmp_path / "scratch")
    wanted = {number for start, end in clips for number in range(start, end)}
    assert sorted(decoded) == sorted(wanted)
    # Twelve places, each with the sound around it.
    assert size_of(index, wanted) <= store.read <= 1.2 * size_of(index, wanted)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("source") / "source.mkv", 40).path


@pytest.mark.parametrize(("profile", "opens"), [(DELIVERY_H264, {"clip.mp4": 1}), (ARCHIVE_FFV1, {})])
def test_a_rendered_file_is_never_opened_to_be_read(
    source: Path, tmp_path: Path, profile: object, opens: dict[str, int]
) -> None:
    """But by the muxer itself, where it moves the index to the front."""
    folder = tmp_path / profile.name
    folder.mkdir()
    cut = Cut(FrameRange(start=3, end=33), (profile,), tmp_path, "clip", "A title")
    with opens_in(folder) as counted:
        ((_, outcome),) = render(footage_of(source), [cut])
        assert isinstance(outcome, Rendered), outcome
        assert {sidecar.role for sidecar in outcome.sidecars} >= {"poster", "contact_sheet", "sprites", "waveform"}
    assert dict(counted) == opens


@pytest.mark.parametrize("profile", [DELIVERY_H264, ARCHIVE_FFV1])
def test_a_file_that_was_cut_off_anywhere_is_noticed_by_its_tables(
    source: Path, tmp_path: Path, profile: object
) -> None:
    cut = Cut(FrameRange(start=3, end=33), (profile,), tmp_path, "clip", "A title")
    ((_, outcome),) = render(footage_of(source), [cut])
    path = outcome.renditions[0].path
    assert outcome.renditions[0].fault == ""
    whole = path.read_bytes()
    for share in (0.99, 0.7, 0.4, 0.1, 0.02):
        path.write_bytes(whole[: int(len(whole) * share)])
        with path.open("rb") as file:
            assert layout_of(file.fileno(), profile.container).fault
    path.write_bytes(whole[:-1])
    with path.open("rb") as file:
        assert layout_of(file.fileno(), profile.container).fault
