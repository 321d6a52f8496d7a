"""What ingest decides, without I/O: ids, titles, which format to try next, and which events say what became of a source."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import unquote, urlsplit
from uuid import UUID

from pydantic import Field

from contracts.envelope import derived_id
from contracts.errors import HeatersError, Permanent, Transient
from contracts.events.base import Event
from contracts.events.v1.ingest import IngestRequested
from contracts.events.v1.video import (
    VideoDownloaded,
    VideoDownloadFailed,
    VideoDownloadStarted,
    VideoRejected,
)
from contracts.values import (
    CaptionAsset,
    ErrorClass,
    Failure,
    Finding,
    MediaFacts,
    ObjectRef,
    ObjectSource,
    Options,
    Source,
    Tag,
    Title,
    UrlSource,
    Value,
)
from services.ingest.refusals import REFUSED_FOR_GOOD

PRIMARY = "bv*[ext=mp4]+ba[ext=m4a]/b[ext=mp4]/bv*+ba/b"
"""The best quality there is, in an MP4 where the best comes in one."""

FALLBACK = "bestvideo[ext=mp4][vcodec^=avc1]+bestaudio[ext=m4a]/best[ext=mp4]/best"
"""What nearly every site has and every player plays."""

Method = Literal["upload", "object", "primary", "fallback"]

CONTENT_TYPES = {
    "mp4": "video/mp4",
    "m4v": "video/mp4",
    "mov": "video/quicktime",
    "mkv": "video/x-matroska",
    "webm": "video/webm",
    "avi": "video/x-msvideo",
    "ts": "video/mp2t",
    "m2ts": "video/mp2t",
    "mts": "video/mp2t",
    "mpg": "video/mpeg",
    "mpeg": "video/mpeg",
    "flv": "video/x-flv",
    "wmv": "video/x-ms-wmv",
    "ogv": "video/ogg",
    "mxf": "application/mxf",
    "3gp": "video/3gpp",
    "gif": "image/gif",
}

_CONTAINERS = (
    ("mov", "mp4"),
    ("matroska", "mkv"),
    ("mpegts", "ts"),
    ("avi", "avi"),
    ("mpeg", "mpg"),
    ("flv", "flv"),
    ("asf", "wmv"),
    ("ogg", "ogv"),
    ("mxf", "mxf"),
    ("gif", "gif"),
)


class FetchInput(Value):
    """One source to bring in: the request, as far as it decides the result."""

    video_id: UUID
    source: Source
    title: Title | None = None
    tags: tuple[Tag, ...] = ()
    options: Options


class ListEntry(Value):
    """One entry of a playlist or channel. ``most_entries`` bounds it, should it be a list itself."""

    url: str
    most_entries: int


class FetchResult(Value):
    """What was brought in: one video, or the entries of a list. ``duplicate_of`` is known only when the result is recorded."""

    title: Title
    object: ObjectRef | None = None
    media: MediaFacts | None = None
    method: Method
    entries: tuple[ListEntry, ...] = ()
    normalised: bool = False
    captions: tuple[CaptionAsset, ...] = ()
    metadata: Annotated[dict[str, Any], Field(default_factory=dict)]
    findings: tuple[Finding, ...] = ()
    duplicate_of: UUID | None = None


def video_id_of(request: IngestRequested, event_id: UUID | None) -> UUID:
    """The id of the requested video: equal idempotency keys are one request, and without one each event is its own."""
    return derived_id("video", request.idempotency_key or event_id)


def provisional_title(request: IngestRequested) -> str:
    """The title until the source itself has been seen: the requester's, or one made from the source's name."""
    return request.title or title_of_source(request.source)


def title_of_source(source: Source) -> str:
    """A title from a file's name or a URL's last part."""
    if isinstance(source, UrlSource):
        parts = urlsplit(source.url)
        return title_of_name(unquote(parts.path)) or tidy_title(parts.hostname or "") or "Untitled"
    if isinstance(source, ObjectSource):
        return title_of_name(source.name) or title_of_name(source.key) or "Untitled"
    return title_of_name(source.name) or "Untitled"


def title_of_name(name: str) -> str:
    """The name without folders and without its ending, if that is the ending of a media file."""
    base = PurePosixPath(name.replace("\\", "/").rstrip("/")).name
    stem, dot, ending = base.rpartition(".")
    return tidy_title(stem if dot and stem and re.fullmatch(r"[A-Za-z0-9]{1,5}", ending) else base)


def tidy_title(text: str) -> str:
    """One line without control characters, at most 500 characters."""
    visible = "".join(character if character.isprintable() else " " for character in text)
    return " ".join(visible.split())[:500].strip()


def file_name_of(name: str) -> str:
    """A name that any file system takes, as near to the given one as can be."""
    base = PurePosixPath(name.replace("\\", "/").rstrip("/")).name
    stem, dot, ending = base.rpartition(".")
    safe = re.sub(r"[^\w. ()-]+", "_", stem if dot else base).strip(". ")[:60] or "source"
    ending = re.sub(r"[^A-Za-z0-9]", "", ending)[:5] if dot else ""
    return f"{safe}.{ending}" if ending else safe


def extension_of(name: str, container: str) -> str:
    """The ending to store a file under: its own, if that is a known one, else its container's."""
    own = PurePosixPath(name.replace("\\", "/")).suffix.removeprefix(".").lower()
    if own in CONTENT_TYPES:
        return own
    return next((ending for part, ending in _CONTAINERS if part in container), "bin")


def tidy_language(text: str) -> str:
    """A language tag that contracts accept; "und" when there is none."""
    kept = re.sub(r"[^A-Za-z0-9-]+", "-", text).strip("-")[:35]
    return kept or "und"


def chosen_languages(
    requested: Sequence[str], manual: Sequence[str], automatic: Sequence[str], spoken: str | None
) -> list[tuple[str, bool]]:
    """Which caption tracks of a page to keep, as (language, whether it is automatic).

    Requested languages, manual before automatic ("en" also takes "en-GB"); without a request all manual ones, and where
    there is none, the automatic one in the language spoken. Machine translations are never taken unasked.
    """
    if requested:
        found: list[tuple[str, bool]] = []
        for wanted in requested:
            for tracks, is_automatic in ((manual, False), (automatic, True)):
                match = _match_language(wanted, tracks)
                if match is not None:
                    found.append((match, is_automatic))
                    break
        return list(dict.fromkeys(found))
    if manual:
        return [(language, False) for language in manual]
    original = [language for language in automatic if language.endswith("-orig")]
    if not original and spoken:
        match = _match_language(spoken, automatic)
        original = [match] if match else []
    return [(language, True) for language in original[:1]]


def _match_language(wanted: str, tracks: Sequence[str]) -> str | None:
    exact = [track for track in tracks if track.lower() == wanted.lower()]
    related = [track for track in tracks if track.lower().split("-")[0] == wanted.lower()]
    return next(iter(exact + related), None)


class Next(Enum):
    """What to do after an attempt to download."""

    KEEP = "keep"
    NORMALISE = "normalise"
    FALL_BACK = "fall back"
    GIVE_UP = "give up"


@dataclass(frozen=True)
class Attempt:
    """How one attempt to download ended.

    ``fault`` is what went wrong, ``chosen`` whether formats could be chosen at all, ``downloaded`` whether all bytes had arrived by then, ``merged`` whether two streams were
    joined, ``normalised`` whether the result was re-encoded already.
    """

    method: Literal["primary", "fallback"]
    fault: HeatersError | None = None
    chosen: bool = False
    downloaded: bool = False
    merged: bool = False
    normalised: bool = False


NO_SUCH_FORMAT = "ingest.format_unavailable"

MENDABLE = frozenset({"ingest.broken_timestamps"})
"""Faults of a merge that a light re-encoding mends. What is missing or damaged it could only hide."""

_FAULTS: dict[str, type[HeatersError]] = {
    "media.audio_drift": Permanent,
    "media.audio_empty": Permanent,
    "media.damaged_packets": Transient,
    "media.duration_lie": Permanent,
    "media.missing_part": Transient,
}
"""Findings that make a download no good: what a person sent may be meant so, what a site sent is not."""

_TOLERABLE_APART = Fraction(1)
"""Streams of one programme end within a fragment's rounding of each other."""

_HOPELESS = REFUSED_FOR_GOOD - {"media.drm", "media.not_a_video", "media.no_video_stream", "media.empty_file"}

_ABOUT_THIS_MACHINE = frozenset({"ingest.disk_full", "media.disk_full", "media.out_of_memory", "media.read_failed"})


def next_step(attempt: Attempt) -> Next:
    """What follows an attempt.

    A healthy file is kept untouched. Only a primary download that arrived whole and whose merge has a fault that encoding
    mends is normalised; any other fault of the primary formats leads to the fallback, unless no format could help: the page
    itself is refused, or the network failed, and the same formats are tried again later.
    """
    fault = attempt.fault
    if fault is None:
        return Next.KEEP
    if attempt.method == "fallback" or fault.code in _HOPELESS:
        return Next.GIVE_UP
    if not attempt.chosen:
        # A page that cannot be looked at looks no better with other formats in mind.
        return Next.FALL_BACK if fault.code == NO_SUCH_FORMAT else Next.GIVE_UP
    if attempt.downloaded:
        if attempt.merged and not attempt.normalised and fault.code in MENDABLE:
            return Next.NORMALISE
        return Next.GIVE_UP if fault.code in _ABOUT_THIS_MACHINE else Next.FALL_BACK
    if isinstance(fault, Transient) and fault.code != "ingest.missing_fragment":
        return Next.GIVE_UP
    return Next.FALL_BACK


def check_expectations(
    facts: MediaFacts,
    findings: Sequence[Finding] = (),
    *,
    expects_audio: bool,
    expected_duration: Fraction | None,
    merged: bool = False,
    segmented: bool = False,
    apart: Fraction = Fraction(0),
) -> HeatersError | None:
    """What a complete file still lacks of what its page promised, if anything.

    ``findings`` are those of its probe. ``expected_duration`` in seconds. Pages round to the second, so up to 2 s or 2 % are no difference; a live recording's
    page may say less than there is, so only a shorter file is at fault. ``segmented``: it came in parts, one of which may lack. ``apart``: by how
    many seconds pictures and sound do not cover each other.
    """
    if expects_audio and facts.audio is None:
        return Permanent(
            "The page offers sound, but the file that arrived has none. Try again, or upload the file.",
            code="ingest.missing_stream",
        )
    if expected_duration is not None:
        missing = expected_duration - facts.duration
        if missing > max(Fraction(2), expected_duration / 50):
            return Transient(
                f"The page says {float(expected_duration):.1f} s, but the file that arrived lasts "
                f"{float(facts.duration):.1f} s. It is fetched again.",
                code="ingest.wrong_duration",
            )
    if merged and apart > _TOLERABLE_APART:
        return Transient(
            f"Pictures and sound were fetched apart, and one is {float(apart):.2f} s longer than the other. A part of the "
            "shorter one is missing; it is fetched again.",
            code="media.streams_apart",
        )
    for finding in findings:
        if finding.code in _FAULTS:
            return _FAULTS[finding.code](
                f"{finding.message} It is no sound copy; upload the file instead.", code=finding.code
            )
        if segmented and facts.audio is None and finding.code == "media.timestamp_gap":
            return Transient(f"A part of the video is missing: {finding.message}", code="media.missing_part")
    if merged and any(finding.code == "media.timestamps_mended" for finding in findings):
        return Permanent(
            "The times of its pictures were broken by joining its streams. It is encoded afresh.",
            code="ingest.broken_timestamps",
        )
    return None


def marker_of(order: FetchInput) -> str:
    """Where the result of a finished fetch is kept."""
    return f"videos/{order.video_id}/source/result.json"


def started(order: FetchInput, run: int) -> Sequence[Event]:
    """The source is on its way."""
    return (VideoDownloadStarted(video_id=order.video_id, run=run),)


def listed(urls: Sequence[str], budget: int) -> tuple[ListEntry, ...]:
    """The entries of a list, each once, with what is left of the budget shared among them should they be lists as well.

    Raises:
        Permanent: ``ingest.playlist_too_long``: all lists under one request together bring no more than its budget.
    """
    distinct = list(dict.fromkeys(urls))
    if len(distinct) > budget:
        raise Permanent(
            f"The list has more than {budget} entries. Submit the ones that matter, or raise "
            "HEATERS_INGEST_MAX_ENTRIES.",
            code="ingest.playlist_too_long",
        )
    share = (budget - len(distinct)) // max(1, len(distinct))
    return tuple(ListEntry(url=url, most_entries=share) for url in distinct)


def entry_key(order: FetchInput, entry: ListEntry) -> str:
    """The idempotency key of an entry's request: the same video with the same options is one request in whatever list."""
    digest = hashlib.sha256(f"{entry.url}\n{order.options.model_dump_json()}".encode()).hexdigest()
    return f"entry:{digest[:48]}"


def expanded(order: FetchInput, result: FetchResult) -> Sequence[Event]:
    """One request for each entry of a list; the list itself is no video."""
    many = len(result.entries)
    failure = Failure(
        stage="ingest",
        error_class=ErrorClass.PERMANENT,
        code="ingest.playlist_expanded",
        message=f"The address leads to a list ({result.title!r}). Each of its {many} entries was requested by itself; nothing "
        "is left to do here.",
    )
    requests = [
        IngestRequested(
            source=UrlSource(url=entry.url, most_entries=entry.most_entries),
            tags=order.tags,
            options=order.options,
            idempotency_key=entry_key(order, entry),
        )
        for entry in result.entries
    ]
    entries = tuple(video_id_of(request, None) for request in requests)
    return (*requests, VideoRejected(video_id=order.video_id, failure=failure, entries=entries))


def succeeded(order: FetchInput, run: int, result: FetchResult) -> Sequence[Event]:
    """The source lies in the store."""
    if result.object is None or result.media is None:
        return expanded(order, result)
    return (
        VideoDownloaded(
            video_id=order.video_id,
            run=run,
            title=result.title,
            tags=order.tags,
            options=order.options,
            object=result.object,
            media=result.media,
            method=result.method,
            normalised=result.normalised,
            duplicate_of=result.duplicate_of,
            captions=result.captions,
            metadata=result.metadata,
            findings=result.findings,
        ),
    )


def failed(order: FetchInput, run: int, failure: Failure) -> Sequence[Event]:
    """The source was refused for good, or could not be fetched for now."""
    if failure.code in REFUSED_FOR_GOOD:
        return (VideoRejected(video_id=order.video_id, failure=failure),)
    return (VideoDownloadFailed(video_id=order.video_id, run=run, failure=failure),)
