"""The passes over a source, each in a child process: objects in, objects out.

Everything is written under keys that follow from the video and the recipe, with bytes that follow from source and
recipe, so that a repetition after a crash writes the same again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path, PurePosixPath

from contracts.errors import HeatersError
from contracts.events.v1.video import Proxy, ReviewAudio
from contracts.values import ObjectRef
from services.chassis.desk import Desk
from services.media import features, frame_index, review_sound
from services.media.frame_index import FrameIndex
from services.media.master import make_master, make_part
from services.media.probe import probe
from services.media.review_media import make_review_media
from services.preprocess.domain import MasterInput, MasterResult, PartInput, PartResult, ProxyInput, ProxyResult


def make_proxy(order: ProxyInput, desk: Desk) -> ProxyResult:
    """Decodes the source once and stores all that review needs.

    Raises:
        MediaError: the source is damaged or incomplete; nothing of it is announced then.
    """
    source = _fetched(order.source, desk)
    with desk.step("probe"):
        facts = probe(source)
    out = desk.scratch / "review"
    out.mkdir()
    with desk.step("decode and encode"):
        made = make_review_media(
            source, facts, out, order.settings, lambda done, total: desk.progress(done, total, phase="proxy")
        )
    with desk.step("store"):
        proxy = _stored(made.proxy, order.folder, "video/mp4", desk)
        sound = made.sound
        audio = _stored(sound.audio, order.folder, "audio/mp4", desk) if sound else None
        return ProxyResult(
            frames=made.frames,
            rate=facts.facts.video.rate,
            duration=made.index.duration,
            proxy=Proxy(**proxy.model_dump(), codec=made.index.codec, width=made.index.width, height=made.index.height),
            index=_stored(made.index_path, order.folder, frame_index.CONTENT_TYPE, desk),
            features=_stored(made.features, order.folder, features.CONTENT_TYPE, desk),
            sprites=tuple(_stored(sheet, order.folder, "image/jpeg", desk) for sheet in made.sprites.sheets),
            sprite_map=_stored(made.sprites.map, order.folder, "application/json", desk),
            audio=ReviewAudio(
                **audio.model_dump(), codec=sound.codec, sample_rate=sound.sample_rate, channels=sound.channels
            )
            if sound and audio
            else None,
            peaks=_stored(sound.peaks, order.folder, review_sound.PEAKS_CONTENT_TYPE, desk) if sound else None,
            findings=made.findings,
        )


def make_lossless_master(order: MasterInput, desk: Desk) -> MasterResult:
    """Encodes every frame and sample of the source without loss, and stores the master and its index.

    Raises:
        MediaError: the source is damaged or incomplete, or no lossless stream can hold its pictures.
    """
    source = _fetched(order.source, desk)
    with desk.step("probe"):
        facts = probe(source)
    out = desk.scratch / "master"
    out.mkdir()
    with desk.step("decode and encode"):
        made = make_master(
            source, facts, out, order.settings, lambda done, total: desk.progress(done, total, phase="master")
        )
    with desk.step("store"):
        return MasterResult(
            frames=made.frames,
            master=_stored(made.path, order.folder, "video/x-matroska", desk),
            index=_stored(made.index_path, order.folder, frame_index.CONTENT_TYPE, desk),
            frames_sha256=made.frames_sha256,
            duration=made.index.duration,
        )


def make_masters_of_clips(orders: Sequence[PartInput], desk: Desk) -> Iterator[tuple[int, PartResult | HeatersError]]:
    """Masters the frames of approved clips of one video; yields ``(place, result or error)`` as each is done.

    Only the bytes that a clip needs are read, straight from the store.
    """
    total = sum(len(order.frames) for order in orders)
    done = 0
    for place in sorted(range(len(orders)), key=lambda place: orders[place].frames.start):
        order = orders[place]
        try:
            yield place, _master_of_clip(order, desk, done, total)
        except HeatersError as error:
            yield place, error
        done += len(order.frames)


def _master_of_clip(order: PartInput, desk: Desk, before: int, total: int) -> PartResult:
    out = desk.scratch / str(order.clip_id)
    out.mkdir()
    try:
        with desk.step("decode and encode"), closing(desk.objects.open(order.source.key)) as source:
            made = make_part(
                source,
                order.media,
                FrameIndex.from_bytes(desk.objects.get_bytes(order.index.key)),
                order.frames,
                out,
                order.settings,
                lambda done, _: desk.progress(before + done, total, phase="master"),
            )
        with desk.step("store"):
            return PartResult(
                master=_stored(made.path, order.folder, "video/x-matroska", desk),
                index=_stored(made.index_path, order.folder, frame_index.CONTENT_TYPE, desk),
                frames_sha256=made.frames_sha256,
            )
    finally:
        shutil.rmtree(out, ignore_errors=True)


def _fetched(source: ObjectRef, desk: Desk) -> Path:
    """The source as a local file: both passes read it whole, more than once."""
    path = desk.scratch / f"source{PurePosixPath(source.key).suffix[:10]}"
    moved = 0

    def report(count: int) -> None:
        nonlocal moved
        moved += count
        desk.progress(moved, source.size, unit="bytes", phase="fetch")

    with desk.step("fetch"):
        return desk.objects.fetch(source, path, progress=report)


def _stored(path: Path, folder: str, content_type: str, desk: Desk) -> ObjectRef:
    return desk.objects.put_file(path, f"{folder}{path.name}", content_type)
