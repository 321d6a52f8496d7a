"""Captions cut to a clip: parsed once, kept as exact milliseconds, shifted and clamped so that no cue leaves the clip.

Guarantees: every cue of the result satisfies ``0 <= start < end <= length``; the order is the source's order by start;
cues that do not touch the clip are dropped; text is kept. Bold, italics and underlining are kept in both formats, and
WebVTT keeps where a cue stands; other styling is reduced to plain text. Both formats end in a newline and hold no time
of day, so the same cues give the same bytes.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import pysubs2
from pysubs2.exceptions import Pysubs2Error

from contracts.errors import Permanent

MAX_CAPTION_BYTES = 32 * 1024 * 1024
"""A caption file for a day of speech is below 10 MB; anything larger is no caption file."""


@dataclass(frozen=True)
class Cue:
    """Text shown during ``[start, end)``, in whole milliseconds; lines are separated by a newline.

    ``styled`` is the same text as WebVTT with ``<b>``, ``<i>`` and ``<u>``, empty for plain text; ``settings`` are the
    words of WebVTT that say where the cue stands.
    """

    start: int
    end: int
    text: str
    styled: str = ""
    settings: str = ""


def parse_captions(data: bytes) -> tuple[Cue, ...]:
    """The cues of a WebVTT or SRT file, ordered by start then end.

    ``data`` is UTF-8, with or without a byte order mark. Cues without text or of no length are left out. Raises
    ``Permanent``: ``captions.too_large``, ``captions.not_text``, ``captions.unreadable``.
    """
    if len(data) > MAX_CAPTION_BYTES:
        message = (
            f"the caption file holds {len(data)} bytes, more than the {MAX_CAPTION_BYTES} allowed; supply a smaller one"
        )
        raise Permanent(message, code="captions.too_large")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        message = f"the caption file is not UTF-8 text ({error.reason} at byte {error.start}); convert it to UTF-8"
        raise Permanent(message, code="captions.not_text") from error
    if not text.strip():
        return ()
    form = "vtt" if text.lstrip().startswith("WEBVTT") else "srt"
    if form == "srt" and "-->" not in text:
        message = "the caption file is neither WebVTT nor SRT: it holds no timing line; supply one of the two"
        raise Permanent(message, code="captions.unreadable")
    try:
        parsed = pysubs2.SSAFile.from_string(_guarded(text), format_=form)
    except (Pysubs2Error, ValueError, IndexError, KeyError) as error:
        message = f"the caption file is neither WebVTT nor SRT: {error}; supply one of the two"
        raise Permanent(message, code="captions.unreadable") from error
    # Only WebVTT escapes its text, and pysubs2 leaves that to its caller.
    read = html.unescape if form == "vtt" else str
    places = _settings(text) if form == "vtt" else []
    if len(places) != len(parsed):
        places = [""] * len(parsed)
    cues = (
        Cue(event.start, event.end, _plain(read(event.plaintext)), _styled(read(event.text)), place)
        for event, place in zip(parsed, places, strict=True)
        if not event.is_comment
    )
    return tuple(
        sorted((cue for cue in cues if cue.text and cue.start < cue.end), key=lambda cue: (cue.start, cue.end))
    )


_GUARD = "\N{WORD JOINER}"


def _guarded(text: str) -> str:
    """The text with lines of bare digits marked where they are spoken text.

    pysubs2 takes digits at the end of a cue for the number of the next one, and would lose a count-down. A number that
    stands for the next cue follows a blank line; one that is text does not.
    """
    lines, before = [], ""
    for line in text.splitlines():
        lines.append(line + _GUARD if before.strip() and line.strip().isdigit() else line)
        before = line
    return "\n".join(lines)


def _plain(text: str) -> str:
    # A blank line inside a cue would end it, and "-->" would read as a timing line.
    lines = (" ".join(line.replace(_GUARD, "").split()).replace("-->", "→") for line in text.splitlines())
    return "\n".join(line for line in lines if line)


_TIMING = re.compile(r"^[ \t]*[\d:]+[.,]\d{3}[ \t]*-->[ \t]*[\d:]+[.,]\d{3}(.*)$", re.MULTILINE)
_SETTING = re.compile(r"(?:vertical|line|position|size|align):[\w.,%+-]{1,40}")


def _settings(text: str) -> list[str]:
    """Of each cue in a WebVTT file's order, the words that say where it stands."""
    return [
        " ".join(word for word in rest.split() if _SETTING.fullmatch(word))
        for rest in _TIMING.findall(text.replace("\r", ""))
    ]


_STYLE = re.compile(r"\{[^}]*\}")
_SWITCH = re.compile(r"\\([biu])([01])")
_MARKS = {
    (letter, on): chr(0xE000 + place) for place, (letter, on) in enumerate((x, y) for x in "biu" for y in (False, True))
}
"""Characters that nobody writes, to stand for tags while the text is brought into shape."""
_TAGS = {mark: f"<{letter}>" if on else f"</{letter}>" for (letter, on), mark in _MARKS.items()}


def _styled(text: str) -> str:
    """The text of a pysubs2 event with balanced ``<b>``, ``<i>`` and ``<u>``, as WebVTT; empty if it has no such style."""
    open_now: list[str] = []
    styled = False

    def switched(found: re.Match[str]) -> str:
        nonlocal styled
        marks = ""
        for letter, digit in _SWITCH.findall(found.group()):
            if digit == "1" and letter not in open_now:
                open_now.append(letter)
                marks += _MARKS[letter, True]
                styled = True
            elif digit == "0" and letter in open_now:
                inner = open_now[open_now.index(letter) + 1 :]
                marks += "".join(_MARKS[each, False] for each in (*reversed(inner), letter))
                marks += "".join(_MARKS[each, True] for each in inner)
                open_now.remove(letter)
        return marks

    text = "".join(letter for letter in text if letter not in _TAGS)
    marked = _STYLE.sub(switched, text).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    if not styled:
        return ""
    marked += "".join(_MARKS[each, False] for each in reversed(open_now))
    shaped = _escape(_plain(marked))
    return "".join(_TAGS.get(letter, letter) for letter in shaped)


def cut_captions(cues: Iterable[Cue], start: Fraction, end: Fraction) -> tuple[Cue, ...]:
    """The cues seen during ``[start, end)`` seconds, on a timeline that begins at ``start``.

    A cue that crosses an edge is clamped to it; what remains for less than a millisecond is dropped.
    """
    length = _milliseconds(end - start)
    kept = []
    for cue in cues:
        first = max(0, _milliseconds(Fraction(cue.start, 1000) - start))
        last = min(length, _milliseconds(Fraction(cue.end, 1000) - start))
        if first < last:
            kept.append(replace(cue, start=first, end=last))
    return tuple(sorted(kept, key=lambda cue: (cue.start, cue.end)))


def _milliseconds(seconds: Fraction) -> int:
    # Halves go up always, so that shifting by whole milliseconds and rounding commute.
    scaled = seconds * 1000 + Fraction(1, 2)
    return scaled.numerator // scaled.denominator


def write_vtt(cues: Sequence[Cue]) -> bytes:
    """The cues as WebVTT, UTF-8."""
    blocks = ["WEBVTT"]
    blocks += [
        f"{_stamp(cue.start, '.')} --> {_stamp(cue.end, '.')}{' ' if cue.settings else ''}{cue.settings}\n"
        f"{cue.styled or _escape(cue.text)}"
        for cue in cues
    ]
    return ("\n\n".join(blocks) + "\n").encode()


def write_srt(cues: Sequence[Cue]) -> bytes:
    """The cues as SubRip, UTF-8, numbered from 1."""
    blocks = [
        f"{number}\n{_stamp(cue.start, ',')} --> {_stamp(cue.end, ',')}\n{html.unescape(cue.styled) or cue.text}"
        for number, cue in enumerate(cues, start=1)
    ]
    return ("\n\n".join(blocks) + "\n").encode() if blocks else b""


def _stamp(milliseconds: int, separator: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02d}:{minutes:02d}:{seconds:02d}{separator}{thousandths:03d}"


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
