"""``./heaters``: the operator's command line. Results go to stdout, everything else to stderr; errors are sentences."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from console import profiles, show, stack
from console.home import REPOSITORY, find_home
from services.chassis import timeline

if TYPE_CHECKING:
    from console.api import Api
    from console.ledger import Connection
    from contracts.values import Options

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""Turns long videos into reviewed, delivered, searchable clips.

\b
  ./heaters run holiday.mp4             one video, all the way, to heaters-out
  ./heaters run --review talk.mkv       the same; a person decides over clips
  ./heaters run https://example.org/v   from an address
  ./heaters up                          keep the stack running
  ./heaters submit *.mp4                hand it work
  ./heaters status --watch              see what it is doing
  ./heaters test                        run every test""",
)
letters = typer.Typer(
    no_args_is_help=False, help="Messages that no service could use: list, show, replay or discard them."
)
app.add_typer(letters, name="dead-letters")
app.add_typer(profiles.app, name="profiles")
tokens = typer.Typer(
    no_args_is_help=True,
    help="Tokens for people and programs that reach the review page from other machines: create, list or revoke them.",
)
app.add_typer(tokens, name="token")

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Profiles = Annotated[
    list[str] | None, typer.Option("--profile", help="Export profile; may be repeated. See: heaters profiles.")
]
Tags = Annotated[list[str] | None, typer.Option("--tag", help="Tag of the video; may be repeated.")]
Title = Annotated[str | None, typer.Option(help="Title of the video; the file's name without it.")]
Detector = Annotated[str | None, typer.Option(help="Shot detector: adaptive, content, histogram, transnetv2 or fused.")]
Mastering = Annotated[str | None, typer.Option(help="What gets a lossless master: eager (all), approved, or none.")]
Captions = Annotated[
    list[str] | None, typer.Option("--captions", help="Caption language to keep, for example en; may be repeated.")
]
Whole = Annotated[bool, typer.Option("--whole", help="Do not look for scenes: one clip spans the video.")]


@app.command()
def run(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Paths or addresses of videos.")],
    out: Annotated[Path, typer.Option(help="Folder for the deliverables.")] = Path("heaters-out"),
    as_json: AsJson = False,
    review: Annotated[
        bool, typer.Option("--review", help="Wait for a person at the review page instead of approving every clip.")
    ] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards.")] = False,
    profile: Profiles = None,
    tag: Tags = None,
    title: Title = None,
    detector: Detector = None,
    mastering: Mastering = None,
    captions: Captions = None,
    whole: Whole = False,
) -> None:
    """Takes videos through the whole pipeline and copies the deliverables to a folder.

    The stack is started if it is not up, and stopped afterwards if nobody else uses it. Given again after an
    interruption, the command goes on where it was. Exits with 1 if any video failed.

    \b
      ./heaters run --out clips a.mp4 b.mov
      ./heaters run --profile delivery-h264 --profile archive-ffv1 talk.mp4
      ./heaters run --json a.mp4 > result.json
    """  # noqa: D301 - the mark that keeps the lines below apart.
    home = find_home()
    is_worth_it = any(_is_plausible(video) for video in videos)
    with stack.use(home) if is_worth_it else nullcontext():
        started = is_worth_it and stack.begin(home, keep=keep)
        # Imported while the stack starts.
        from console import outcome
        from console import run as runner

        options = _options(profile, detector, mastering, captions, whole=whole, human=review)
        entries = runner.run(home, videos, out, options, tags=tag or (), keep=keep, title=title)
    if started and not keep:
        runner.wait_until_stopped(home)
    if as_json:
        _print_json({"videos": entries})
    else:
        for entry in entries:
            if entry["clips"]:
                show.out.print(show.files_tree(entry["title"], entry))
    failures = [entry for entry in entries if entry["error"] is not None]
    for entry in failures:
        show.complain(f"{entry['source']}: {entry['error']['message']} ({entry['error']['code']})")
    if any(outcome.has_failed(entry) for entry in entries):
        raise typer.Exit(1)


@app.command()
def up(
    patience: Annotated[float, typer.Option("--wait", help="Seconds to wait until everything is ready.")] = 120.0,
) -> None:
    """Starts the stack and leaves it running. Work that was interrupted goes on by itself."""
    from console.run import start_stack

    home = find_home()
    with stack.use(home):
        begun = time.monotonic()
        access = start_stack(home, keep=True, until=stack.all_ready, patience=patience)
    if access.started:
        show.note(f"ready after {time.monotonic() - begun:.1f} s")
    show.out.print(f"review page  {access.service('review')}/", highlight=False)
    show.out.print(f"broker       {access.settings['HEATERS_KAFKA_BOOTSTRAP']}", highlight=False)
    show.out.print(f"objects      {access.settings['HEATERS_S3_ENDPOINT']}", highlight=False)
    show.out.print(f"data         {home.data}", highlight=False)


@app.command()
def down() -> None:
    """Stops the stack. Unfinished work stays in the ledger and goes on at the next start."""
    show.note("stopped" if stack.take_down(find_home()) else "the stack was not running")


@app.command()
def status(
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Show it again and again until Ctrl-C.")] = False,
    as_json: AsJson = False,
) -> None:
    """Shows the stack's parts, the work that waits, runs or failed, and dead letters."""
    if not watch:
        facts = _status()
        if as_json:
            _print_json(facts)
        else:
            for part in _render_status(facts):
                show.out.print(part)
        if not facts["up"]:
            raise typer.Exit(3)
        return
    from rich.console import Group
    from rich.live import Live

    with Live(console=show.out, auto_refresh=False, screen=show.out.is_terminal) as live:
        while True:
            live.update(Group(*_render_status(_status())), refresh=True)
            time.sleep(1)


def _status() -> dict[str, Any]:
    """Everything that ``status`` shows."""
    from console import ledger

    home = find_home()
    state = stack.read_state(home)
    facts: dict[str, Any] = {"up": bool(state), "state": state.get("state", "down"), "data": str(home.data)}
    facts |= {
        "supervisor": state.get("pid"),
        "parts": state.get("parts", []),
        "work": [],
        "running": [],
        "unpublished": {},
        "problem": "",
    }
    if not state:
        return facts
    access = stack.access(home, state=state)
    facts["review"] = access.service("review")
    try:
        with ledger.connect(access.settings["HEATERS_DATABASE_URL"]) as connection:
            facts["work"] = ledger.counts(connection)
            facts["running"] = ledger.running(connection)
            facts["unpublished"] = ledger.unpublished(connection)
    except ledger.LedgerError as error:
        facts["problem"] = str(error)
    return facts


def _render_status(facts: dict[str, Any]) -> Iterator[Any]:
    if not facts["up"]:
        yield f"The stack is down (data in {facts['data']}). Start it with: heaters up"
        return
    yield show.parts_table(facts)
    yield ""
    if facts["problem"]:
        yield facts["problem"]
    elif facts["work"]:
        yield show.work_table(facts["work"])
    else:
        yield "No work waits, runs or failed."
    if facts["running"]:
        yield ""
        yield show.running_table(facts["running"])
    waiting = sum(facts["unpublished"].values())
    if waiting:
        yield f"{waiting} events wait to be published."
    if any(row["state"] == "failed" for row in facts["work"]):
        yield "Failed work can be resumed with: heaters retry --all"


@app.command()
def submit(
    videos: Annotated[list[str], typer.Argument(metavar="VIDEO", help="Paths or addresses of videos.")],
    review: Annotated[
        str, typer.Option(help="Who decides over clips: human, or auto (every clip is approved).")
    ] = "human",
    as_json: AsJson = False,
    profile: Profiles = None,
    tag: Tags = None,
    title: Title = None,
    detector: Detector = None,
    mastering: Mastering = None,
    captions: Captions = None,
    whole: Whole = False,
) -> None:
    """Hands videos to a running stack and returns at once. Follow them with: heaters status --watch.

    \b
      ./heaters up
      ./heaters submit --review auto *.mp4
    """  # noqa: D301 - the mark that keeps the lines below apart.
    from console import intake
    from console import run as runner

    home = find_home()
    _must_be_up()
    options = _options(profile, detector, mastering, captions, whole=whole, human=review == "human", review=review)
    going = [runner.Going(intake.Named(name), title or intake.Named(name).title, options) for name in videos]
    for each in going:
        try:
            intake.check(each.named)
        except intake.InputError as error:
            each.refuse(error)
    with stack.use(home):
        tools = runner.connect(stack.bring_up(home, keep=False, until=runner.can_submit))
        with tools.board:
            runner.submit(tools, going, tag or (), given_title=title)
    found: list[dict[str, Any]] = [
        {
            "source": each.named.text,
            "id": str(each.video_id) if each.refusal is None else None,
            "error": (each.refusal or {}).get("error"),
        }
        for each in going
    ]
    if as_json:
        _print_json({"videos": found})
    for entry in found:
        if entry["error"] is not None:
            show.complain(f"{entry['source']}: {entry['error']['message']} ({entry['error']['code']})")
        elif not as_json:
            show.out.print(f"{entry['id']}  {entry['source']}", highlight=False, markup=False)
    if any(entry["error"] for entry in found):
        raise typer.Exit(1)


@app.command()
def retry(
    target: Annotated[
        UUID | None, typer.Argument(metavar="ID", help="A video's, a clip's or a piece of work's id.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that failed.")] = False,
    list_only: Annotated[bool, typer.Option("--list", help="Only list what failed, and why.")] = False,
) -> None:
    """Resumes failed work as a new run.

    \b
      ./heaters retry --list
      ./heaters retry 3f0c9a52-…      a video, a clip or one piece of work
      ./heaters retry --all
    """  # noqa: D301 - the mark that keeps the lines below apart.
    from console import ledger

    if not list_only and everything == (target is not None):
        raise typer.BadParameter("name one id, or say --all; heaters retry --list shows what failed")
    with _database() as connection:
        if list_only:
            rows = ledger.failed(connection)
            cells = [
                (
                    row["id"],
                    f"{row['service']}.{row['kind']}",
                    row["clip_id"] or row["video_id"],
                    (row["error"] or {}).get("code", ""),
                    (row["error"] or {}).get("message", ""),
                )
                for row in rows
            ]
            show.out.print(
                show.rows_table(("WORK", "STAGE", "VIDEO OR CLIP", "CODE", "WHY"), cells)
                if rows
                else "Nothing has failed."
            )
            return
        resumed = ledger.retry(connection, target)
    for row in resumed:
        show.out.print(f"resumed {row['service']}.{row['kind']} {row['id']}", highlight=False)
    if not resumed:
        show.complain(
            "there is no failed work under that id; see what failed with: heaters retry --list"
            if target
            else "nothing has failed"
        )
        raise typer.Exit(1 if target else 0)


@letters.callback(invoke_without_command=True)
def dead_letters(context: typer.Context) -> None:
    """Messages that no service could use."""
    if context.invoked_subcommand is None:
        list_letters(everything=False, limit=50, as_json=False)


@letters.command("list")
def list_letters(
    everything: Annotated[bool, typer.Option("--all", help="Also those that were dealt with.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="How many at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """Lists what no service could use, the newest first."""
    from itertools import islice

    from console.api import pages

    found = list(
        islice(pages(_review(), "/api/dead-letters", "dead_letters", state=None if everything else "open"), limit)
    )
    if as_json:
        _print_json({"dead_letters": found})
    elif not found:
        show.out.print("There are no dead letters.")
    else:
        show.out.print(
            show.rows_table(
                ("ID", "CONSUMERS", "TOPIC", "AT", "STATE", "WHY"),
                [
                    (
                        row["id"],
                        " ".join(row["consumers"]),
                        row["topic"],
                        f"{row['partition']}:{row['offset']}",
                        row["state"],
                        f"{row['code']}: {row['reason']}",
                    )
                    for row in found
                ],
            )
        )


@letters.command("show")
def show_letter(letter: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """Shows one dead letter whole: reason, headers and body."""
    _print_json(_review().get(f"/api/dead-letters/{letter}"))


@letters.command("replay")
def replay_letter(letter: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """Publishes the message again, after what was wrong with its consumer is mended."""
    _review().post(f"/api/dead-letters/{letter}/replay")
    show.note("published again")


@letters.command("discard")
def discard_letter(letter: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """Gives the message up; it stays on record."""
    _review().post(f"/api/dead-letters/{letter}/discard")
    show.note("discarded")


@tokens.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Whose it is; edits made with it are kept under this name.")],
    role: Annotated[
        str, typer.Option(help="What it may do: viewer (look), reviewer (edit, submit), operator (everything).")
    ] = "reviewer",
    days: Annotated[
        int | None, typer.Option(min=1, help="How long it lasts; until it is revoked without this.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Makes a token and shows it, this once.

    \b
      ./heaters token create ann
      ./heaters token create dashboard --role viewer --days 90
    """  # noqa: D301 - the mark that keeps the lines below apart.
    made = _review().post("/api/tokens", {"name": name, "role": role, **({"days": days} if days else {})})
    if as_json:
        _print_json(made)
        return
    show.note(f"{made['role']} {made['name']}, id {made['id']}; keep it, it is not shown again")
    show.out.print(made["token"], highlight=False, markup=False, soft_wrap=True)


@tokens.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """Lists the tokens, the newest first; what opens anything is never shown again."""
    found = _review().get("/api/tokens")["tokens"]
    if as_json:
        _print_json({"tokens": found})
    elif not found:
        show.out.print("There are no tokens.")
    else:
        cells = [
            (row["id"], row["name"], row["role"], row["created_at"], row["expires_at"] or "", row["revoked_at"] or "")
            for row in found
        ]
        show.out.print(show.rows_table(("ID", "NAME", "ROLE", "MADE", "ENDS", "REVOKED"), cells))


@tokens.command("revoke")
def revoke_token(token: Annotated[UUID, typer.Argument(metavar="ID")]) -> None:
    """Makes a token worthless."""
    _review().delete(f"/api/tokens/{token}")
    show.note("revoked")


@app.command()
def interchange(
    video: Annotated[UUID, typer.Argument(help="The video's id; heaters status and the review page show it.")],
    kind: Annotated[str, typer.Option("--format", help="otio, edl, fcpxml or csv.")] = "otio",
    state: Annotated[
        list[str] | None, typer.Option(help="Only clips in this state, for example review_approved; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="File to write; stdout without it.")] = None,
) -> None:
    """Writes a video's clips for other programs: OpenTimelineIO, CMX3600 EDL, FCPXML or CSV.

    \b
      ./heaters interchange 3f0c9a52-… --format edl --out talk.edl
    """  # noqa: D301 - the mark that keeps the lines below apart.
    from urllib.parse import urlencode

    from console.api import path_of

    query = urlencode([("state", each) for each in state or ()])
    path = path_of("api", "videos", video, "interchange", kind) + (f"?{query}" if query else "")
    data = _review().fetch("GET", path)
    if out is None:
        sys.stdout.buffer.write(data)
    else:
        out.write_bytes(data)
        show.note(f"wrote {out}")


@app.command(name="training-set")
def training_set(
    out: Annotated[Path, typer.Option(help="Folder for the shards and the index.")] = Path("training-set"),
    video: Annotated[
        list[UUID] | None, typer.Option("--video", help="Only clips of this video; may be repeated.")
    ] = None,
    clip: Annotated[list[UUID] | None, typer.Option("--clip", help="Only this clip; may be repeated.")] = None,
    tag: Annotated[str | None, typer.Option(help="Only clips with this tag.")] = None,
    profile: Annotated[str | None, typer.Option(help="The deliverable taken; each clip's first without it.")] = None,
    words: Annotated[
        str | None, typer.Option("--query", help="Only clips that a search for these words finds.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many a search finds at most.")] = 100,
    shard_mb: Annotated[int, typer.Option(min=1, help="Megabytes of a shard at most.")] = 1000,
) -> None:
    """Writes the delivered clips as a training set: WebDataset shards and a Parquet index.

    \b
      ./heaters training-set --out harbour --tag harbour
      ./heaters training-set --query "a bird on a branch" --profile delivery-h264
    """  # noqa: D301 - the mark that keeps the lines below apart.
    from urllib.parse import urlencode

    from console import training

    clips = [str(each) for each in clip or ()]
    if words:
        found = _api("embed").get("/api/search?" + urlencode({"q": words, "limit": limit}))["results"]
        clips += [row["clip_id"] for row in found]
        if not clips:
            show.complain(f"No clip was found like {words!r}; try other words.")
            raise typer.Exit(1)
    asked = {"video": video, "clip": clips, "tag": tag, "profile": profile, "shard_bytes": shard_mb * 1_000_000}
    for told in training.bring(_review(), out, asked):
        if isinstance(told, Path):
            show.note(f"wrote {told}")
        else:
            show.note(f"{told['samples']} samples in {len(told['shards'])} shards, {told['bytes'] / 1e6:.1f} MB")


@app.command()
def search(
    words: Annotated[list[str] | None, typer.Argument(metavar="WORDS", help="What the clip shows or tells.")] = None,
    similar: Annotated[UUID | None, typer.Option(metavar="CLIP", help="Clips like this clip.")] = None,
    image: Annotated[Path | None, typer.Option(metavar="FILE", help="Clips like this picture.")] = None,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="Groups of clips that are nearly the same.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 10,
    video: Annotated[UUID | None, typer.Option(help="Only clips of this video.")] = None,
    tag: Annotated[list[str] | None, typer.Option("--tag", help="Only clips with this tag; may be repeated.")] = None,
    state: Annotated[
        list[str] | None, typer.Option("--state", help="Only clips in this state; may be repeated.")
    ] = None,
    longer: Annotated[float | None, typer.Option(help="Only clips of at least so many seconds.")] = None,
    shorter: Annotated[float | None, typer.Option(help="Only clips of at most so many seconds.")] = None,
    since: Annotated[str | None, typer.Option(help="Only clips delivered since then, as 2026-01-31T12:00:00Z.")] = None,
    until: Annotated[str | None, typer.Option(help="Only clips delivered before then.")] = None,
    model: Annotated[str | None, typer.Option(help="The model to ask; the default one without it.")] = None,
    as_json: AsJson = False,
) -> None:
    """Finds clips by words, by a picture or by likeness.

    \b
      ./heaters search a bird on a branch
      ./heaters search --similar 3f0c9a52-… --tag beach
      ./heaters search --image frame.jpg --limit 5
      ./heaters search --duplicates
    """  # noqa: D301 - the mark that keeps the lines below apart.
    from urllib.parse import urlencode

    if [bool(words), similar is not None, image is not None, duplicates].count(True) != 1:
        raise typer.BadParameter("say one of: words, --similar CLIP, --image FILE, --duplicates")
    asked = {
        "q": " ".join(words) if words else None,
        "limit": limit,
        "video_id": video,
        "tag": tag or None,
        "state": state or None,
        "min_seconds": longer,
        "max_seconds": shorter,
        "since": since,
        "until": until,
        "model": model,
    }
    query = "?" + urlencode({name: value for name, value in asked.items() if value is not None}, doseq=True)
    api = _api("embed")
    if image is not None:
        import mimetypes

        kind = mimetypes.guess_type(image.name)[0] or "image/jpeg"
        try:
            picture = image.read_bytes()
        except OSError as error:
            show.complain(f"{image} cannot be read: {error.strerror}; name a picture file.")
            raise typer.Exit(1) from error
        found = api.call("POST", f"/api/search/image{query}", picture, kind)
    else:
        path = "" if words else "/duplicates" if duplicates else f"/similar/{similar}"
        found = api.call("GET", f"/api/search{path}{query}")
    if as_json:
        _print_json(found)
        return
    for said in ("advice", "notice"):
        if found.get(said):
            show.note(found[said])
    if duplicates:
        listed = [
            (f"{group['likeness']:.3f}", clip["clip_id"], clip["title"], clip["frame"])
            for group in found["groups"]
            for clip in group["clips"]
        ]
    else:
        listed = [
            (f"{row['score']:.3f}", row["clip_id"], row["title"], "" if row["frame"] is None else row["frame"])
            for row in found["results"]
        ]
    show.out.print(
        show.rows_table(("SCORE", "CLIP", "VIDEO", "FRAME"), listed) if listed else "Nothing was found like that."
    )


@app.command()
def reembed(
    model: Annotated[str | None, typer.Option(help="Only by this configured model; by all without it.")] = None,
    video: Annotated[UUID | None, typer.Option(help="Only the clips of this video.")] = None,
    keyframes: Annotated[
        bool, typer.Option("--keyframes", help="Take the keyframes anew as well, by the strategy now set.")
    ] = False,
) -> None:
    """Has clips embedded again as ordinary work. Searches use the former vectors until the new ones are whole."""
    body = {"model": model, "video_id": None if video is None else str(video), "keyframes": keyframes}
    count = _api("embed").post("/api/search/reembed", body)["clips"]
    show.note(f"{count} {'clip' if count == 1 else 'clips'} will be embedded again")


@app.command()
def trace(
    clip: Annotated[UUID, typer.Argument(metavar="CLIP", help="A clip's id.")],
    every: Annotated[
        bool, typer.Option("--all", help="Show the handling of each event too, not only the work.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Shows one timeline of a clip, from the request to its embedding, with each stage's queue time and run time."""
    from console import ledger

    with _database() as connection:
        spans = timeline.read(ledger.spans(connection, [clip.hex]))
        spans += timeline.read(ledger.spans(connection, timeline.linked_traces(spans, clip.hex)))
    lines = timeline.compose(spans, clip.hex, str(clip))
    if not lines:
        show.complain(
            f"there is no trace of a clip {clip}; clips are listed on the review page, and by heaters run --json"
        )
        raise typer.Exit(1)
    if not every and not as_json:
        lines = timeline.work_only(lines)
    if as_json:
        _print_json(
            {
                "clip_id": str(clip),
                "spans": [
                    {
                        "depth": line.depth,
                        "trace_id": line.span.trace_id,
                        "span_id": line.span.span_id,
                        "parent_id": line.span.parent_id,
                        "service": line.span.service,
                        "name": line.span.name,
                        "status": line.span.status,
                        "start_seconds": line.start,
                        "queue_seconds": line.span.queue_seconds,
                        "run_seconds": line.span.run_seconds,
                        "attributes": dict(line.span.attributes),
                    }
                    for line in lines
                ],
            }
        )
        return
    show.print_timeline(lines)


@app.command()
def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until Ctrl-C.")] = False,
    video: Annotated[UUID | None, typer.Option(help="Only this video's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Prints the events that the review service has heard, oldest first."""
    api = _review()
    after: Any = None
    while True:
        page = api.get("/api/events", video=video, after=after)
        for event in page["events"]:
            if as_json:
                print(json.dumps(event, default=str), flush=True)
            else:
                subject = f"clip {event['clip_id']}" if event["clip_id"] else f"video {event['video_id']}"
                line = f"{event['happened_at']}  {event['type']:<40}  {subject}"
                show.out.print(line, highlight=False, markup=False, soft_wrap=True)
            after = event["position"]
        if not page["events"]:
            if not follow:
                return
            time.sleep(0.5)


@app.command()
def doctor() -> None:
    """Checks this machine and this stack, and says what to do about what is wrong."""
    from console import doctor as checks

    home = find_home()
    found = list(checks.examine(home))
    for check in found:
        mark = {"good": "[green]ok  [/]", "poor": "[yellow]note[/]", "bad": "[red]BAD [/]"}[check.verdict]
        show.out.print(f"{mark} ", end="")
        show.out.print(check.sentence, highlight=False, markup=False, soft_wrap=True)
    if any(check.verdict == "bad" for check in found):
        raise typer.Exit(1)


@app.command()
def audit(
    mend: Annotated[
        bool, typer.Option("--mend", help="Delete objects that no row knows, and have missing ones made again.")
    ] = False,
    grace: Annotated[
        float, typer.Option(min=0, help="Seconds for which an object may lie there before its row must be known.")
    ] = 3600,
    as_json: AsJson = False,
) -> None:
    """Holds the object store against the database: objects that no row knows, and rows whose object is missing.

    \b
      ./heaters audit
      ./heaters audit --mend
    """  # noqa: D301 - the mark that keeps the lines below apart.
    from datetime import timedelta

    from console import audit as audits
    from services.chassis.objects import open_store
    from services.chassis.settings import ChassisSettings, load

    with _database() as connection:
        os.environ.update(stack.access(find_home()).settings)
        objects = open_store(load(ChassisSettings))
        found = audits.examine(connection, objects, grace=timedelta(seconds=grace))
        mended = audits.mend(connection, objects, found) if mend else None
    if as_json:
        _print_json(
            {
                "objects": found.objects,
                "due": found.due,
                "orphans": [{"key": each.key, "size": each.size, "modified": each.modified} for each in found.orphans],
                "missing": [
                    {
                        "key": each.key,
                        "service": each.maker.service,
                        "kind": each.maker.kind,
                        "work_id": each.maker.work_id,
                    }
                    for each in found.missing
                ],
                "deleted": mended.deleted if mended else [],
                "redone": [each.key for each in mended.redone] if mended else [],
                "lost": [each.key for each in mended.lost] if mended else [],
            }
        )
    else:
        show.print_audit(found, mended)
    left = mended.lost if mended is not None else (*found.orphans, *found.missing)
    if left:
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def test(context: typer.Context) -> None:
    """Runs the tests. What follows goes to pytest; --full gives the same tests their bigger numbers.

    All tests run in two processes side by side, named ones in one; -n says otherwise.

    \b
      ./heaters test
      ./heaters test --full
      ./heaters test tests/unit -k frame
    """  # noqa: D301 - the mark that keeps the lines below apart.
    os.chdir(REPOSITORY)
    is_part = any((REPOSITORY / argument).is_relative_to(REPOSITORY / "tests") for argument in context.args)
    processes = [] if is_part else ["-n", "2"]
    os.execv(  # noqa: S606 - no shell is wanted.
        sys.executable, [sys.executable, "-m", "pytest", *processes, *context.args]
    )


def _options(
    profile: list[str] | None,
    detector: str | None,
    mastering: str | None,
    captions: list[str] | None,
    *,
    whole: bool,
    human: bool,
    review: str = "",
) -> Options:
    """What the requester wants, checked while it can still be said plainly."""
    from pydantic import ValidationError

    from contracts.values import Options

    wanted: dict[str, Any] = {"review": review or ("human" if human else "auto"), "needs_splicing": not whole}
    if profile:
        _refuse_unknown(profile)
        wanted["profiles"] = tuple(profile)
    wanted |= {name: value for name, value in (("detector", detector), ("mastering", mastering)) if value}
    if captions:
        wanted["caption_languages"] = tuple(captions)
    try:
        return Options(**wanted)
    except ValidationError as error:
        first = error.errors()[0]
        raise typer.BadParameter(f"{first['loc'][0]}: {first['msg']}") from error


def _refuse_unknown(names: list[str]) -> None:
    """Refuses a profile that there is not, as far as that can be told now; the review service judges the others."""
    from console.api import ApiError
    from contracts.errors import Permanent
    from services.media.profiles import PROFILES, profile_named

    if PROFILES.keys() >= set(names):
        return
    try:
        known = {each.name: each for _, each in profiles.everything()}
    except ApiError:
        # The stack is just starting.
        return
    for name in names:
        try:
            profile_named(name, known)
        except Permanent as error:
            raise typer.BadParameter(error.message, param_hint="--profile") from error


def _is_plausible(video: str) -> bool:
    """Whether there may be something to do, by a glance; the exact judgement is made later."""
    return "://" in video or os.path.exists(os.path.expanduser(video))  # noqa: PTH110, PTH111 - quick, and never raises.


def _must_be_up() -> None:
    if not stack.is_up(find_home()):
        raise stack.StackError("the stack is not running; start it with: heaters up")


def _api(service: str) -> Api:
    from console.api import Api

    _must_be_up()
    access = stack.access(find_home())
    return Api(access.service(service), access.settings.get("HEATERS_HTTP_TOKEN", ""))


def _review() -> Api:
    return _api("review")


@contextmanager
def _database() -> Iterator[Connection]:
    from console import ledger

    _must_be_up()
    with ledger.connect(stack.access(find_home()).settings["HEATERS_DATABASE_URL"]) as connection:
        yield connection


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=1, default=str, ensure_ascii=False))


def main() -> int:
    """Runs a command; what the console knows how to say is said without a traceback."""
    from console.api import ApiError
    from contracts.errors import HeatersError

    try:
        app(prog_name="heaters")
    except (stack.StackError, ApiError, HeatersError) as error:
        show.complain(str(error))
        return 1
    except KeyboardInterrupt:
        show.complain("interrupted; work that was submitted stays in the ledger and goes on when the stack is up")
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
