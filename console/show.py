"""What a person sees: live progress, tables and timelines. Everything but a command's result goes to stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn
from rich.table import Column, Table
from rich.text import Text
from rich.tree import Tree

from console import outcome
from services.chassis import timeline

if TYPE_CHECKING:
    from console.audit import Findings, Mended

out = Console() if sys.stdout.isatty() else Console(width=200)
"""A pipe has no width of its own; a narrow guess would break ids apart."""
err = Console(stderr=True)

TITLE_WIDTH = 26
COLOURS = {
    "ready": "green",
    "external": "green",
    "failed": "red",
    "restarting": "red",
    "unwell": "yellow",
    "starting": "yellow",
}


def complain(sentence: str) -> None:
    """An error, as a sentence."""
    err.print(Text(f"heaters: {sentence}"), style="red", soft_wrap=True)


def note(sentence: str) -> None:
    """Something worth knowing."""
    err.print(Text(sentence), style="dim", soft_wrap=True)


class Board:
    """Live progress of uploads and videos: bars on a terminal, one line for each change elsewhere."""

    def __init__(self) -> None:
        self._live = err.is_terminal
        self._progress = Progress(
            TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, min_width=TITLE_WIDTH)),
            BarColumn(bar_width=20, table_column=Column(min_width=20)),
            TaskProgressColumn(table_column=Column(no_wrap=True, min_width=4)),
            TextColumn("{task.fields[words]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=err,
            transient=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._progress.stop()

    def put(self, key: str, title: str, share: float | None, words: str, *, steady: str | None = None) -> None:
        """Shows how far something has come. ``steady`` is what is said, once, where there is no terminal."""
        if self._live:
            if key not in self._tasks:
                self._tasks[key] = self._progress.add_task(shorten(title, TITLE_WIDTH), total=1.0, words="")
            self._progress.update(
                self._tasks[key],
                description=shorten(title, TITLE_WIDTH),
                completed=share or 0.0,
                words=words,
                total=None if share is None else 1.0,
            )
            return
        said = words if steady is None else steady
        if self._said.get(key) != said:
            self._said[key] = said
            err.print(Text(f"{title}: {said}"), soft_wrap=True)


def show_video(board: Board, key: str, title: str, video: outcome.Video | None, quiet: float = 0.0) -> None:
    """One video's row on the board. ``quiet`` is for how many seconds nothing has changed, when that is long."""
    hint = "nothing new for a while; see heaters status, heaters dead-letters" if quiet else ""
    if video is None:
        words = "asked for"
        share = 0.0
        active = ""
    else:
        done, total = outcome.progress_of(video)
        share = done / total
        words = outcome.sentence(video)
        error = outcome.error_of(video)
        if error:
            words = f"{words}: {error['code']}"
        active = activity(video.get("progress") or ())
        if any(clip["state"] == outcome.UNDECIDED for clip in video.get("clips") or ()):
            hint = ""
    shown = "  ".join(part for part in (words, active, f"({hint}: {clock(quiet)})" if hint else "") if part)
    board.put(key, title, share, shown, steady=f"{words} ({hint})" if hint else words)


def activity(progress: Sequence[Mapping[str, Any]]) -> str:
    """The most recent work in words: stage, how far, speed and the time that is left."""
    live = [piece for piece in progress if piece.get("fraction") is None or float(piece["fraction"]) < 1]
    if not live:
        return ""
    piece = live[-1]
    parts = [f"{piece.get('stage', '')}.{piece.get('kind', '')}".strip(".")]
    done, total, unit = piece.get("done"), piece.get("total"), piece.get("unit") or ""
    if done is not None:
        parts.append(
            amount(float(done), unit)
            + (f" of {amount(float(total), unit)}" if total else "")
            + (f" {unit}" if unit != "bytes" else "")
        )
    if piece.get("speed"):
        parts.append(f"{amount(float(piece['speed']), unit)}/s")
    if piece.get("eta_seconds") is not None:
        parts.append(f"{clock(float(piece['eta_seconds']))} left")
    if len(live) > 1:
        parts.append(f"(+{len(live) - 1} more)")
    return " ".join(parts)


def amount(value: float, unit: str) -> str:
    """A number of things or of bytes, for people."""
    if unit != "bytes":
        return f"{value:,.0f}"
    for name in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} {name}" if name == "B" else f"{value:.1f} {name}"
        value /= 1000
    return f"{value:.1f} TB"


def clock(value: float) -> str:
    """Seconds as minutes and seconds."""
    whole = int(value + 0.5)
    return (
        f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
        if whole >= 3600
        else f"{whole // 60}:{whole % 60:02d}"
    )


def shorten(text: str, width: int) -> str:
    """A text of one width; what is too long loses its middle."""
    if len(text) <= width:
        return text.ljust(width)
    return f"{text[: width // 2 - 1]}…{text[-(width - width // 2) :]}"


def parts_table(state: Mapping[str, Any]) -> Table:
    """The stack's parts."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("PART", "STATE", "ADDRESS", "PROCESS", "RESTARTS", ""):
        table.add_column(name)
    for part in state["parts"]:
        colour = COLOURS.get(part["state"], "")
        state_words = f"[{colour}]{part['state']}[/]" if colour else part["state"]
        pid = str(part["pid"] or "")
        table.add_row(
            part["name"],
            state_words,
            escape(part["address"]),
            pid,
            str(part["restarts"] or ""),
            escape(part["detail"][:120]),
        )
    return table


def work_table(counts: Sequence[Mapping[str, Any]]) -> Table:
    """Unfinished work."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("SERVICE", "WORK", "STATE", "PIECES", "OLDEST"):
        table.add_column(name, justify="right" if name in {"PIECES", "OLDEST"} else "left")
    for row in counts:
        colour = "red" if row["state"] == "failed" else ""
        table.add_row(
            row["service"],
            row["kind"],
            row["state"],
            str(row["pieces"]),
            timeline.seconds(row["age_seconds"]),
            style=colour,
        )
    return table


def running_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """What runs now."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("RUNNING", "VIDEO", "CLIP", "FOR", "PROGRESS"):
        table.add_column(name)
    for row in rows:
        table.add_row(
            f"{row['service']}.{row['kind']}",
            str(row["video_id"])[:8],
            str(row["clip_id"] or "")[:8],
            timeline.seconds(row["run_seconds"]),
            activity([{"stage": "", "kind": "", **(row["progress"] or {})}]),
        )
    return table


def rows_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Table:
    """A plain table."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(escape(str(cell)) for cell in row))
    return table


def print_timeline(lines: Sequence[timeline.Line], width: int = 40) -> None:
    """A clip's timeline as an indented list with bars."""
    length = max((line.end for line in lines), default=0.0)
    axis = timeline.axis(lines)
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("STAGE", no_wrap=True)
    for name in ("STARTED", "QUEUED", "RAN"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column(f"0 … {timeline.seconds(length)}", no_wrap=True)
    for line in lines:
        colour = "red" if line.span.status == "error" else ("green" if line.span.queue_seconds is not None else "")
        name = f"{'  ' * line.depth}{line.span.service}: {line.span.name}"
        table.add_row(
            Text(name, style=colour),
            f"+{timeline.seconds(line.start)}",
            timeline.seconds(line.span.queue_seconds),
            timeline.seconds(line.span.run_seconds),
            timeline.bar(line, axis, width),
        )
    out.print(table)
    if axis.idle:
        spells = ", ".join(timeline.seconds(end - start) for start, end in axis.idle)
        out.print(f"  drawn short, for nothing queued or ran: {spells}", highlight=False)
    for service, (queued, ran) in timeline.totals(lines).items():
        out.print(f"  {service}: {timeline.seconds(queued)} queued, {timeline.seconds(ran)} run", highlight=False)


def files_tree(title: str, video: Mapping[str, Any]) -> Tree:
    """A finished video's deliverables."""
    clips = video["clips"]
    words = f"{title}: {len(clips)} clip{'' if len(clips) == 1 else 's'}, {video['frames']} frames" if clips else title
    tree = Tree(Text(words))
    for clip in clips:
        for deliverable in clip["deliverables"]:
            folder = deliverable["manifest"].rpartition("/")[0]
            tree.add(Text(f"[{clip['start_frame']}, {clip['end_frame']}) {clip['state']}  {folder}"))
    return tree


def wait_message(state: Mapping[str, Any], begun: float) -> str:
    """What the stack is doing while it starts."""
    missing = [part["name"] for part in state["parts"] if part["state"] not in {"ready", "external"}]
    return f"Starting: {', '.join(missing)} ({time.monotonic() - begun:.0f} s)"


def print_audit(found: Findings, mended: Mended | None) -> None:
    """What an audit found, and what was done about it."""
    out.print(f"{found.objects} objects, {found.due} of them named by finished work.", highlight=False)
    redone = {each.key for each in mended.redone} if mended else set()
    rows: list[tuple[object, ...]] = [
        ("orphan", each.key, amount(each.size, "bytes"), "deleted" if mended and each.key in mended.deleted else "")
        for each in found.orphans
    ]
    rows += [
        (
            "missing",
            each.key,
            f"{each.maker.service}.{each.maker.kind}",
            ("is made again" if each.key in redone else "lost: its source is gone; submit it again") if mended else "",
        )
        for each in found.missing
    ]
    if not rows:
        out.print("Every object is known, and every known object is there.")
        return
    out.print(rows_table(("WHAT", "OBJECT", "OF", "DONE"), rows))
    if mended is None:
        out.print("Mend both with: heaters audit --mend", highlight=False)
