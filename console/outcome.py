"""What became of a video, and what that means for whoever waits: pure functions over the review service's answers."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

GAVE_UP = frozenset({"rejected", "download_failed", "preprocess_failed", "detect_scenes_failed"})
"""States in which a video's work has ended without success."""

UNDECIDED = "pending_review"
CLIP_GAVE_UP = frozenset({"export_failed", "keyframe_failed", "embedding_failed"})
CLIP_DONE = frozenset({"embedded", "review_skipped", "review_archived", "cleaned", "superseded"})
DELIVERED = frozenset(
    {"exported", "keyframing", "keyframed", "embedding", "embedded", "keyframe_failed", "embedding_failed"}
)

Video = Mapping[str, Any]

STATE_WORDS = {
    "new": "waiting",
    "downloading": "fetching",
    "downloaded": "fetched",
    "preprocessing": "making the proxy",
    "preprocessed": "proxy made",
    "detecting_scenes": "finding scenes",
    "ready": "clips",
    "rejected": "rejected",
    "download_failed": "fetching failed",
    "preprocess_failed": "preprocessing failed",
    "detect_scenes_failed": "finding scenes failed",
}


def is_final(video: Video | None, *, waits: bool = True) -> bool:
    """Whether nothing more will happen to a video by itself. Clips that wait for a person keep it open, if one ``waits``."""
    if video is None:
        return False
    if video["state"] in GAVE_UP:
        return True
    clips = video.get("clips") or ()
    settled = CLIP_DONE | CLIP_GAVE_UP | (frozenset() if waits else {UNDECIDED})
    return video["state"] == "ready" and bool(clips) and all(clip["state"] in settled for clip in clips)


def has_failed(video: Video) -> bool:
    """Whether a video, or one of its clips, ended without success."""
    return video.get("error") is not None or video["state"] in GAVE_UP or bool(failed_clips(video))


def failed_clips(video: Video) -> Sequence[Mapping[str, Any]]:
    """The clips that gave up."""
    return [clip for clip in video.get("clips") or () if clip["state"] in CLIP_GAVE_UP]


def error_of(video: Video) -> dict[str, Any] | None:
    """The video's error, or the first of its clips', as the published document spells it."""
    found = video.get("error") or next((clip["error"] for clip in failed_clips(video) if clip.get("error")), None)
    if found is None:
        if video["state"] in GAVE_UP or failed_clips(video):
            return {
                "code": "pipeline.failed",
                "message": "The work failed; see: heaters dead-letters, heaters status.",
                "stage": "",
            }
        return None
    return {"code": found["code"], "message": found["message"], "stage": found.get("stage", "")}


def unmet(video: Video, profiles: Collection[str], page: str) -> dict[str, Any] | None:
    """What a run asked for and will not get without a person, whether an earlier request or a person settled it; None if nothing."""
    clips = video.get("clips") or ()
    undecided = sum(clip["state"] == UNDECIDED for clip in clips)
    where = f"{page}/#/review/{video.get('duplicate_of') or video['id']}"
    if undecided:
        return {
            "code": "run.waits_for_review",
            "message": f"Clips that wait for a person, by an earlier request or decision: {undecided}. Decide at {where}, or give "
            "--review to wait here until that is done.",
            "stage": "review",
        }
    made = {each["profile"] for clip in clips for each in clip.get("deliverables") or ()}
    missing = [profile for profile in profiles if profile not in made]
    afresh = "or begin afresh in a data folder of its own: HEATERS_DATA=FOLDER."
    if clips and not made:
        return {
            "code": "run.nothing_delivered",
            "message": "No clip is delivered, for all are skipped or archived. Undo that, as far as it can be undone, at "
            f"{where} (H), {afresh}",
            "stage": "review",
        }
    if clips and missing:
        return {
            "code": "run.delivered_before",
            "message": f"Not made: {', '.join(missing)}. The clips are delivered as {', '.join(sorted(made))} already. Undo their "
            f"approvals and approve them in other profiles at {where} (H, Alt A), {afresh}",
            "stage": "export",
        }
    return None


def document(video: Video, source: str, files: Mapping[tuple[str, str], Mapping[str, Any]]) -> dict[str, Any]:
    """A video as ``run --json`` shows it; ``files`` are the copied bundles by (clip id, profile)."""
    return {
        "id": video.get("id"),
        "source": source,
        "state": video["state"],
        "title": video.get("title"),
        "frames": video.get("frames"),
        "rate": video.get("rate"),
        "duration": video.get("duration"),
        "error": error_of(video),
        "clips": [
            {
                "id": clip["id"],
                "state": clip["state"],
                "start_frame": clip["start_frame"],
                "end_frame": clip["end_frame"],
                "trace_id": clip["trace_id"],
                "deliverables": [
                    files[clip["id"], deliverable["profile"]]
                    for deliverable in clip.get("deliverables") or ()
                    if (clip["id"], deliverable["profile"]) in files
                ],
            }
            for clip in video.get("clips") or ()
            if clip["state"] != "superseded"
        ],
    }


def refused(source: str, title: str, code: str, message: str) -> dict[str, Any]:
    """The entry of what never became a video."""
    return {
        "id": None,
        "source": source,
        "state": "rejected",
        "title": title,
        "frames": None,
        "rate": None,
        "duration": None,
        "error": {"code": code, "message": message, "stage": "input"},
        "clips": [],
    }


def progress_of(video: Video) -> tuple[float, float]:
    """How far a video has come, as (done, total) on one scale: a third until its clips are born, the rest for the clips."""
    steps = ("new", "downloading", "downloaded", "preprocessing", "preprocessed", "detecting_scenes", "ready")
    if video["state"] not in steps:
        return 1.0, 1.0
    before = steps.index(video["state"]) / (len(steps) - 1) / 3
    clips = [clip for clip in video.get("clips") or () if clip["state"] != "superseded"]
    if video["state"] != "ready" or not clips:
        return before, 1.0
    return 1 / 3 + 2 / 3 * sum(_clip_share(clip["state"]) for clip in clips) / len(clips), 1.0


def _clip_share(state: str) -> float:
    order = (
        "pending_review",
        "review_approved",
        "exporting",
        "exported",
        "keyframing",
        "keyframed",
        "embedding",
        "embedded",
    )
    return order.index(state) / (len(order) - 1) if state in order else 1.0


def sentence(video: Video) -> str:
    """Where a video stands, in a few words."""
    words = STATE_WORDS.get(video["state"], str(video["state"]))
    clips = [clip for clip in video.get("clips") or () if clip["state"] != "superseded"]
    if video["state"] != "ready" or not clips:
        return words
    parts = [f"{sum(clip['state'] in CLIP_DONE for clip in clips)} of {len(clips)} clips done"]
    waiting = sum(clip["state"] == UNDECIDED for clip in clips)
    if waiting:
        parts.append(f"{waiting} to review")
    delivered = sum(clip["state"] in DELIVERED for clip in clips)
    if delivered:
        parts.append(f"{delivered} delivered")
    failed = len(failed_clips(video))
    if failed:
        parts.append(f"{failed} failed")
    return ", ".join(parts)
