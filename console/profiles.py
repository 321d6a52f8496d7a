"""``./heaters profiles``: what deliverables there are, and how to add one's own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from console import show, stack
from console.api import Api, path_of
from console.home import find_home
from contracts.errors import Permanent

if TYPE_CHECKING:
    from services.media.profiles import Profile

app = typer.Typer(
    no_args_is_help=False,
    rich_markup_mode="rich",
    help="""Export profiles: list, show, check, add or remove them.

A profile is a document in TOML or JSON that says what a deliverable is: container, codecs, quality, size, loudness. The
house has some; take one of them as a pattern for yours:

\b
  ./heaters profiles                            what there is
  ./heaters profiles show delivery-h264         one, as a document
  ./heaters profiles show delivery-h264 > mine.toml
  ./heaters profiles check mine.toml            is it valid, and does its encoder take it?
  ./heaters profiles add mine.toml              keep it, for every service of the stack
  ./heaters run --profile mine talk.mp4         deliver with it
  ./heaters profiles remove mine

Give the document a name of its own, and raise its version whenever you change it: a manifest's name and version then
always mean the same bytes. HEATERS_PROFILE_FOLDER names a folder of such files that need no adding.
""",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
File = Annotated[Path, typer.Argument(metavar="FILE", help="A document in TOML, or JSON if it ends in .json.")]
Name = Annotated[str, typer.Argument(metavar="NAME")]


@app.callback(invoke_without_command=True)
def profiles(context: typer.Context, as_json: AsJson = False) -> None:
    """Export profiles: list, show, check, add or remove them."""
    if context.invoked_subcommand is None:
        list_profiles(as_json)


@app.command("list")
def list_profiles(as_json: AsJson = False) -> None:
    """Lists the profiles; with the stack running also those that were added."""
    found = everything()
    if as_json:
        print(json.dumps({"profiles": [{"origin": origin, **each.document()} for origin, each in found]}, indent=1))
        return
    rows = [
        (each.label, origin, each.extension, each.video.codec, each.audio.codec, each.purpose) for origin, each in found
    ]
    show.out.print(show.rows_table(("PROFILE", "FROM", "FILE", "VIDEO", "AUDIO", "FOR"), rows))


@app.command("show")
def show_profile(name: Name, as_json: AsJson = False) -> None:
    """Shows a profile as the document that makes it; in TOML, or in JSON."""
    from services.media.profiles import profile_named

    profile = profile_named(name, {each.name: each for _, each in everything()})
    document = profile.document()
    print(json.dumps(document, indent=1, ensure_ascii=False) if as_json else as_toml(document))


@app.command("check")
def check(file: File) -> None:
    """Tells whether a document is valid, and has its encoder try it. The stack need not run."""
    from services.media.trial import try_profile

    profile = _read(file)
    try_profile(profile)
    show.out.print(f"{profile.label} is valid, and its encoder takes it.", highlight=False, markup=False)


@app.command("add")
def add(file: File) -> None:
    """Keeps a profile for every service of the running stack, once its encoder took it."""
    profile = _read(file)
    _api().call(
        "PUT", "/api" + path_of("profiles", profile.name), json.dumps(profile.document()).encode(), "application/json"
    )
    show.out.print(f"{profile.label} is kept. Ask for it with --profile {profile.name}.", highlight=False, markup=False)


@app.command("remove")
def remove(name: Name) -> None:
    """Removes a profile that was added. What was made with it stays."""
    _api().call("DELETE", "/api" + path_of("profiles", name))
    show.note(f"removed {name}")


def everything() -> list[tuple[str, Profile]]:
    """Every profile that can be asked for, with where it comes from: of a stack that is down those that lie in files."""
    from services.chassis.settings import ChassisSettings, load
    from services.media.profiles import PROFILES, profile_from
    from services.media.shelf import known_without_store

    if stack.is_up(find_home()):
        answer = _api().get("/api/profiles")["profiles"]
        return [(each["origin"], profile_from(each["document"], origin=each["name"])) for each in answer]
    known = known_without_store(load(ChassisSettings).profile_folder)
    return sorted(
        (("house" if name in PROFILES else "folder", profile) for name, profile in known.items()),
        key=lambda row: row[1].name,
    )


def _read(file: Path) -> Profile:
    from services.media.profiles import read_profile

    try:
        data = file.read_bytes()
    except OSError as error:
        raise Permanent(
            f"{file} cannot be read ({error.strerror}). Check the path.", code="profile.unreadable"
        ) from error
    return read_profile(data, origin=file.name, form="json" if file.suffix == ".json" else None)


def _api() -> Api:
    home = find_home()
    if not stack.is_up(home):
        raise stack.StackError("the stack is not running; start it with: heaters up")
    access = stack.access(home)
    return Api(access.service("review"), access.settings.get("HEATERS_HTTP_TOKEN", ""))


def as_toml(document: dict[str, Any]) -> str:
    """The document in TOML: plain values first, then a table for each part."""
    lines = [f"{name} = {_toml(value)}" for name, value in document.items() if not _is_part(name, value)]
    for name, value in document.items():
        if _is_part(name, value):
            lines += ["", f"[{name}]", *(f"{key} = {_toml(inner)}" for key, inner in value.items())]
    return "\n".join(lines)


def _is_part(name: str, value: object) -> bool:
    return isinstance(value, dict) and not name.endswith("options")


def _toml(value: object) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + " }"
    # For texts, numbers, truth values and lists of them both languages are spelt alike.
    return json.dumps(value, ensure_ascii=False)
