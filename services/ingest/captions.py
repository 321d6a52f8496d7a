"""Caption files of any common kind, made into WebVTT. Pure: bytes in, bytes out."""

from __future__ import annotations

import pysubs2
from pysubs2.exceptions import Pysubs2Error

from contracts.errors import Permanent
from services.media.captions import MAX_CAPTION_BYTES, Cue, parse_captions, write_vtt

READABLE = ("vtt", "srt", "ttml", "ass", "ssa")
"""Kinds that can be read, the best first: the first two lose nothing on the way."""


def to_cues(data: bytes, kind: str) -> tuple[Cue, ...]:
    """The cues of a caption file of one of the ``READABLE`` kinds.

    Raises:
        Permanent: ``captions.too_large``, ``captions.not_text``, ``captions.unreadable``.
    """
    if kind in {"vtt", "srt"}:
        return parse_captions(data)
    if len(data) > MAX_CAPTION_BYTES:
        raise Permanent("The caption file is too large to be one.", code="captions.too_large")
    try:
        parsed = pysubs2.SSAFile.from_string(data.decode("utf-8-sig"), format_=kind)
    except (Pysubs2Error, ValueError, KeyError, IndexError, SyntaxError) as error:
        raise Permanent(f"The {kind} captions cannot be read: {error}.", code="captions.unreadable") from error
    cues = [
        Cue(event.start, event.end, "\n".join(event.plaintext.splitlines()))
        for event in parsed
        if not event.is_comment and event.plaintext.strip() and event.start < event.end
    ]
    return tuple(sorted(cues, key=lambda cue: (cue.start, cue.end)))


def to_vtt(data: bytes, kind: str) -> bytes:
    """The same captions as WebVTT; empty bytes when they hold no cue. Raises as ``to_cues`` does."""
    cues = to_cues(data, kind)
    return write_vtt(cues) if cues else b""
