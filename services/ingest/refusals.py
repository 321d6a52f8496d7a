"""What a failed or refused download means, as stable codes: from yt-dlp's sentences and HTTP's status numbers. Pure.

The sentences are other people's and change; a code, once published, does not. What no rule knows is called
``ingest.download_failed`` and tried again.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from contracts.errors import HeatersError, Permanent, Transient


@dataclass(frozen=True)
class _Rule:
    code: str
    root: type[HeatersError]
    advice: str
    pattern: re.Pattern[str]
    kinds: frozenset[str] = frozenset()

    def fits(self, message: str, kinds: Collection[str]) -> bool:
        return bool(self.kinds.intersection(kinds)) or self.pattern.search(message) is not None


def _rule(code: str, root: type[HeatersError], pattern: str, advice: str, *kinds: str) -> _Rule:
    return _Rule(f"ingest.{code}", root, advice, re.compile(pattern, re.IGNORECASE), frozenset(kinds))


# The order matters: a bot check, an age check and a border may also ask to sign in, as private videos do.
_RULES = (
    _rule("drm", Permanent, r"\bDRM\b", "It is protected against copying; submit a copy without protection."),
    _rule(
        "geo",
        Permanent,
        r"geo.?restrict|(not|n't) (been made )?available (in|from) your (country|region|location)|blocked in your country",
        "The site does not show it in this country. Upload the file instead.",
        "GeoRestrictedError",
    ),
    _rule(
        "bot_check",
        Permanent,
        r"not a bot|captcha|cloudflare|verify (that )?you('| a)re human|anti-?bot|Just a moment",
        "The site wants proof of a human. Wait some hours, or download it in a browser and upload the file.",
    ),
    _rule(
        "rate_limited",
        Transient,
        r"HTTP Error 429|too many requests|rate.?limit",
        "The site asks to slow down; it is tried again later by itself.",
    ),
    _rule(
        "age_restricted",
        Permanent,
        r"confirm your age|age.?restrict|inappropriate for some users",
        "The site shows it to signed-in adults only. Download it in a browser and upload the file.",
    ),
    _rule(
        "premiere",
        Permanent,
        r"premieres? (in|will)|will begin (in|shortly)|is upcoming|has not (yet )?(started|aired)",
        "It has not been shown yet; submit it again afterwards.",
    ),
    _rule(
        "live",
        Permanent,
        r"live (stream|event|broadcast)s? .{0,40}(not supported|in progress|currently|is live)|\bis live\b|currently live",
        "It is still being broadcast; submit the recording once it has ended.",
        "UserNotLive",
    ),
    _rule(
        "private",
        Permanent,
        r"private (video|playlist)|\bis private\b|log.?in required|requires? (a )?log.?in|sign in|members.only|"
        r"join this channel|registered users|subscribers? only|requires? (payment|a subscription)|HTTP Error 401",
        "Only certain accounts may see it. Ask its owner to make it public, or upload the file.",
    ),
    _rule(
        "unsupported_url",
        Permanent,
        r"unsupported url|is not a valid url|no video could be found|no media found|no video formats found",
        "No video was found behind the address. Submit the address of the video's own page or file.",
        "UnsupportedError",
        "UnsupportedRequest",
    ),
    _rule(
        "format_unavailable",
        Permanent,
        r"requested format is not available|no (suitable )?formats? (found|available)",
        "The site offers no format with pictures. Check that the address leads to a video.",
    ),
    _rule(
        "missing_fragment",
        Transient,
        r"fragment .{0,60}(not found|unable to continue|unavailable)|fragment not found|giving up after .{0,20}fragment|"
        r"did not get any data blocks",
        "A part of the video is missing on the server; it is tried again later by itself.",
    ),
    _rule(
        "not_found",
        Permanent,
        r"video (is )?(unavailable|not available|not found|does not exist)|has been (removed|deleted)|no longer available|"
        r"account .{0,40}(terminated|closed|suspended)|content is(n't| not) available",
        "The site no longer has it. Check the address, or upload the file.",
        "UnavailableVideoError",
    ),
    _rule(
        "certificate",
        Permanent,
        r"certificate verify failed|certificate has expired|hostname mismatch",
        "The site's certificate is not valid. Check the address.",
        "CertificateVerifyError",
    ),
    _rule(
        "disk_full",
        Transient,
        r"no space left on device",
        "The disk filled up. Free some space; it is tried again by itself.",
    ),
    _rule(
        "unreachable",
        Transient,
        r"timed? ?out|connection (refused|reset|aborted)|name resolution|name or service not known|getaddrinfo|"
        r"remote end closed|network is unreachable|no route to host|incomplete ?read|more expected|EOF occurred|failed to resolve",
        "The server does not answer; it is tried again later by itself.",
        "TransportError",
        "IncompleteRead",
        "SSLError",
        "ContentTooShortError",
    ),
)

_SIGN_IN_HINT = re.compile(r"Use --\S.{0,80}(authentication|credentials)")
"""What yt-dlp adds to any site's sentence where signing in would help."""

_FOR_SOME = frozenset({"private", "premium_only", "subscriber_only", "needs_auth"})
"""Values of yt-dlp's ``availability`` with which not everybody may see a video."""

_STATUS_ADVICE = {
    400: "The server does not understand the address. Check it.",
    403: "The server refuses access. Ask its owner, or upload the file.",
    404: "There is nothing at this address. Check it for typing errors.",
    410: "The server says that it is gone for good. Upload the file instead.",
    451: "The server may not show it for legal reasons.",
}

REFUSED_FOR_GOOD = frozenset(
    {
        "ingest.bad_url",
        "ingest.drm",
        "ingest.forbidden_address",
        "ingest.live",
        "ingest.over_limits",
        "ingest.playlist",
        "ingest.playlist_expanded",
        "ingest.playlist_too_long",
        "ingest.premiere",
        "ingest.unsupported_url",
        "media.drm",
        "media.empty_file",
        "media.no_video_stream",
        "media.not_a_video",
        "media.over_limits",
    }
)
"""Codes after which a video is rejected: its source, not its transfer, is at fault. All others may be resumed."""


def classify(message: str, *, status: int | None = None, kinds: Collection[str] = ()) -> HeatersError:
    """The error that a failed download means.

    ``message`` is the library's sentence, ``status`` an HTTP status if there was one, ``kinds`` the class names of the
    exceptions that led to it.
    """
    said = _plain(message)
    if status is None and (found := re.search(r"HTTP Error (\d{3})", said)):
        status = int(found[1])
    for rule in _RULES:
        if rule.code == "ingest.unreachable" and status is not None:
            break
        if rule.fits(said, kinds):
            return rule.root(f"{rule.advice} (The site or server said: {said})", code=rule.code)
    if _SIGN_IN_HINT.search(message):
        return _by_code("private", said)
    if status is not None and 300 <= status < 400:
        return Permanent(
            f"The address leads from one place to the next without end. Check it. (The site or server said: {said})",
            code="ingest.redirect_loop",
        )
    if status is not None:
        root = Transient if status >= 500 or status in {408, 425} else Permanent
        advice = _STATUS_ADVICE.get(
            status,
            "The server failed; it is tried again later by itself." if status >= 500 else "Check the address.",
        )
        return root(f"The server answered {status}. {advice}", code=f"ingest.http_{status}")
    return Transient(f"The download failed: {said}. It is tried again by itself.", code="ingest.download_failed")


def by_availability(availability: str | None, age_limit: int | None) -> HeatersError | None:
    """The error that a page without anything to fetch means, by what yt-dlp says of who may see it; ``None`` if all may."""
    if availability == "needs_auth" and (age_limit or 0) >= 18:
        return _by_code("age_restricted")
    return _by_code("private") if availability in _FOR_SOME else None


def _by_code(code: str, said: str = "") -> HeatersError:
    (rule,) = (each for each in _RULES if each.code == f"ingest.{code}")
    return rule.root(f"{rule.advice} (The site or server said: {said})" if said else rule.advice, code=rule.code)


def _plain(message: str) -> str:
    """The library's sentence without colours, its own prefix, its advice on reporting bugs, and length."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", message)
    text = re.sub(r"^ERROR:\s*", "", text.strip())
    text = re.split(r"; please report this issue|\s*\(caused by|\s*Use --|\s*See  ?https?://", text, maxsplit=1)[0]
    return " ".join(text.split())[:500].rstrip(". ") or "no reason given"


def over_limits(what: str) -> Permanent:
    """The refusal of a source that is too long or too large."""
    return Permanent(
        f"{what}. Submit a shorter or smaller one, or raise the HEATERS_INGEST_MAX_… settings.",
        code="ingest.over_limits",
    )


class ListFound(Permanent):
    """The address leads to several videos: ``urls`` are theirs, at most one more than asked for."""

    code = "ingest.playlist"

    def __init__(self, title: str, urls: Sequence[str]) -> None:
        super().__init__(
            f"The address leads to a list of videos ({title!r}). Submit the address of each video by itself, or allow lists "
            "(HEATERS_INGEST_MAX_ENTRIES)."
        )
        self.title = title
        self.urls = tuple(urls)
