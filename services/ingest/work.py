"""Fetching itself, in a child process: a source in, one proven file in the store out, with its captions and metadata.

Guarantees: nothing is stored before the whole file was read and found complete; a healthy file is stored byte for byte;
keys follow from the video and the content, so that a repetition writes the same. A download cut short goes on where it
stopped, for the folder ``kept`` outlives an attempt.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from contracts.errors import HeatersError, Permanent, Transient
from contracts.values import CaptionAsset, Finding, ObjectSource, UploadSource, UrlSource, spell_ratio
from services.chassis.desk import Desk
from services.chassis.objects import UNKNOWN_SHA256, ObjectMissing, sha256_of
from services.ingest.addresses import check_url
from services.ingest.domain import (
    CONTENT_TYPES,
    FALLBACK,
    NO_SUCH_FORMAT,
    PRIMARY,
    Attempt,
    FetchInput,
    FetchResult,
    Method,
    Next,
    check_expectations,
    extension_of,
    file_name_of,
    listed,
    next_step,
    tidy_language,
    tidy_title,
    title_of_source,
)
from services.ingest.hosts import host_of, let_rest, turn_at
from services.ingest.network import Guard, guarded
from services.ingest.refusals import ListFound, over_limits
from services.ingest.settings import Settings
from services.media.captions import write_vtt
from services.media.merge import merge, normalise
from services.media.probe import Probe, ProbeLimits, probe
from services.media.subtitles import read_subtitles

if TYPE_CHECKING:
    from services.ingest.download import Page, Stream

CHUNK = 8 << 20

ASKED_FOR_REST = frozenset({"ingest.rate_limited", "ingest.bot_check", "ingest.http_503"})
"""Answers after which a host is left alone for a while."""

Origin = Literal["embedded", "sidecar", "downloaded", "automatic"]


@dataclass(frozen=True)
class Fetched:
    """A proven file on the local disk, and what its origin told."""

    path: Path
    name: str
    title: str
    method: Method
    proof: Probe
    normalised: bool = False
    metadata: dict[str, Any] = field(default_factory=dict)
    captions: tuple[tuple[str, Origin, bytes], ...] = ()
    findings: tuple[Finding, ...] = ()
    stored_at: str = ""
    """The key of an object with exactly these bytes that nobody will overwrite, if there is one."""


def fetch_source(order: FetchInput, desk: Desk) -> FetchResult:
    """Brings one source into the store.

    Raises:
        HeatersError: ``ingest.*`` when the source cannot be had, ``media.*`` when it is no whole video.
    """
    match order.source:
        case UrlSource():
            budget = _budget(order.source, desk.settings)
            try:
                fetched = _from_url(order, order.source, desk)
            except ListFound as found:
                if not budget:
                    raise
                return FetchResult(
                    title=order.title or found.title or title_of_source(order.source),
                    method="primary",
                    entries=listed(found.urls, budget),
                    metadata={},
                )
        case ObjectSource():
            fetched = _from_object(order.source.key, order.source.name or order.source.key, "object", desk)
        case UploadSource():
            key = _key_of_upload(order.source, desk)
            fetched = _from_object(key, order.source.name or key, "upload", desk)
    return _stored(order, fetched, desk)


def _budget(source: UrlSource, settings: Settings) -> int:
    """How many videos a list behind the address may bring."""
    asked = settings.ingest_max_entries if source.most_entries is None else source.most_entries
    return min(asked, settings.ingest_max_entries)


def _limits(settings: Settings) -> ProbeLimits:
    return ProbeLimits(
        bytes=settings.ingest_max_bytes,
        seconds=Fraction(settings.ingest_max_duration.total_seconds()),
        pixels=settings.ingest_max_pixels,
    )


# Objects and uploads


def _key_of_upload(source: UploadSource, desk: Desk) -> str:
    keys = list(desk.objects.list(f"uploads/{source.upload_id}/"))
    if len(keys) != 1:
        raise Permanent(
            f"The upload {source.upload_id} holds {len(keys)} files where one is meant. Upload the file again.",
            code="ingest.not_found",
        )
    return keys[0]


def _from_object(key: str, name: str, method: Method, desk: Desk) -> Fetched:
    # Errors speak of the file by its name, so it keeps its own.
    path = desk.scratch / file_name_of(name)
    with desk.step("fetch"):
        digest = _read_object(key, path, desk)
    with desk.step("probe"):
        desk.progress(0, None, unit="bytes", phase="probe")
        proof = probe(path, limits=_limits(desk.settings))
    # Nobody writes to a finished upload again; any other object may be replaced at any moment.
    stored_at = key if method == "upload" or key.startswith(f"uploads/{digest}/") else ""
    return Fetched(path=path, name=name, title="", method=method, proof=proof, stored_at=stored_at)


def _read_object(key: str, path: Path, desk: Desk) -> str:
    """Copies an object to a file, range by range, and gives its digest, which somebody else's object does not carry."""
    found = desk.objects.head(key)
    if found is None:
        raise Permanent(
            f"There is no object {key!r} in the bucket. Check the key, or upload the file again.",
            code="ingest.not_found",
        )
    if found.size > desk.settings.ingest_max_bytes:
        raise over_limits(f"{key!r} has {found.size} bytes, more than this installation takes")
    _check_room(path.parent, found.size)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for start in range(0, found.size, CHUNK):
            try:
                data = desk.objects.get_range(key, start, min(start + CHUNK, found.size))
            except ObjectMissing as error:
                raise Transient(
                    f"The object {key!r} vanished while it was read.", code="ingest.source_changed"
                ) from error
            file.write(data)
            digest.update(data)
            desk.progress(file.tell(), found.size, unit="bytes", phase="fetch")
        written = file.tell()
    if found.sha256 not in {UNKNOWN_SHA256, digest.hexdigest()}:
        raise Permanent(
            f"{PurePosixPath(key).name!r} did not arrive as it was sent: its SHA-256 is {digest.hexdigest()[:12]}…, and "
            f"{found.sha256[:12]}… was announced. Upload the file again.",
            code="ingest.upload_damaged",
        )
    if written != found.size:
        raise Transient(
            f"{written} bytes of {found.size} could be read of {key!r}; it is tried again.",
            code="ingest.source_changed",
        )
    return digest.hexdigest()


def _check_room(folder: Path, size: int) -> None:
    free = shutil.disk_usage(folder).free
    if size > free:
        raise Transient(
            f"The source has {size} bytes, but only {free} are free on the scratch disk. Free some space; it is tried "
            "again by itself.",
            code="ingest.disk_full",
        )


# URLs


@dataclass
class _Trial:
    """What one attempt left behind, for the decision and for the record."""

    attempt: Attempt
    page: Page | None = None
    path: Path | None = None
    proof: Probe | None = None
    streams: Sequence[Path] = ()
    captions: tuple[tuple[str, Origin, bytes], ...] = ()
    missed: tuple[str, ...] = ()


def _from_url(order: FetchInput, source: UrlSource, desk: Desk) -> Fetched:
    settings: Settings = desk.settings
    check_url(source.url, allow_private=settings.ingest_allow_private_addresses)
    record: list[dict[str, Any]] = []
    host, places = host_of(source.url), settings.temp_dir / "hosts"
    with (
        turn_at(
            host,
            places,
            at_once=settings.ingest_host_concurrency,
            waiting=lambda: desk.progress(0, None, unit="bytes", phase="waiting for the host"),
        ),
        guarded(allow_private=settings.ingest_allow_private_addresses, exempt=_exempt(settings.ingest_proxy)) as guard,
    ):
        first = trial = _try(order, source, "primary", PRIMARY, guard, desk)
        while True:
            record.append(_account(trial))
            if trial.attempt.fault is not None and trial.attempt.fault.code in ASKED_FOR_REST:
                let_rest(host, places, settings.ingest_host_cooldown)
            following = next_step(trial.attempt)
            if following is Next.KEEP:
                return _kept(source, trial, record)
            if following is Next.NORMALISE:
                trial = _normalised(trial, desk)
                continue
            if trial.attempt.downloaded:
                # What does not verify must not be taken for finished by a later attempt.
                for path in trial.streams:
                    path.unlink(missing_ok=True)
            if following is Next.GIVE_UP:
                raise _last_word(first.attempt, trial.attempt)
            trial = _try(order, source, "fallback", FALLBACK, guard, desk, before=trial)


def _last_word(first: Attempt, last: Attempt) -> HeatersError:
    """The fault to report when nothing is left to try."""
    if last.fault is not None and (last.fault.code != NO_SUCH_FORMAT or first.fault is None):
        return last.fault
    # That there is no second choice of formats explains nothing; why the first failed does.
    assert first.fault is not None  # noqa: S101 - only a fault leads here.
    return first.fault


def _try(
    order: FetchInput,
    source: UrlSource,
    method: Literal["primary", "fallback"],
    formats: str,
    guard: Guard,
    desk: Desk,
    *,
    before: _Trial | None = None,
) -> _Trial:
    """One attempt with one choice of formats, as far as it goes."""
    # Here, because importing yt-dlp takes a fifth of a second, and files that are in the store already have no use for it.
    from services.ingest.download import opened_page

    trial = _Trial(Attempt(method))
    try:
        with (
            desk.step(f"download ({method})"),
            opened_page(source.url, formats, guard, desk.settings, most_entries=_budget(source, desk.settings)) as page,
        ):
            trial.page = page
            trial.attempt = Attempt(method, chosen=True)
            fault = before.attempt.fault if before is not None else None
            if (
                before is not None
                and before.attempt.downloaded
                and before.page
                and page.format_ids == before.page.format_ids
            ):
                # The page has nothing else to offer: the same bytes would have the same fault.
                trial.attempt = replace(trial.attempt, fault=fault)
                return trial
            streams = page.fetch(
                desk.kept, method, lambda done, total: desk.progress(done, total, unit="bytes", phase="download")
            )
            trial.streams = [stream.path for stream in streams]
            trial.attempt = Attempt(method, chosen=True, downloaded=True, merged=len(streams) > 1)
            captions, missed = page.captions(
                desk.scratch, order.options.caption_languages, desk.settings.ingest_max_captions
            )
            trial.captions = tuple(
                (each.language, "automatic" if each.automatic else "downloaded", each.vtt) for each in captions
            )
            trial.missed = tuple(missed)
        trial.path = _joined(streams, desk.scratch / method, desk)
        trial.proof = _probed(trial.path, page, desk)
        trial.attempt = replace(trial.attempt, fault=_fault_of(trial, page))
    except HeatersError as fault:
        trial.attempt = replace(trial.attempt, fault=fault)
    return trial


def _joined(streams: Sequence[Stream], target: Path, desk: Desk) -> Path:
    if len(streams) == 1:
        return streams[0].path
    pictures = next((each.path for each in streams if each.has_video), streams[0].path)
    sound = next((each.path for each in streams if each.has_audio and each.path != pictures), streams[-1].path)
    with desk.step("merge"):
        desk.progress(0, None, unit="bytes", phase="merge")
        return merge(pictures, sound, target)


def _probed(path: Path, page: Page, desk: Desk) -> Probe:
    with desk.step("probe"):
        desk.progress(0, None, unit="bytes", phase="probe")
        try:
            return probe(path, limits=_limits(desk.settings))
        except HeatersError as error:
            # The name of the half-way file says nothing to a person.
            said = error.message.replace(path.name, repr(page.title or "the file behind the address"))
            raise type(error)(said, code=error.code) from error


def _fault_of(trial: _Trial, page: Page) -> HeatersError | None:
    assert trial.proof is not None  # noqa: S101 - asked only of what was probed.
    return check_expectations(
        trial.proof.facts,
        trial.proof.findings,
        expects_audio=page.expects_audio,
        expected_duration=page.duration,
        merged=trial.attempt.merged and not trial.attempt.normalised,
        segmented=page.segmented,
        apart=_apart(trial.proof),
    )


def _apart(proof: Probe) -> Fraction:
    """Seconds that pictures or sound stand alone at an end."""
    if proof.audio_start is None or proof.audio_end is None:
        return Fraction(0)
    end = proof.start + proof.facts.duration
    return max(abs(proof.audio_start - proof.start), abs(proof.audio_end - end))


def _normalised(trial: _Trial, desk: Desk) -> _Trial:
    """The same pictures and sound encoded afresh, because their merge is faulty."""
    assert trial.page is not None  # noqa: S101 - only what was downloaded, joined and probed is normalised.
    assert trial.path is not None  # noqa: S101 - as above.
    assert trial.proof is not None  # noqa: S101 - as above.
    again = replace(trial, attempt=replace(trial.attempt, fault=None, normalised=True))
    try:
        with desk.step("normalise"):
            again.path = normalise(
                trial.path,
                trial.proof,
                desk.scratch / "normalised",
                lambda done, total: desk.progress(done, total, unit="frames", phase="normalise"),
            )
        again.proof = _probed(again.path, trial.page, desk)
        again.attempt = replace(again.attempt, fault=_fault_of(again, trial.page))
    except HeatersError as fault:
        again.attempt = replace(again.attempt, fault=fault)
    return again


def _kept(source: UrlSource, trial: _Trial, record: list[dict[str, Any]]) -> Fetched:
    assert trial.page is not None  # noqa: S101 - a trial without fault has all three.
    assert trial.path is not None  # noqa: S101 - as above.
    assert trial.proof is not None  # noqa: S101 - as above.
    name = urlsplit(source.url).path if trial.page.info.get("direct") else trial.path.name
    return Fetched(
        path=trial.path,
        name=name if len(trial.streams) == 1 and not trial.attempt.normalised else trial.path.name,
        title=trial.page.title,
        method=trial.attempt.method,
        proof=trial.proof,
        normalised=trial.attempt.normalised,
        metadata={**trial.page.metadata(), "url": source.url, "attempts": record},
        captions=trial.captions,
        findings=tuple(Finding(code="ingest.captions_missed", message=each[:1000]) for each in trial.missed),
    )


def _account(trial: _Trial) -> dict[str, Any]:
    """What the record keeps of an attempt: method, formats, what was wrong, and the probe in brief."""
    account: dict[str, Any] = {"method": trial.attempt.method, "normalised": trial.attempt.normalised}
    if trial.page is not None:
        account["formats"] = trial.page.format_ids
    if trial.attempt.fault is not None:
        account["fault"] = {"code": trial.attempt.fault.code, "message": trial.attempt.fault.message[:500]}
    if trial.proof is not None:
        facts = trial.proof.facts
        account["probe"] = {
            "container": facts.container,
            "duration": spell_ratio(facts.duration),
            "video": f"{facts.video.codec} {facts.video.width}x{facts.video.height}",
            "video_packets": facts.video.packets,
            "audio": facts.audio.codec if facts.audio else "",
            "audio_packets": facts.audio.packets if facts.audio else 0,
        }
    return account


def _exempt(proxy: str) -> frozenset[tuple[str, int]]:
    parts = urlsplit(proxy)
    return frozenset({(parts.hostname, parts.port)}) if parts.hostname and parts.port else frozenset()


# Into the store


def _stored(order: FetchInput, fetched: Fetched, desk: Desk) -> FetchResult:
    facts = fetched.proof.facts
    ending = extension_of(fetched.name, facts.container)
    content_type = CONTENT_TYPES.get(ending, "application/octet-stream")
    with desk.step("captions"):
        captions, missed = _captions(fetched, desk)
    with desk.step("store"):
        size = fetched.path.stat().st_size
        digest = sha256_of(fetched.path)
        key = f"videos/{order.video_id}/source/{digest}.{ending}"
        desk.progress(0, size, unit="bytes", phase="store")
        known = desk.objects.head(fetched.stored_at) if fetched.stored_at else None
        if known is not None and known.sha256 == digest:
            stored = desk.objects.copy(fetched.stored_at, key)
        else:
            moved = 0

            def tell(more: int) -> None:
                nonlocal moved
                moved += more
                desk.progress(moved, size, unit="bytes", phase="store")

            stored = desk.objects.put_file(fetched.path, key, content_type, progress=tell)
        assets = []
        for language, origin, vtt in captions:
            name = hashlib.sha256(vtt).hexdigest()
            ref = desk.objects.put_bytes(vtt, f"videos/{order.video_id}/captions/{name}.vtt", "text/vtt")
            assets.append(CaptionAsset(language=language, origin=origin, object=ref))
    return FetchResult(
        title=order.title or fetched.title or title_of_source(order.source),
        object=stored,
        media=facts,
        method=fetched.method,
        normalised=fetched.normalised,
        captions=tuple(assets),
        metadata={**_told_by_file(fetched.proof), **fetched.metadata},
        findings=(*fetched.proof.findings, *fetched.findings, *missed),
    )


def _captions(fetched: Fetched, desk: Desk) -> tuple[list[tuple[str, Origin, bytes]], list[Finding]]:
    """All caption tracks, the page's own before those in the file; equal ones once."""
    settings: Settings = desk.settings
    found: list[tuple[str, Origin, bytes]] = list(fetched.captions)
    text = [track for track in fetched.proof.subtitles if track.text]
    findings = [
        Finding(
            code="ingest.bitmap_subtitles",
            message=f"Subtitle track {track.index} ({track.codec}) holds pictures, not text, and is not kept.",
        )
        for track in fetched.proof.subtitles
        if not track.text
    ]
    if text:
        try:
            cues = read_subtitles(fetched.path, [track.index for track in text], fetched.proof.start)
        except HeatersError as error:
            # The video itself was read to its end, so a bad subtitle track does not make it a bad video.
            cues = {}
            findings.append(Finding(code="ingest.captions_missed", message=error.message[:1000]))
        found += [
            (tidy_language(track.language), "embedded", write_vtt(cues[track.index]))
            for track in text
            if track.index in cues
        ]
    distinct = {(language, vtt): (language, origin, vtt) for language, origin, vtt in reversed(found)}
    return list(reversed(distinct.values()))[: settings.ingest_max_captions], findings


def _told_by_file(proof: Probe) -> dict[str, Any]:
    """Tags and chapters that the container carries."""
    told: dict[str, Any] = {}
    if proof.tags:
        told["tags_in_file"] = proof.tags
    if proof.chapters:
        told["chapters"] = [
            {"title": tidy_title(each.title), "start": spell_ratio(each.start), "end": spell_ratio(each.end)}
            for each in proof.chapters[:500]
        ]
    return told
