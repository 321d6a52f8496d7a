"""Copies deliverables out of the object store to where a person finds them.

Guarantees: a bundle appears whole or not at all (it is made aside and renamed); every file is verified by size and
SHA-256; a bundle that lies there already, and is right, is not copied again.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from contracts.values import ObjectRef
from services.chassis.objects import ObjectStore, sha256_of

MANIFEST = "manifest.json"
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|]+')


def folder_name(title: str, taken: Collection[str], video_id: str) -> str:
    """A folder name for a video: its title as far as file systems allow, made unique by the id where needed."""
    name = _UNSAFE.sub("_", title).strip(" .")[:100].rstrip(" .") or "video"
    while len(name.encode()) > 200:
        name = name[:-1]
    return f"{name}-{video_id[:8]}" if name in taken else name


def bundle_name(position: int, profile: str) -> str:
    """The folder of one deliverable: the clip's position in the video, from 001, and the profile."""
    return f"{position:03d}-{profile}"


def copy_bundle(store: ObjectStore, deliverable: Mapping[str, Any], target: Path) -> dict[str, Any]:
    """Copies one deliverable to a folder and describes what lies there, with absolute paths."""
    wanted = {file["name"]: ObjectRef.model_validate(file["object"]) for file in deliverable["files"]}
    wanted[MANIFEST] = ObjectRef.model_validate(deliverable["manifest"])
    if not _is_there(target, wanted):
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = target.with_name(f".{target.name}.{os.getpid()}.part")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir()
        try:
            for name, ref in wanted.items():
                store.fetch(ref, fresh / name)
            if target.exists():
                shutil.rmtree(target)
            fresh.rename(target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return {
        "profile": deliverable["profile"],
        "manifest": str(target / MANIFEST),
        "files": [
            {
                "role": file["role"],
                "path": str(target / file["name"]),
                "size": file["object"]["size"],
                "sha256": file["object"]["sha256"],
            }
            for file in deliverable["files"]
        ],
    }


def _is_there(target: Path, wanted: Mapping[str, ObjectRef]) -> bool:
    if not target.is_dir() or {path.name for path in target.iterdir()} != set(wanted):
        return False
    return all(
        (target / name).stat().st_size == ref.size and sha256_of(target / name) == ref.sha256
        for name, ref in wanted.items()
    )
