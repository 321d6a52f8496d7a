"""From what a person named on the command line to an ingest request.

Guarantees: a file's idempotency key follows from its content and the options, so that the same command
given again finds the same video instead of making another one.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from contracts.envelope import derived_id
from contracts.errors import Permanent
from contracts.events.v1.ingest import IngestRequested
from contracts.values import Options, UploadSource, UrlSource

URL = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


class InputError(Permanent):
    """What was named cannot be submitted."""

    code = "input.unusable"


@dataclass(frozen=True)
class Named:
    """A video as named: a path or a URL."""

    text: str

    @property
    def is_url(self) -> bool:
        """Whether it is to be fetched by the ingest service."""
        return URL.match(self.text) is not None

    @property
    def path(self) -> Path:
        """The local file."""
        return Path(self.text).expanduser()

    @property
    def title(self) -> str:
        """What it is called until the service knows better."""
        return self.text if self.is_url else self.path.stem or self.path.name


def check(named: Named) -> None:
    """Raises ``InputError`` for what is no readable file; the content is judged by the ingest service alone."""
    if named.is_url:
        return
    path = named.path
    try:
        is_file = path.is_file()
        exists = path.exists()
    except OSError as error:
        raise InputError(f"{path} cannot be looked at: {error.strerror}.", code="input.not_readable") from error
    if not exists:
        raise InputError(f"There is no file {path}; check the path.", code="input.not_found")
    if not is_file:
        raise InputError(f"{path} is no file; name the video files themselves.", code="input.not_a_file")
    try:
        path.open("rb").close()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read: {error.strerror}; allow reading it, for example with chmod +r.",
            code="input.not_readable",
        ) from error


def idempotency_key(identity: str, title: str, options: Options, attempt: int = 1) -> str:
    """One key for one content under one title with the same options; ``attempt`` asks for another go at it."""
    digest = hashlib.sha256(f"{identity}\n{title}\n{options.model_dump_json()}".encode()).hexdigest()
    return f"console:{digest[:40]}:{attempt}"


def video_id_of(key: str) -> UUID:
    """The id that the ingest service gives to the video of an idempotency key."""
    return derived_id("video", key)


def file_request(
    source: Mapping[str, object], title: str, options: Options, idempotency: str, tags: Sequence[str] = ()
) -> IngestRequested:
    """The request for an uploaded file."""
    return IngestRequested(
        source=UploadSource.model_validate(source),
        title=title,
        tags=tuple(tags),
        options=options,
        idempotency_key=idempotency,
    )


def url_request(
    url: str, title: str | None, options: Options, idempotency: str, tags: Sequence[str] = ()
) -> IngestRequested:
    """The request for an address; without a title the source's own one is taken."""
    return IngestRequested(
        source=UrlSource(url=url), title=title, tags=tuple(tags), options=options, idempotency_key=idempotency
    )


def content_type_of(path: Path) -> str:
    """A guess by the name; the ingest service looks into the file."""
    return mimetypes.guess_type(path.name)[0] or "application/octet-stream"


def attempt_for(
    find: Callable[[UUID], Mapping[str, object] | None], key: Callable[[int], str], gave_up: frozenset[str]
) -> tuple[int, bool]:
    """Which attempt to join or start: the first that is unknown or has not given up, and whether it is known.

    ``find`` looks a video up, ``key`` spells the idempotency key of an attempt.
    """
    attempt = 1
    while (video := find(video_id_of(key(attempt)))) is not None:
        if video["state"] not in gave_up:
            return attempt, True
        attempt += 1
    return attempt, False
