"""Profiles that users add: documents in a folder, or kept beside the media under ``profiles/``.

The house's own profiles come first, then the folder's, then the kept ones: a name means one thing, and nobody can change
what a profile of the house makes. Guarantees: only valid documents are kept; a changed document needs a higher version,
so that a manifest's name and version always mean the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from contracts.errors import HeatersError, Permanent
from services.media.profiles import PROFILES, Profile, ProfileInvalid, read_folder, read_profile

PREFIX = "profiles/"
CONTENT_TYPE = "application/json"
MOST_KEPT = 1000


class Documents(Protocol):
    """Where documents are kept: the part of an object store that is needed here."""

    def put_bytes(self, data: bytes, key: str, content_type: str) -> Any:
        """Stores bytes under the key, replacing what was there."""

    def get_bytes(self, key: str) -> bytes:
        """The whole object."""

    def list(self, prefix: str) -> Iterator[str]:
        """Keys under a prefix, in order."""

    def delete(self, keys: Iterable[str]) -> int:
        """Deletes objects; those already gone are fine."""


def key_of(name: str) -> str:
    """Where the document of that name is kept."""
    return f"{PREFIX}{name}.json"


def find(names: Iterable[str], documents: Documents, folder: Path | None = None) -> dict[str, Profile]:
    """Those of the named profiles that there are.

    Raises:
        ProfileInvalid: a document that is needed was damaged since it was kept.
        Transient: the store does not answer.
    """
    known = known_without_store(folder)
    found: dict[str, Profile] = {}
    for name in dict.fromkeys(names):
        profile = known.get(name) or _kept(name, documents)
        if profile is not None:
            found[name] = profile
    return found


def known_without_store(folder: Path | None = None) -> dict[str, Profile]:
    """The house's profiles and the folder's, by name.

    Raises:
        ProfileInvalid: a file of the folder is none, or has the name of one of the house.
        Permanent: ``profile.no_folder``.
    """
    found = dict(PROFILES)
    if folder is None:
        return found
    if not folder.is_dir():
        raise Permanent(
            f"There is no folder {folder}. Make it, or correct HEATERS_PROFILE_FOLDER.", code="profile.no_folder"
        )
    for name, profile in read_folder(folder).items():
        if name in PROFILES:
            raise ProfileInvalid(f"The file of {name}", [("name", "the house has a profile of that name already")])
        found[name] = profile
    return found


def everything(documents: Documents, folder: Path | None = None) -> list[tuple[str, Profile]]:
    """Every profile with where it comes from: ``house``, ``folder`` or ``store``, by name; damaged documents are left out."""
    known = known_without_store(folder)
    found = [("house" if name in PROFILES else "folder", profile) for name, profile in known.items()]
    for key in documents.list(PREFIX):
        name = key.removeprefix(PREFIX).removesuffix(".json")
        with suppress(ProfileInvalid):
            profile = None if name in known else _kept(name, documents)
            if profile is not None:
                found.append(("store", profile))
    return sorted(found, key=lambda row: row[1].name)


def refuse_taken(profile: Profile, documents: Documents, folder: Path | None = None) -> bool:
    """Whether keeping the profile would change anything.

    Raises:
        Permanent: ``profile.name_taken`` by the house or a file, ``profile.version_not_raised``, ``profile.too_many``.
    """
    if profile.name in known_without_store(folder):
        raise Permanent(
            f"{profile.name} is a profile of the house or of the folder already. Choose another name for yours.",
            code="profile.name_taken",
        )
    before: Profile | None = None
    with suppress(ProfileInvalid):
        before = _kept(profile.name, documents)
    if before == profile:
        return False
    if before is not None and profile.version <= before.version:
        raise Permanent(
            f"{before.label} is kept with another content. Give the changed document the version {before.version + 1}, so "
            "that manifests stay true.",
            code="profile.version_not_raised",
        )
    if before is None and sum(1 for _ in documents.list(PREFIX)) >= MOST_KEPT:
        raise Permanent(f"{MOST_KEPT} profiles are kept, and no more. Remove one first.", code="profile.too_many")
    return True


def keep(profile: Profile, documents: Documents, folder: Path | None = None) -> bool:
    """Keeps a profile; whether anything changed. Raises what ``refuse_taken`` does."""
    if not refuse_taken(profile, documents, folder):
        return False
    body = json.dumps(profile.document(), sort_keys=True, indent=2, ensure_ascii=False) + "\n"
    documents.put_bytes(body.encode(), key_of(profile.name), CONTENT_TYPE)
    return True


def remove(name: str, documents: Documents, folder: Path | None = None) -> None:
    """Removes a kept profile; bundles made with it stay.

    Raises:
        Permanent: ``profile.not_removable`` for those of the house or the folder, ``profile.unknown``.
    """
    if name in known_without_store(folder):
        raise Permanent(
            f"{name} is a profile of the house or of the folder, and is not removed here. Take its file out of the folder, "
            "or leave it out of the plan.",
            code="profile.not_removable",
        )
    if key_of(name) not in documents.list(key_of(name)):
        raise Permanent(
            f"There is no kept profile called {name!r}. See what there is with: heaters profiles.",
            code="profile.unknown",
        )
    documents.delete([key_of(name)])


def _kept(name: str, documents: Documents) -> Profile | None:
    try:
        data = documents.get_bytes(key_of(name))
    except HeatersError as error:
        if error.code == "objects.missing":
            return None
        raise
    return read_profile(data, origin=f"The kept profile {name}", form="json")
