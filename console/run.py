"""``heaters run``: takes videos all the way, from a path or a URL to deliverables in a folder.

Guarantees: what cannot be submitted, and what fails on the way, is an entry with a code and a sentence while the other
videos go on; a playlist is followed as the videos that it became; the same command given again joins the work it began;
an interrupted command leaves the work in the ledger, where the next start of the stack finds it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

from console import deliver, intake, ledger, outcome, show, stack
from console.api import Api, ApiError
from console.home import Home
from console.intake import InputError, Named
from console.stack import Access
from console.uploads import send_file
from contracts.errors import HeatersError
from contracts.events.v1.ingest import IngestRequested
from contracts.values import Options, ReviewPolicy
from services.chassis.objects import S3Store, open_store, sha256_of
from services.chassis.settings import ChassisSettings, load

POLL = 0.3
QUIET = 30.0
"""Seconds without any change after which the board says so, and where to look."""
LONGEST_SILENCE = 60.0
"""Seconds for which the review service may be away, for it is started again by then."""

NEEDED = ("objects", "database", "broker", "review")


@dataclass
class Going:
    """One video on its way."""

    named: Named
    title: str
    options: Options = field(default_factory=Options)
    video_id: UUID | None = None
    request: IngestRequested | None = None
    video: dict[str, Any] | None = None
    refusal: dict[str, Any] | None = None
    changed_at: float = field(default_factory=time.monotonic)
    is_entry: bool = False
    """Whether a list named it; its address and title are then told by its own video."""

    @property
    def key(self) -> str:
        """Its row on the board."""
        return str(self.video_id) if self.is_entry else self.named.text

    @property
    def label(self) -> str:
        """What its row is called."""
        return self.title if self.is_entry else self.named.title

    @property
    def entries(self) -> tuple[UUID, ...]:
        """The videos that it became, if it proved to be a list."""
        return tuple(UUID(each) for each in (self.video or {}).get("entries") or ())

    @property
    def is_over(self) -> bool:
        """Whether nothing more is to be waited for."""
        return self.refusal is not None or outcome.is_final(self.video, waits=self.waits)

    @property
    def waits(self) -> bool:
        """Whether people are waited for."""
        return self.options.review is ReviewPolicy.HUMAN

    def refuse(self, error: HeatersError) -> None:
        """Ends it before it became a video."""
        self.refusal = outcome.refused(self.named.text, self.title, error.code, error.message)


@dataclass(frozen=True)
class Tools:
    """What a run works with, once the stack is up."""

    access: Access
    review: Api
    store: S3Store
    settings: ChassisSettings
    board: show.Board = field(default_factory=show.Board)


def connect(access: Access) -> Tools:
    """Clients of a stack."""
    os.environ.update(access.settings)
    settings = load(ChassisSettings)
    token = settings.http_token.get_secret_value()
    return Tools(access, Api(access.service("review"), token), open_store(settings), settings)


def start_stack(home: Home, *, keep: bool, until: Callable[[stack.State], bool], patience: float = 120.0) -> Access:
    """Brings the stack up with a line that says what is awaited."""
    begun = time.monotonic()
    if not show.err.is_terminal or stack.is_up(home):
        return stack.bring_up(home, keep=keep, until=until, patience=patience)
    with show.err.status("Starting the stack") as status:

        def watch(state: stack.State) -> None:
            status.update(show.wait_message(state, begun))

        return stack.bring_up(home, keep=keep, until=until, patience=patience, watch=watch)


def can_submit(state: stack.State) -> bool:
    """Whether the stack can take videos."""
    return bool(state.get("topics")) and bool(state.get("bucket")) and stack.is_ready(state, *NEEDED)


def run(
    home: Home, names: Sequence[str], out: Path, options: Options, *, tags: Sequence[str], keep: bool, title: str | None
) -> list[dict[str, Any]]:
    """Everything from the names to the document's entries, in the order of the names. Raises ``StackError``."""
    going = [Going(Named(name), title or Named(name).title, options) for name in names]
    for each in going:
        try:
            intake.check(each.named)
        except InputError as error:
            each.refuse(error)
    if all(each.is_over for each in going):
        return [_entry(each, {}, "") for each in going]
    with stack.use(home):
        access = start_stack(home, keep=keep, until=can_submit)
        tools = connect(access)
        with tools.board:
            submit(tools, going, tags, given_title=title)
            if options.review is ReviewPolicy.HUMAN:
                show.note(f"Review the clips at {access.service('review')}/ ; this waits until all are decided.")
            follow(tools, going)
        for each in going:
            if (each.video or {}).get("duplicate_of"):
                show.note(
                    f"{each.named.text}: the same video was handed in before. What was asked for then holds, its detector, "
                    "profiles and tags included; a data folder of its own (HEATERS_DATA=FOLDER) begins afresh."
                )
        return collect(tools, going, out)


def submit(tools: Tools, going: Sequence[Going], tags: Sequence[str], *, given_title: str | None = None) -> None:
    """Uploads what is local and hands in the requests, but for those that are known already."""
    for each in going:
        if each.refusal is None:
            try:
                _prepare(tools, each, tags, given_title)
                if each.request is not None:
                    # Through the review service, whose outbox keeps the request whatever becomes of the broker.
                    tools.review.post("/api/requests", each.request.model_dump(mode="json"))
            except HeatersError as error:
                each.refuse(error)
            except ApiError as error:
                if not 400 <= error.status < 500:
                    raise
                each.refuse(InputError(str(error), code=error.code or "input.not_submitted"))
            except OSError as error:
                each.refuse(
                    InputError(f"{each.named.text} could not be read to its end: {error}.", code="input.not_readable")
                )


def _prepare(tools: Tools, each: Going, tags: Sequence[str], given_title: str | None) -> None:
    """Finds or makes the request of one video."""
    key, options = each.named.text, each.options
    if each.named.is_url:
        identity, sha256 = each.named.text, ""
    else:
        size = each.named.path.stat().st_size
        sha256 = sha256_of(each.named.path, _Meter(tools.board, key, each.named.title, "reading", size))
        identity = f"{sha256} {each.named.path.name}"

    def spell(attempt: int) -> str:
        return intake.idempotency_key(identity, each.title, options, attempt)

    attempt, is_known = intake.attempt_for(lambda video_id: find(tools.review, video_id), spell, outcome.GAVE_UP)
    each.video_id = intake.video_id_of(spell(attempt))
    if is_known:
        if outcome.failed_clips(find(tools.review, each.video_id) or {}):
            with ledger.connect(tools.settings.database_url.get_secret_value()) as connection:
                ledger.retry(connection, each.video_id)
        return
    if each.named.is_url:
        each.request = intake.url_request(each.named.text, given_title, options, spell(attempt), tags)
        return
    path = each.named.path
    if not path.stat().st_size:
        raise InputError(f"{path} is empty; the transfer to this machine may have failed.", code="media.empty_file")
    meter = _Meter(tools.board, key, each.named.title, "uploading", path.stat().st_size)
    source = send_file(tools.review, path, sha256, intake.content_type_of(path), meter)
    each.request = intake.file_request(source, each.title, options, spell(attempt), tags)


class _Meter:
    """Shows bytes moved, with speed and the time that is left."""

    def __init__(self, board: show.Board, key: str, title: str, verb: str, total: int) -> None:
        self._board, self._key, self._title, self._verb, self._total = board, key, title, verb, total
        self._begun = time.monotonic()
        self._done = 0
        self._shown = 0.0

    def __call__(self, moved: int) -> None:
        self._done += moved
        now = time.monotonic()
        if now - self._shown < 0.1 and self._done < self._total:
            return
        self._shown = now
        speed = self._done / max(now - self._begun, 1e-6)
        left = (self._total - self._done) / speed if speed else 0.0
        words = f"{self._verb} {show.amount(self._done, 'bytes')} of {show.amount(self._total, 'bytes')}, {show.amount(speed, 'bytes')}/s, {show.clock(left)} left"
        self._board.put(self._key, self._title, self._done / max(self._total, 1), words, steady=self._verb)


def find(review: Api, video_id: UUID) -> dict[str, Any] | None:
    """A video as the review service sees it; nothing while it knows none."""
    try:
        found = review.get(f"/api/videos/{video_id}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return dict(found)


def follow(tools: Tools, going: list[Going]) -> None:
    """Watches until every video is over; a list gives way to its entries. Raises ``ApiError`` when review stays away."""
    last_answer = time.monotonic()
    while True:
        for each in tuple(going):
            if each.refusal is not None:
                show_refusal(tools.board, each)
            elif not each.is_over and each.video_id is not None:
                try:
                    found = find(tools.review, each.video_id)
                    last_answer = time.monotonic()
                    if found != each.video:
                        each.changed_at = last_answer
                    each.video = found or each.video
                    if each.entries:
                        tools.board.put(each.key, each.label, 1.0, f"a list of {len(each.entries)} videos")
                        _unfold(going, each)
                        continue
                    if each.is_entry and each.video is not None:
                        _take_name(each, each.video)
                except ApiError as error:
                    stack.revive(tools.access.home)
                    # A service that was killed is back soon; only a lasting silence is told.
                    if 400 <= error.status < 500 or time.monotonic() - last_answer > LONGEST_SILENCE:
                        raise
                quiet = time.monotonic() - each.changed_at
                show.show_video(tools.board, each.key, each.label, each.video, quiet if quiet > QUIET else 0)
        if all(each.is_over for each in going):
            return
        time.sleep(POLL)


def _unfold(going: list[Going], parent: Going) -> None:
    """Puts the entries of a list in its place, but for those that are followed already."""
    followed = {each.video_id for each in going}
    many = len(parent.entries)
    new = [
        Going(
            Named(str(video_id)),
            f"{number} of {many} of {parent.label}",
            parent.options,
            video_id=video_id,
            is_entry=True,
        )
        for number, video_id in enumerate(parent.entries, 1)
        if video_id not in followed
    ]
    at = going.index(parent)
    going[at : at + 1] = new


def _take_name(each: Going, video: dict[str, Any]) -> None:
    """An entry of a list is called what its own video is called, as soon as that is known."""
    each.named = Named((video.get("source") or {}).get("url") or each.named.text)
    each.title = video["title"] or each.title


def show_refusal(board: show.Board, each: Going) -> None:
    """A video that never became one."""
    if each.refusal:
        board.put(each.named.text, each.named.title, 1.0, each.refusal["error"]["message"])


def collect(tools: Tools, going: Sequence[Going], out: Path) -> list[dict[str, Any]]:
    """Copies the deliverables and makes the document's entries."""
    entries: list[dict[str, Any]] = []
    folders: dict[str, str] = {}
    for each in going:
        files: dict[tuple[str, str], dict[str, Any]] = {}
        if each.video is not None:
            video_id = str(each.video["id"])
            taken = {name for name, owner in folders.items() if owner != video_id}
            folder = deliver.folder_name(each.video.get("title") or each.title, taken, video_id)
            folders[folder] = video_id
            clips = [clip for clip in each.video.get("clips") or () if clip["state"] != "superseded"]
            for position, clip in enumerate(sorted(clips, key=lambda clip: int(clip["start_frame"])), 1):
                for deliverable in clip.get("deliverables") or ():
                    target = out / folder / deliver.bundle_name(position, deliverable["profile"])
                    files[clip["id"], deliverable["profile"]] = deliver.copy_bundle(
                        tools.store, deliverable, target.absolute()
                    )
        entries.append(_entry(each, files, tools.access.service("review")))
    return entries


def _entry(each: Going, files: dict[tuple[str, str], dict[str, Any]], page: str) -> dict[str, Any]:
    if each.video is None:
        return each.refusal or outcome.refused(
            each.named.text, each.title, "input.lost", "The request was not taken; run this again."
        )
    entry = outcome.document(each.video, each.named.text, files)
    if entry["error"] is None and not each.waits:
        entry["error"] = outcome.unmet(each.video, each.options.profiles, page)
    entry["clips"].sort(key=lambda clip: clip["start_frame"])
    return entry


def wait_until_stopped(home: Home) -> None:
    """A stack that this run started stops when nobody else uses it; a moment's wait leaves a quiet machine behind."""
    deadline = time.monotonic() + 3
    while (state := stack.read_state(home)) and not home.keep_file.exists() and time.monotonic() < deadline:
        if state["state"] == "stopping":
            stack.wait_for_end(home, state)
            return
        time.sleep(0.05)
