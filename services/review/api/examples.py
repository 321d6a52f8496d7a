"""Examples for readers of the OpenAPI document: one for each body that is sent, and for the answers met most.

They are told by the name of their model and are valid by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastapi import FastAPI

VIDEO = "0b6f7f0e-5a33-5d53-9c9b-3a5a0a5b7f01"
CLIP = "8a1f3c52-1f0e-5b7e-8f2d-6f0b1f6a2c11"
EDIT = "5d2f6c1a-7b1e-5c3d-9a4f-2e8b7c6d5e4f"
AT = "2026-03-01T09:30:00Z"
LATER = "2026-03-01T09:31:00Z"

_CLIP = {
    "id": CLIP,
    "video_id": VIDEO,
    "title": "Harbour at dawn",
    "rate": "24000/1001",
    "state": "review_approved",
    "start_frame": 120,
    "end_frame": 264,
    "version": 2,
    "trace_id": CLIP.replace("-", ""),
    "approved_by": "ann",
    "is_virtual": True,
    "origin": "detected",
    "confidence": 0.97,
    "tags": ["harbour"],
    "note": "",
    "parents": [],
    "children": [],
    "grouped_with": [],
    "last_edit": EDIT,
    "deliverables": [],
    "error": None,
    "created_at": AT,
    "changed_at": AT,
}
_EDIT = {
    "id": EDIT,
    "video_id": VIDEO,
    "kind": "approve",
    "by": "ann",
    "clips": [CLIP],
    "made_at": AT,
    "release_at": LATER,
    "undone_by": None,
    "redo_of": None,
    "redone_by": None,
    "command": {"command": "approve", "clips": [CLIP], "versions": [1]},
}
_SUMMARY = {
    "id": VIDEO,
    "source": {"kind": "url", "url": "https://example.org/harbour.mp4"},
    "state": "ready",
    "title": "Harbour at dawn",
    "tags": ["harbour"],
    "frames": 2880,
    "rate": "24000/1001",
    "duration": 120.12,
    "error": None,
    "duplicate_of": None,
    "mastered": True,
    "trace_id": VIDEO.replace("-", ""),
    "created_at": AT,
    "changed_at": AT,
    "progress": [],
    "clip_states": {"pending_review": 11, "review_approved": 1},
}
_RESULT = {"edit": _EDIT, "unchanged": None, "repeated": False, "clips": [_CLIP]}

EXAMPLES: dict[str, dict[str, Any]] = {
    "SessionBody": {"token": "hts_the-token-that-was-told-once"},
    "TokenBody": {"name": "ann", "role": "reviewer", "days": 90},
    "RestBody": {"command": "approve", "expected": 11, "by": "ann"},
    "UndoBody": {"by": "ann"},
    "RedoBody": {"by": "ann", "idempotency_key": "redo-1"},
    "BatchBody": {"command": "tag", "clips": [{"id": CLIP, "version": 2}], "add": ["harbour"], "by": "ann"},
    "BatchUndoBody": {"edits": [EDIT], "by": "ann"},
    "RequestBody": {
        "source": {"kind": "url", "url": "https://example.org/harbour.mp4"},
        "title": "Harbour at dawn",
        "tags": ["harbour"],
        "idempotency_key": "harbour-1",
    },
    "RetryBody": {"service": "export"},
    "ActBody": {"by": "ann"},
    "UploadBody": {"name": "harbour.mp4", "size": 73400320, "content_type": "video/mp4"},
    "PartsBody": {"numbers": [1, 2]},
    "ClipOut": _CLIP,
    "ClipPage": {"clips": [_CLIP], "next": None},
    "VideoPage": {"videos": [_SUMMARY], "next": None},
    "VideoOut": {**_SUMMARY, "clips": [_CLIP], "entries": []},
    "EditOut": _EDIT,
    "EditPage": {"edits": [_EDIT], "next": None},
    "EditResult": _RESULT,
    "BatchResult": {
        "results": [{"video_id": VIDEO, "edit": _EDIT, "unchanged": None, "problem": None, "clips": [_CLIP]}]
    },
    "RequestResult": {"event_id": EDIT, "idempotency_key": "harbour-1", "video_id": VIDEO},
}


def add_examples(app: FastAPI) -> None:
    """Puts the examples into the application's OpenAPI document."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        schemas = document["components"]["schemas"]
        for name, example in EXAMPLES.items():
            schemas[name]["examples"] = [example]
        return document

    app.openapi = described  # type: ignore[method-assign]
