"""Export itself, in a child process: clips of one video in, checked bundles in the store out; and the cleaning of them.

Only the bytes that the clips need are read, straight from the store. A bundle's files are written under a key that its
inputs decide, the manifest last: what has no manifest does not exist. Nothing is written of a clip that fails its checks.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from functools import partial
from pathlib import Path

from contracts.errors import HeatersError, Permanent
from contracts.manifest import (
    CONTENT_TYPE,
    Lineage,
    Loudness,
    Manifest,
    ManifestFile,
    PictureStream,
    ProfileUsed,
    QcReport,
    SoundStream,
    spelt,
)
from contracts.values import Deliverable, DeliverableFile, FrameRange, ObjectRef, Verdict
from services.chassis.desk import Desk
from services.chassis.objects import clear
from services.export.domain import (
    CleanInput,
    CleanResult,
    ExportInput,
    ExportResult,
    Footage,
    Part,
    marker,
    tools,
)
from services.export.preflight import no_room, refusal, scratch_bytes
from services.export.qc import (
    CaptionFacts,
    Colours,
    Measured,
    QcLimits,
    SidecarFacts,
    Stretch,
    failures,
    judge,
    limits_from,
)
from services.export.report import CONTENT_TYPE as HTML
from services.export.report import html_report
from services.media import render, shelf
from services.media.captions import Cue, parse_captions
from services.media.containers import audio_stream, opened
from services.media.decode import AudioSource, FrameSource
from services.media.extents import Extents
from services.media.footage import Footage as CutFrom
from services.media.footage import Frames, Sounds
from services.media.frame_index import FrameIndex
from services.media.part import PartFrames, PartSounds, SourceSounds
from services.media.pictures import picture_size
from services.media.profiles import Profile, profile_named
from services.media.render import Budget, Cut, Rendered
from services.media.rendition import Rendition
from services.media.shaping import delivered_size
from services.media.sidecars import Captions, Sidecar
from services.media.timebase import timecode


def settled(orders: Sequence[ExportInput], desk: Desk) -> tuple[list[ExportInput], list[str]]:
    """The orders with the profiles and the watermark that hold now, and the markers of what they then give.

    An order that names a profile which there is not, or whose document is damaged, stays as it is: it is refused later.
    """
    plan = desk.settings.plan
    found: list[ExportInput] = []
    for order in orders:
        try:
            documents = shelf.find(order.profiles, desk.objects, desk.settings.profile_folder)
        except Permanent:
            documents = {}
        found.append(order.model_copy(update={"documents": tuple(documents.values()), "watermark": plan.watermark}))
    return found, [marker(order) for order in found]


def export_clips(orders: Sequence[ExportInput], desk: Desk) -> Iterator[tuple[int, ExportResult | HeatersError]]:
    """Renders, checks and publishes clips of one video; yields ``(place, result or error)`` as each is done.

    Orders that were taken with another state of the video (it was mastered again meanwhile) are read separately.
    """
    waiting = dict(enumerate(orders if all(order.documents for order in orders) else settled(orders, desk)[0]))
    while waiting:
        footage = next(iter(waiting.values())).footage
        together = {place: order for place, order in waiting.items() if order.footage == footage}
        for place in together:
            del waiting[place]
        unreported = dict(together)
        try:
            for place, outcome in _export_together(footage, together, desk):
                del unreported[place]
                yield place, outcome
        except HeatersError as error:
            # What concerns the whole video concerns every clip of it that was not yet reported.
            for place in unreported:
                yield place, error


def _export_together(
    footage: Footage, orders: dict[int, ExportInput], desk: Desk
) -> Iterator[tuple[int, ExportResult | HeatersError]]:
    with ExitStack() as ways_out:
        with desk.step("preflight"):
            _require_source(footage, desk)
            index = FrameIndex.from_bytes(desk.objects.get_bytes(footage.index.key))
            accepted, refused = _preflight(orders, index, desk)
        yield from refused
        if not accepted:
            return
        limits = _limits(desk)
        with desk.step("captions"):
            captions, unreadable = _captions(footage, desk)
        places = list(accepted)
        material = _material(footage, index, [orders[place].frames for place in places], desk, ways_out)
        cuts = [
            Cut(
                frames=orders[place].frames,
                profiles=accepted[place],
                folder=desk.scratch / str(orders[place].clip_id),
                stem=orders[place].stem,
                title=orders[place].title,
                captions=captions,
                watermark=orders[place].watermark,
                unmarked=desk.settings.plan.unmarked_profiles,
            )
            for place in places
        ]
        outcomes = ways_out.enter_context(
            closing(
                render.render(
                    material,
                    cuts,
                    budget=Budget(pictures=limits.picture_limits(), sound=limits.sound_limits()),
                    progress=lambda done, total: desk.progress(done, total, phase="render"),
                )
            )
        )
        while True:
            with desk.step("render"):
                number, outcome = next(outcomes, (-1, None))
            if outcome is None:
                break
            place = places[number]
            if isinstance(outcome, Rendered):
                bundle = _Bundle(orders[place], index, outcome, unreadable, limits)
                try:
                    with desk.step("publish"):
                        yield place, bundle.publish(desk)
                except HeatersError as error:
                    yield place, error
            else:
                yield place, outcome
            shutil.rmtree(cuts[number].folder, ignore_errors=True)


def _require_source(footage: Footage, desk: Desk) -> None:
    wanted = footage.part.master if footage.part else footage.master or footage.source
    found = desk.objects.head(wanted.key)
    if found is None or found.size != wanted.size:
        raise Permanent(
            f"The {'source' if wanted == footage.source else 'master'} of the video is not in the store ({wanted.key}). Have the video "
            "preprocessed again, then resume the export.",
            code="export.source_missing",
        )


def _preflight(
    orders: dict[int, ExportInput], index: FrameIndex, desk: Desk
) -> tuple[dict[int, tuple[Profile, ...]], list[tuple[int, HeatersError]]]:
    accepted: dict[int, tuple[Profile, ...]] = {}
    refused: list[tuple[int, HeatersError]] = []
    needed, plan = 0, desk.settings.plan
    for place, order in orders.items():
        try:
            frames = order.frames
            length = index.time(min(frames.end, len(index))) - index.time(min(frames.start, len(index)))
            profiles = _documents(order, desk)
            broken = refusal(order, plan, length, profiles)
            if broken is not None:
                raise broken
        except HeatersError as error:
            refused.append((place, error))
        else:
            accepted[place] = profiles
            needed = max(needed, scratch_bytes(order, profiles))
    full = no_room(needed, shutil.disk_usage(desk.scratch).free)
    if full is not None:
        raise full
    return accepted, refused


def _documents(order: ExportInput, desk: Desk) -> tuple[Profile, ...]:
    """The order's profiles, as they were settled. Raises ``profile.unknown`` or ``profile.invalid``."""
    settled = {profile.name: profile for profile in order.documents}
    missing = [name for name in order.profiles if name not in settled]
    if missing:
        # Either there is no such profile, or its document is damaged, which is said here.
        folder = desk.settings.profile_folder
        known = {**shelf.find(missing, desk.objects, folder), **settled}
        if not known.keys() >= set(order.profiles):
            for name in order.profiles:
                profile_named(name, {profile.name: profile for _, profile in shelf.everything(desk.objects, folder)})
        settled = known
    return tuple(settled[name] for name in order.profiles)


def _captions(footage: Footage, desk: Desk) -> tuple[tuple[Captions, ...], tuple[str, ...]]:
    """The video's captions by language, and the languages whose file could not be read."""
    read: list[Captions] = []
    unreadable: list[str] = []
    used: dict[str, int] = {}
    for asset in footage.captions:
        used[asset.language] = used.get(asset.language, 0) + 1
        language = asset.language if used[asset.language] == 1 else f"{asset.language}-{used[asset.language]}"
        try:
            cues: tuple[Cue, ...] = parse_captions(desk.objects.get_bytes(asset.object.key))
        except Permanent:
            # Captions are an extra: the clip is delivered without them, and QC says so.
            unreadable.append(language)
        else:
            read.append(Captions(language, cues))
    return tuple(read), tuple(unreadable)


def _material(
    footage: Footage, index: FrameIndex, wanted: Sequence[FrameRange], desk: Desk, ways_out: ExitStack
) -> CutFrom:
    """What the clips are cut from; ``wanted`` are their frames, of which alone bytes are read."""
    facts = footage.media.video
    if len(index) != footage.frames:
        raise Permanent(
            f"The frame index counts {len(index)} frames, the video {footage.frames}. Have the video preprocessed again.",
            code="export.index_mismatch",
        )
    if footage.part is not None:
        return _part_material(footage, footage.part, index, wanted, desk, ways_out)
    if footage.master is not None:
        extents = _extents(footage.master, index, wanted, desk)
        number = _sound_stream(extents) if footage.media.audio is not None else None

        def open_master(stream: int) -> Sounds:
            # A master's sound begins with frame 0.
            return ways_out.enter_context(AudioSource(extents.container_file(), stream))

        sounds = None if number is None else partial(open_master, number)
        return _cut_from(footage, index, _frames_of(extents, index, ways_out), sounds)
    source = FrameSource(_reader(desk, footage.source, ways_out), index.without_addresses(), facts.stream_index)

    def open_source(stream: int) -> Sounds:
        # A source's sound lies on the file's own axis.
        file = _reader(desk, footage.source, ways_out)
        return SourceSounds(ways_out.enter_context(AudioSource(file, stream, origin=index.start)))

    audio = footage.media.audio
    sounds = None if audio is None else partial(open_source, audio.stream_index)
    return _cut_from(footage, index, ways_out.enter_context(source), sounds)


def _part_material(
    footage: Footage, part: Part, index: FrameIndex, wanted: Sequence[FrameRange], desk: Desk, ways_out: ExitStack
) -> CutFrom:
    """The clip's own master, numbered and timed as the whole video is."""
    own = FrameIndex.from_bytes(desk.objects.get_bytes(part.index.key))
    first, last = part.frames.start, part.frames.end
    if len(own) != len(part.frames):
        raise Permanent(
            f"The master of the frames {part.frames} holds {len(own)}. Approve the clip again.",
            code="export.index_mismatch",
        )
    held = [
        FrameRange(start=max(frames.start, first) - first, end=min(frames.end, last) - first)
        for frames in wanted
        if frames.overlaps(part.frames)
    ]
    extents = _extents(part.master, own, held, desk)
    pictures = PartFrames(_frames_of(extents, own, ways_out), part.frames)
    number = _sound_stream(extents) if footage.media.audio is not None else None

    def open_sound(stream: int) -> PartSounds:
        sound = ways_out.enter_context(AudioSource(extents.container_file(), stream))
        return PartSounds(sound, index.time(part.frames.start))

    return _cut_from(footage, index, pictures, None if number is None else partial(open_sound, number))


def _extents(master: ObjectRef, index: FrameIndex, wanted: Sequence[FrameRange], desk: Desk) -> Extents:
    name = master.key.rpartition("/")[2]
    return Extents(partial(desk.objects.get_range, master.key), master.size, index, wanted, name=name)


def _frames_of(extents: Extents, index: FrameIndex, ways_out: ExitStack) -> FrameSource:
    source = FrameSource(extents.container_file(), index, payloads=extents.frame_file())
    return ways_out.enter_context(source)


def _cut_from(footage: Footage, index: FrameIndex, pictures: Frames, sounds: Callable[[], Sounds] | None) -> CutFrom:
    facts = footage.media.video
    return CutFrom(
        pictures=pictures,
        sounds=sounds,
        frames=len(index),
        time_of=index.time,
        timebase=index.timebase,
        rate=footage.rate,
        sample_aspect_ratio=facts.sample_aspect_ratio,
        rotation=facts.rotation,
        interlaced=facts.interlaced,
    )


def _reader(desk: Desk, ref: ObjectRef, ways_out: ExitStack) -> object:
    return ways_out.enter_context(closing(desk.objects.open(ref.key)))


def _sound_stream(extents: Extents) -> int | None:
    with opened(extents.container_file()) as container:
        stream = audio_stream(container)
        return None if stream is None else stream.index


class _Bundle:
    """One rendered clip on its way into the store."""

    def __init__(
        self,
        order: ExportInput,
        index: FrameIndex,
        rendered: Rendered,
        unreadable: tuple[str, ...],
        limits: QcLimits,
    ) -> None:
        self._order = order
        self._limits = limits
        self._index = index
        self._rendered = rendered
        self._unreadable = unreadable
        self._sidecars = tuple(_facts_of(sidecar) for sidecar in rendered.sidecars)

    def publish(self, desk: Desk) -> ExportResult:
        """Checks every rendition, then stores each bundle, its manifest last.

        Raises:
            Permanent: ``export.qc_failed``; nothing was stored.
        """
        reports = [judge(each.profile, self._measured(each), self._limits) for each in self._rendered.renditions]
        for rendition, report in zip(self._rendered.renditions, reports, strict=True):
            _refuse_failed(rendition, report)
        return ExportResult(
            deliverables=tuple(
                self._store(rendition, report, desk)
                for rendition, report in zip(self._rendered.renditions, reports, strict=True)
            )
        )

    def _store(self, rendition: Rendition, report: QcReport, desk: Desk) -> Deliverable:
        order, profile = self._order, rendition.profile
        folder = order.folder(profile.name)
        files: list[DeliverableFile] = []
        told: list[ManifestFile] = []

        def keep(role: str, name: str, ref: ObjectRef, **facts: object) -> None:
            files.append(DeliverableFile(role=role, name=name, object=ref))
            known = {"size": ref.size, "sha256": ref.sha256, "content_type": ref.content_type}
            told.append(ManifestFile.model_validate({"role": role, "name": name, **known, **facts}))

        name = rendition.path.name
        video = desk.objects.put_file(rendition.path, folder + name, profile.content_type)
        keep("video", name, video, pictures=_pictures(rendition), sound=_sound(rendition))
        for sidecar in self._rendered.sidecars:
            ref = desk.objects.put_bytes(sidecar.data, folder + sidecar.name, sidecar.content_type)
            keep(sidecar.role, sidecar.name, ref, facts=dict(sidecar.facts))
        name = f"{order.stem}.qc.json"
        keep("qc_report", name, desk.objects.put_bytes(spelt(report), folder + name, CONTENT_TYPE))
        manifest = Manifest(
            clip_id=order.clip_id,
            trace_id=order.clip_id.hex,
            title=order.title,
            tags=order.tags,
            profile=ProfileUsed(name=profile.name, version=profile.version, sha256=profile.fingerprint()),
            lineage=self._lineage(),
            files=tuple(told),
            qc=report,
            tools={**tools(), **render.codec_versions()},
        )
        page = html_report(manifest, self._rendered.sidecars)
        name = f"{order.stem}.report.html"
        keep("report", name, desk.objects.put_bytes(page, folder + name, HTML))
        manifest = manifest.model_copy(update={"files": tuple(told)})
        ref = desk.objects.put_bytes(spelt(manifest), folder + "manifest.json", CONTENT_TYPE)
        return Deliverable(
            profile=profile.name,
            manifest=ref,
            files=tuple(files),
            verdict=report.verdict,
            finding_codes=tuple(dict.fromkeys(finding.code for finding in report.findings)),
        )

    def _lineage(self) -> Lineage:
        order, footage = self._order, self._order.footage
        return Lineage(
            video_id=order.video_id,
            source=footage.source,
            master=footage.part.master if footage.part else footage.master,
            master_frames_sha256=footage.part.frames_sha256 if footage.part else footage.master_frames_sha256,
            frames=order.frames,
            rate=footage.rate,
            start=self._index.time(order.frames.start),
            end=self._index.time(order.frames.end),
            start_timecode=timecode(order.frames.start, footage.rate),
            end_timecode=timecode(order.frames.end, footage.rate),
        )

    def _measured(self, rendition: Rendition) -> Measured:
        rendered, footage = self._rendered, self._order.footage
        video, sound, meant = footage.media.video, rendition.sound, rendition.colours_meant
        return Measured(
            expected_frames=len(rendered.frames),
            expected_duration=rendered.duration,
            expected_size=delivered_size(
                video.width, video.height, video.sample_aspect_ratio, video.rotation, rendition.profile.video
            ),
            expects_sound=footage.media.audio is not None,
            pictures=_pictures(rendition),
            sound=_sound(rendition),
            expected_colours=Colours(range=meant[0], space=meant[1], transfer=meant[2], primaries=meant[3]),
            faststart=rendition.faststart,
            expected_pixel_format=rendition.pixel_format_meant,
            whole=not rendition.fault,
            wholeness=rendition.fault,
            picture_difference=rendition.picture_difference,
            black=tuple(self._shown(frames) for frames in rendered.pictures.black),
            frozen=tuple(self._shown(frames) for frames in rendered.pictures.frozen),
            silence=tuple(
                self._stretch(Fraction(start, sound.sample_rate), Fraction(end, sound.sample_rate))
                for start, end in sound.silence
            )
            if sound
            else (),
            clipped=sound.clipped if sound else 0,
            samples=sound.samples if sound else 0,
            loudness=Loudness(
                integrated=sound.loudness, range=sound.loudness_range, true_peak=sound.true_peak, gain=sound.gain
            )
            if sound
            else None,
            sound_holes=tuple(self._stretch(start, end) for start, end in rendered.silent),
            expected_sidecars=_expected_sidecars(sound=rendition.sound is not None),
            sidecars=self._sidecars,
            unreadable_captions=self._unreadable,
        )

    def _shown(self, frames: FrameRange) -> Stretch:
        """When frames of the source are on screen, counted from the clip's start."""
        zero = self._index.time(self._order.frames.start)
        return Stretch(
            start=self._index.time(frames.start) - zero, end=self._index.time(frames.end) - zero, frames=frames
        )

    def _stretch(self, start: Fraction, end: Fraction) -> Stretch:
        return Stretch(start=start, end=end, frames=self._frames_between(start, end))

    def _frames_between(self, start: Fraction, end: Fraction) -> FrameRange:
        """The source's frames on screen between two times of the clip."""
        frames = self._order.frames
        zero = self._index.time(frames.start)
        first = max(frames.start, self._index.frame_at(zero + start))
        last = min(frames.end - 1, self._index.frame_at(zero + end))
        if self._index.time(last) == zero + end:
            last -= 1
        return FrameRange(start=first, end=max(first, last) + 1)


def _limits(desk: Desk) -> QcLimits:
    """The limits that the installation's document names, or the house's own."""
    path: Path | None = desk.settings.export_qc_limits
    if path is None:
        return QcLimits()
    try:
        return limits_from(path.read_text(), name=str(path))
    except OSError as error:
        raise Permanent(
            f"The QC limits document {path} cannot be read ({error.strerror}). Correct HEATERS_EXPORT_QC_LIMITS.",
            code="qc.limits_invalid",
        ) from error


def _expected_sidecars(*, sound: bool) -> tuple[str, ...]:
    """The roles of which every bundle has a file."""
    pictures = ("poster", "thumbnail", "contact_sheet", "sprites", "sprite_map")
    return (*pictures, "peaks", "waveform") if sound else pictures


def _facts_of(sidecar: Sidecar) -> SidecarFacts:
    """What QC has to know of a sidecar, read from the bytes that will be stored."""
    told = dict(sidecar.facts)
    picture: tuple[int, int] | None = None
    meant: tuple[int, int] | None = None
    captions: CaptionFacts | None = None
    readable = True
    try:
        if sidecar.content_type.startswith("image/"):
            meant = int(told["width"]), int(told["height"])
            picture = picture_size(sidecar.data)
            readable = picture is not None
        elif sidecar.role.startswith("captions_"):
            cues = parse_captions(sidecar.data)
            captions = CaptionFacts(times=tuple((cue.start, cue.end) for cue in cues), written=int(told["cues"]))
        elif sidecar.content_type == CONTENT_TYPE:
            json.loads(sidecar.data)
    except (Permanent, ValueError):
        readable = False
    return SidecarFacts(
        role=sidecar.role,
        name=sidecar.name,
        size=len(sidecar.data),
        readable=readable,
        picture=picture,
        meant_picture=meant,
        captions=captions,
    )


def _refuse_failed(rendition: Rendition, report: QcReport) -> None:
    if report.verdict is not Verdict.FAIL:
        return
    said = "; ".join(f"{each.message} (is {each.measured}, due {each.limit})" for each in failures(report))
    raise Permanent(
        f"{rendition.path.name} failed its checks: {said} Nothing was published. Resume the export; if it fails again, "
        "have the video preprocessed again.",
        code="export.qc_failed",
    )


def _pictures(rendition: Rendition) -> PictureStream:
    return PictureStream(
        codec=rendition.codec,
        width=rendition.width,
        height=rendition.height,
        pixel_format=rendition.pixel_format,
        frames=rendition.frames,
        rate=rendition.rate,
        duration=rendition.duration,
        color_range=rendition.color_range,
        color_space=rendition.color_space,
        color_transfer=rendition.color_transfer,
        color_primaries=rendition.color_primaries,
    )


def _sound(rendition: Rendition) -> SoundStream | None:
    if rendition.sample_rate is None or rendition.channels is None or rendition.sound_duration is None:
        return None
    return SoundStream(
        codec=rendition.sound_codec,
        sample_rate=rendition.sample_rate,
        channels=rendition.channels,
        layout=rendition.layout,
        duration=rendition.sound_duration,
    )


def clean_clip(order: CleanInput, desk: Desk) -> CleanResult:
    """Deletes everything made from an archived clip; what is already gone is fine."""
    with desk.step("delete"):
        return CleanResult(objects=clear(desk.objects, [order.prefix], order.keys))
