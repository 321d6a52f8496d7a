"""Fetches what is behind a URL by yt-dlp, in this process, with no other program and no connection to a private address.

Guarantees: a missing fragment fails the download; half-fetched files stay in the given folder and are continued by the
next attempt; every failure leaves as one of the house's errors. Streams that come apart are fetched apart, for the
joining is done, and checked, elsewhere. Only the child process imports this module.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import yt_dlp
from yt_dlp.networking.exceptions import HTTPError
from yt_dlp.postprocessor.ffmpeg import FFmpegPostProcessor
from yt_dlp.utils import YoutubeDLError

from contracts.errors import HeatersError, Permanent, Transient
from contracts.values import spell_ratio
from services.ingest.addresses import check_url, forbidden
from services.ingest.captions import READABLE, to_vtt
from services.ingest.domain import chosen_languages, tidy_language, tidy_title
from services.ingest.network import ForbiddenConnectionError, Guard
from services.ingest.refusals import ListFound, by_availability, classify, over_limits
from services.ingest.settings import Settings
from services.media.captions import MAX_CAPTION_BYTES

Tell = Callable[[float, float | None], None]
"""Told bytes fetched so far, and bytes in all where that is known."""

_PROTOCOLS = frozenset({"http", "https", "m3u8", "m3u8_native", "http_dash_segments", "http_dash_segments_generator"})
"""What yt-dlp fetches with its own code; others need programs that no rule of addresses binds."""

_HANDLERS = frozenset({"Urllib", "Requests"})
"""Those that connect through Python's sockets."""

_NO_PROGRAM = "/nonexistent/ffmpeg"

_KEPT_TEXT = 5_000
_KEPT_CHAPTERS = 500


class _Ydl(yt_dlp.YoutubeDL):  # type: ignore[misc]
    """yt-dlp restricted to connections that the address guard sees."""

    def build_request_director(self, handlers: Any, preferences: Any = None) -> Any:
        seen = [handler for handler in handlers if handler.RH_KEY in _HANDLERS]
        return super().build_request_director(seen, preferences)

    def raise_no_formats(self, info: dict[str, Any], forced: bool = False, *, msg: str | None = None) -> None:
        """Where there is nothing to fetch, what the page says of the video tells more than that."""
        _refuse_unshown(info)
        refusal = by_availability(info.get("availability"), info.get("age_limit"))
        if refusal is not None and not info.get("_has_drm"):
            raise refusal
        super().raise_no_formats(info, forced, msg=msg)


@dataclass
class _Log:
    """Collects what yt-dlp says; the last error is the cause when it raises none."""

    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def debug(self, message: str) -> None:
        """Nothing is kept of it."""

    def info(self, message: str) -> None:
        """Nothing is kept of it."""

    def warning(self, message: str) -> None:
        """Kept, for findings."""
        self.warnings.append(message)

    def error(self, message: str) -> None:
        """Kept, for the failure."""
        self.errors.append(message)


@dataclass(frozen=True)
class Stream:
    """One fetched file, and what its page says is in it."""

    path: Path
    format_id: str
    has_video: bool
    has_audio: bool


@dataclass(frozen=True)
class Caption:
    """A caption track of a page, as WebVTT."""

    language: str
    automatic: bool
    vtt: bytes


class Page:
    """What is behind one URL, looked at with one choice of formats. Use it inside ``opened_page``."""

    def __init__(self, ydl: _Ydl, log: _Log, guard: Guard, info: dict[str, Any], settings: Settings) -> None:
        self._ydl = ydl
        self._log = log
        self._guard = guard
        self._settings = settings
        self.info = info
        self.formats: list[dict[str, Any]] = info.get("requested_formats") or [info]

    @property
    def title(self) -> str:
        """The page's own title, or nothing."""
        # For a bare file yt-dlp makes a title of the URL, which is no better than ours.
        return "" if self.info.get("direct") else tidy_title(str(self.info.get("title") or ""))

    @property
    def duration(self) -> Fraction | None:
        """Seconds that the page says it lasts."""
        said = self.info.get("duration")
        return Fraction(str(said)) if isinstance(said, int | float) and said > 0 else None

    @property
    def format_ids(self) -> list[str]:
        """The chosen formats."""
        return [str(each.get("format_id") or "unknown")[:100] for each in self.formats]

    @property
    def expects_audio(self) -> bool:
        """Whether the page says that the chosen formats have sound."""
        return any(each.get("acodec") not in {None, "none"} for each in self.formats)

    @property
    def segmented(self) -> bool:
        """Whether a chosen format comes in parts, one of which may be missing without an error."""
        return any(each.get("protocol") not in {"http", "https"} for each in self.formats)

    def metadata(self) -> dict[str, Any]:
        """What the page tells of the video, bounded; nothing that changes by the day, such as views."""
        kept: dict[str, Any] = {}
        for name in (
            "title", "description", "uploader", "uploader_id", "uploader_url", "channel", "channel_url", "license",
            "upload_date", "webpage_url", "original_url", "extractor_key", "id", "language",
        ):  # fmt: skip
            value = self.info.get(name)
            if isinstance(value, str) and value.strip():
                kept[name] = value.strip()[:_KEPT_TEXT]
        for name in ("categories", "tags"):
            value = self.info.get(name)
            if isinstance(value, list) and value:
                kept[name] = [str(each)[:200] for each in value[:100]]
        chapters = [
            {
                "title": tidy_title(str(each.get("title") or "")),
                "start": spell_ratio(Fraction(str(each.get("start_time") or 0))),
                "end": spell_ratio(Fraction(str(each.get("end_time") or 0))),
            }
            for each in (self.info.get("chapters") or ())[:_KEPT_CHAPTERS]
        ]
        if chapters:
            kept["chapters"] = chapters
        return kept

    def fetch(self, folder: Path, prefix: str, tell: Tell) -> list[Stream]:
        """Downloads the chosen formats, going on where an earlier attempt left off.

        Raises:
            HeatersError: with one of the codes of ``refusals``, or ``ingest.over_limits``.
        """
        sizes = [float(each.get("filesize") or each.get("filesize_approx") or 0) for each in self.formats]
        total = sum(sizes) if all(sizes) else None
        self._refuse_oversize(sum(sizes))
        streams: list[Stream] = []
        before = 0.0
        for number, chosen in enumerate(self.formats):
            if chosen.get("protocol") not in _PROTOCOLS:
                raise Permanent(
                    f"The video comes by {chosen.get('protocol')!r}, which is not fetched here. Upload the file instead.",
                    code="ingest.unsupported_protocol",
                )
            ending = re.sub(r"[^a-z0-9]", "", str(chosen.get("ext") or "").lower())[:5] or "bin"
            name = re.sub(r"[^A-Za-z0-9]+", "-", str(chosen.get("format_id") or "format"))[:60]
            path = folder / f"{prefix}-{number}-{name}.{ending}"
            self._download(path, chosen, self._listener(tell, before, total))
            before += path.stat().st_size
            streams.append(
                Stream(
                    path=path,
                    format_id=self.format_ids[number],
                    has_video=chosen.get("vcodec") != "none",
                    has_audio=chosen.get("acodec") != "none",
                )
            )
        return streams

    def captions(self, folder: Path, languages: Sequence[str], most: int) -> tuple[list[Caption], list[str]]:
        """The page's caption tracks in the wanted languages, and a sentence for each that could not be had."""
        manual = _readable(self.info.get("subtitles"))
        automatic = _readable(self.info.get("automatic_captions"))
        wanted = chosen_languages(languages, list(manual), list(automatic), self.info.get("language"))
        kept: list[Caption] = []
        missed: list[str] = []
        for number, (language, is_automatic) in enumerate(wanted[:most]):
            track = (automatic if is_automatic else manual)[language]
            try:
                data = self._caption_bytes(folder / f"captions-{number}.{track['ext']}", track)
                vtt = to_vtt(data, str(track["ext"]))
            except HeatersError as error:
                missed.append(f"The {language} captions could not be kept: {error.message}")
                continue
            if vtt:
                kept.append(Caption(tidy_language(language.removesuffix("-orig")), is_automatic, vtt))
        return kept, missed

    def _caption_bytes(self, path: Path, track: Mapping[str, Any]) -> bytes:
        if track.get("data") is not None:
            return str(track["data"]).encode()
        chosen = {"http_headers": self.info.get("http_headers"), **track}
        path.unlink(missing_ok=True)
        self._download(path, chosen, _bound_caption, subtitle=True)
        return path.read_bytes()

    def _download(
        self,
        path: Path,
        chosen: Mapping[str, Any],
        tell: Callable[[float, float | None], None],
        *,
        subtitle: bool = False,
    ) -> None:
        def hear(progress: Mapping[str, Any]) -> None:
            if (progress.get("fragment_count") or 0) > self._settings.ingest_max_fragments:
                raise over_limits(f"It consists of more than {self._settings.ingest_max_fragments} fragments")
            self._refuse_oversize(float(progress.get("total_bytes") or 0))
            done = float(progress.get("downloaded_bytes") or 0)
            tell(done, progress.get("total_bytes") or progress.get("total_bytes_estimate"))

        merged = {name: value for name, value in self.info.items() if name not in {"formats", "requested_formats"}}
        errors, refusals = len(self._log.errors), len(self._guard.refused)
        self._ydl.add_progress_hook(hear)
        try:
            with translated(self._guard):
                fetched, _ = self._ydl.dl(str(path), {**merged, **chosen}, subtitle=subtitle)
        except HeatersError as error:
            if re.fullmatch(r"ingest\.http_4\d\d", error.code) and chosen.get("protocol") not in {"http", "https"}:
                raise Transient(
                    f"A part of the video is missing on the server; it is tried again later by itself. ({error.message})",
                    code="ingest.missing_fragment",
                ) from error
            raise
        finally:
            self._ydl._progress_hooks.remove(hear)  # noqa: SLF001 - there is no public way to take a hook back.
        # For captions the library gives no answer at all.
        if fetched is False or not path.is_file():
            if len(self._guard.refused) > refusals:
                raise forbidden(self._guard.refused[-1])
            said = (self._log.errors[errors:] or ["the download ended without a file"])[-1]
            raise classify(said)

    def _listener(self, tell: Tell, before: float, total: float | None) -> Tell:
        """Tells of one stream's bytes as part of all; stops a download that outgrows the limit."""

        def hear(done: float, whole: float | None) -> None:
            self._refuse_oversize(before + done)
            tell(before + done, total if total is not None else (whole if len(self.formats) == 1 else None))

        return hear

    def _refuse_oversize(self, size: float) -> None:
        if size > self._settings.ingest_max_bytes:
            raise over_limits(f"It has more than {self._settings.ingest_max_bytes} bytes")


@contextmanager
def opened_page(url: str, formats: str, guard: Guard, settings: Settings, *, most_entries: int = 0) -> Iterator[Page]:
    """Looks at a URL and chooses formats; nothing is downloaded yet. Of a list up to ``most_entries`` are looked at.

    Raises:
        HeatersError: with one of the codes of ``refusals``, ``ingest.live``, ``ingest.premiere``, ``ingest.over_limits``.
        ListFound: several videos are behind it.
    """
    log = _Log()
    # Whether some ffmpeg lies about must not change what is done.
    FFmpegPostProcessor._ffmpeg_location.set(_NO_PROGRAM)  # noqa: SLF001 - yt-dlp's own command line does the same.
    with _Ydl(_parameters(formats, log, settings, most_entries)) as ydl:
        with translated(guard):
            info = ydl.extract_info(url, download=False)
        info = _single(ydl, info, guard, settings)
        _refuse_by_page(info, settings)
        yield Page(ydl, log, guard, info, settings)


def _parameters(formats: str, log: _Log, settings: Settings, most_entries: int) -> dict[str, Any]:
    return {
        "format": formats,
        "logger": log,
        "quiet": True,
        "noprogress": True,
        "color": "never",
        "cachedir": False,
        "noplaylist": True,
        "playlistend": max(1, most_entries) + 1,
        "cookiefile": _cookies(settings),
        "extract_flat": "in_playlist",
        "allow_unplayable_formats": False,
        "hls_prefer_native": True,
        # By default yt-dlp leaves out a fragment that it cannot get, and reports success.
        "skip_unavailable_fragments": False,
        "retries": 3,
        "fragment_retries": 3,
        "extractor_retries": 2,
        "socket_timeout": settings.ingest_socket_timeout,
        "continuedl": True,
        "updatetime": False,
        "ffmpeg_location": _NO_PROGRAM,
        "proxy": settings.ingest_proxy,
    }


def _cookies(settings: Settings) -> io.StringIO | None:
    """The cookies as a copy, for the library writes back what it was given."""
    if not settings.ingest_cookies_file:
        return None
    try:
        return io.StringIO(Path(settings.ingest_cookies_file).read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise Permanent(
            f"The cookies cannot be read ({error}). Check HEATERS_INGEST_COOKIES_FILE.", code="ingest.no_cookies"
        ) from error


def _single(ydl: _Ydl, info: dict[str, Any] | None, guard: Guard, settings: Settings) -> dict[str, Any]:
    """The one video behind the address."""
    for _ in range(3):
        if info is None:
            raise classify("No video could be found")
        if info.get("_type", "video") == "video":
            return info
        entries = [entry for entry in info.get("entries") or () if entry]
        if len(entries) != 1:
            if not entries:
                raise classify("No video could be found")
            raise ListFound(tidy_title(str(info.get("title") or "untitled")), _urls_of(info, entries))
        entry = entries[0]
        if entry.get("_type", "video") == "video":
            return dict(entry)
        check_url(str(entry.get("url") or ""), allow_private=settings.ingest_allow_private_addresses)
        with translated(guard):
            info = ydl.extract_info(entry["url"], download=False, ie_key=entry.get("ie_key"))
    raise classify("No video could be found")


def _urls_of(info: Mapping[str, Any], entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """The addresses of a list's entries; those that cannot be asked for by themselves are left out."""
    own = {info.get("webpage_url"), info.get("original_url")}
    found = []
    for entry in entries:
        for name in ("url", "webpage_url"):
            url = str(entry.get(name) or "")
            # An extractor may hand data over in a fragment, which is meant for itself alone.
            if re.match(r"https?://", url) and url not in own and "#__youtubedl_smuggle" not in url:
                found.append(url)
                break
    return found


def _refuse_by_page(info: Mapping[str, Any], settings: Settings) -> None:
    _refuse_unshown(info)
    duration = info.get("duration")
    longest = settings.ingest_max_duration.total_seconds()
    if isinstance(duration, int | float) and duration > longest:
        raise over_limits(f"It lasts {duration:.0f} s, and this installation takes {longest:.0f} s at most")
    for each in info.get("requested_formats") or [info]:
        width, height = each.get("width"), each.get("height")
        if isinstance(width, int) and isinstance(height, int) and width * height > settings.ingest_max_pixels:
            raise over_limits(f"Its pictures have {width}x{height} pixels, more than this installation takes")


def _refuse_unshown(info: Mapping[str, Any]) -> None:
    """Refuses what has not been shown yet, or not to its end."""
    status = info.get("live_status")
    if status == "is_upcoming":
        raise Permanent("It has not been shown yet; submit it again afterwards.", code="ingest.premiere")
    if info.get("is_live") or status in {"is_live", "post_live"}:
        raise Permanent("It is still being broadcast; submit the recording once it has ended.", code="ingest.live")


@contextmanager
def translated(guard: Guard) -> Iterator[None]:
    """Turns what yt-dlp and the network raise into the house's errors."""
    already = len(guard.refused)
    try:
        yield
    except HeatersError:
        raise
    except (YoutubeDLError, OSError) as error:
        if isinstance(error, ForbiddenConnectionError) or len(guard.refused) > already:
            raise forbidden(guard.refused[-1]) from error
        chain = list(_causes(error))
        status = next((each.status for each in chain if isinstance(each, HTTPError)), None)
        kinds = {base.__name__ for each in chain for base in type(each).__mro__}
        raise classify(str(error) or type(error).__name__, status=status, kinds=kinds) from error


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error and all that led to it, by any of the ways in which yt-dlp links them."""
    waiting: list[BaseException] = [error]
    seen: set[int] = set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        yield each
        linked = [each.__cause__, each.__context__, getattr(each, "cause", None)]
        linked += list(getattr(each, "exc_info", None) or ())[1:2]
        waiting += [cause for cause in linked if isinstance(cause, BaseException)]


def _bound_caption(done: float, whole: float | None) -> None:
    if max(done, whole or 0) > MAX_CAPTION_BYTES:
        raise Permanent(f"They are larger than {MAX_CAPTION_BYTES} bytes.", code="captions.too_large")


def _readable(tracks: Any) -> dict[str, dict[str, Any]]:
    """The best readable form of each language's track; chat replays and thumbnails are no captions."""
    found: dict[str, dict[str, Any]] = {}
    for language, forms in (tracks or {}).items():
        if language == "live_chat":
            continue
        ranked = [form for kind in READABLE for form in forms if form.get("ext") == kind]
        if ranked:
            found[str(language)] = ranked[0]
    return found
