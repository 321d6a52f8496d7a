"""Export's rules without I/O: preflight, names, keys and events."""

from __future__ import annotations

from fractions import Fraction
from uuid import UUID

import pytest

from contracts.events.v1.clip import (
    ClipApproved,
    ClipArchived,
    ClipCleaned,
    ClipEditUndone,
    ClipExported,
    ClipExportStarted,
    ClipMastered,
)
from contracts.values import (
    AudioFacts,
    Deliverable,
    FrameRange,
    MasteringPolicy,
    MediaFacts,
    ObjectRef,
    Verdict,
    VideoFacts,
)
from services.export.domain import (
    CleanInput,
    CleanResult,
    ClipFacts,
    ExportInput,
    ExportResult,
    Footage,
    due,
    export_key,
    heard,
    safe_name,
)
from services.export.jobs import CLEAN, EXPORT

VIDEO, CLIP = UUID(int=1), UUID(int=2)
EAGER, APPROVED = MasteringPolicy.EAGER, MasteringPolicy.APPROVED


def ref(key: str, digit: str = "a") -> ObjectRef:
    return ObjectRef(key=key, size=10, sha256=digit * 64)


def footage(**changes: object) -> Footage:
    video = VideoFacts(
        stream_index=0, codec="h264", width=1920, height=1080, pixel_format="yuv420p", rate=Fraction(25),
        timebase=Fraction(1, 25), packets=500,
    )  # fmt: skip
    sound = AudioFacts(stream_index=1, codec="aac", sample_rate=48_000, channels=2, packets=900)
    media = MediaFacts(container="mp4", duration=Fraction(20), video=video, audio=sound)
    said = {"frames": 500, "rate": Fraction(25), "source": ref("s"), "media": media, "index": ref("i"), **changes}
    return Footage(**said)


def order(**changes: object) -> ExportInput:
    said = {
        "video_id": VIDEO, "clip_id": CLIP, "frames": FrameRange(start=100, end=200), "title": "A title",
        "profiles": ("delivery-h264",), "footage": footage(), **changes,
    }  # fmt: skip
    return ExportInput(**said)


def approval(version: int = 2, **changes: object) -> ClipApproved:
    said = {
        "video_id": VIDEO, "clip_id": CLIP, "edit_id": UUID(int=version), "version": version, "by": "me",
        "frames": FrameRange(start=0, end=10), "title": "t", "profiles": ("delivery-h264",), **changes,
    }  # fmt: skip
    return ClipApproved(**said)


def test_a_clip_is_due_once_it_is_approved_and_there_is_footage():
    facts = heard(ClipFacts(), approval())
    assert due(ClipFacts(), footage(), EAGER) is None
    assert due(facts, None, EAGER) is None
    assert due(facts, footage(), EAGER).clip_id == CLIP


def mastered(version: int = 2, run: int = 1, **changes: object) -> ClipMastered:
    said = {"frames": FrameRange(start=0, end=10), "master": ref("m"), "index": ref("mi"), "frames_sha256": "c" * 64}
    return ClipMastered(video_id=VIDEO, clip_id=CLIP, version=version, run=run, **{**said, **changes})


def folded(*events: object) -> ClipFacts:
    facts = ClipFacts()
    for event in events:
        facts = heard(facts, event)
    return facts


def test_where_approved_clips_are_mastered_a_clip_is_due_with_the_master_of_its_own_frames():
    assert due(folded(approval()), footage(), APPROVED) is None
    assert due(folded(mastered()), footage(), APPROVED) is None
    for facts in (folded(approval(), mastered()), folded(mastered(), approval())):
        part = due(facts, footage(), APPROVED).footage.part
        assert (part.frames, part.master, part.index) == (approval().frames, ref("m"), ref("mi"))
    assert due(folded(approval(), mastered(frames=FrameRange(start=0, end=9))), footage(), APPROVED) is None


def test_a_master_that_went_with_an_archived_clip_is_waited_for_again():
    said = {"video_id": VIDEO, "clip_id": CLIP, "edit_id": UUID(int=9), "by": "me"}
    back = (ClipArchived(**said, version=3), ClipEditUndone(**said, version=4, undone="archive"))
    facts = folded(approval(), mastered(), *back)
    assert due(facts, footage(), APPROVED) is None
    assert due(heard(facts, mastered(4)), footage(), APPROVED) is not None
    assert heard(heard(facts, mastered(4)), mastered(2)) == heard(facts, mastered(4))


def test_another_approval_is_another_piece_of_work():
    first = heard(ClipFacts(), approval(2))
    again = heard(first, approval(5))
    assert export_key(first, CLIP) != export_key(again, CLIP)
    assert export_key(first, CLIP) == export_key(heard(first, approval(2)), CLIP)


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("Big Buck Bunny", "Big-Buck-Bunny"),
        ("../../etc/passwd", "etc-passwd"),
        ("Café № 5: «déjà vu»", "Cafe-No-5-deja-vu"),
        ("日本語", "clip"),
        ("-.-", "clip"),
        ("x" * 300, "x" * 80),
    ],
)
def test_titles_become_names_that_are_safe_anywhere(title: str, name: str):
    assert safe_name(title) == name


def test_objects_are_named_by_everything_that_decides_their_bytes():
    keys = {
        each.folder("delivery-h264")
        for each in (
            order(),
            order(title="Another"),
            order(tags=("x",)),
            order(footage=footage(index=ref("i", "b"))),
            order(footage=footage(master=ref("m"))),
        )
    }
    assert len(keys) == 5
    assert order().folder("delivery-h264") == order().folder("delivery-h264")
    assert order().folder("archive-ffv1") not in keys
    assert order().folder("delivery-h264").startswith(f"clips/{CLIP}/exports/delivery-h264/")
    assert EXPORT.marker(order()).startswith(f"clips/{CLIP}/exports/")
    assert EXPORT.marker(order()) != EXPORT.marker(order(profiles=("delivery-h264", "archive-ffv1")))


def test_a_marker_can_be_named_even_for_a_profile_that_does_not_exist():
    assert EXPORT.marker(order(profiles=("delivery-vhs",)))


def test_the_marker_of_a_cleaning_is_not_among_what_is_cleaned():
    cleaning = CleanInput(video_id=VIDEO, clip_id=CLIP, version=4)
    assert not CLEAN.marker(cleaning).startswith(cleaning.prefix)


def test_events_carry_what_comes_next_needs():
    bundle = Deliverable(profile="delivery-h264", manifest=ref("m"), files=(), verdict=Verdict.PASS)
    (begun,) = EXPORT.started(order(), 2)
    (done,) = EXPORT.succeeded(order(), 2, ExportResult(deliverables=(bundle,)))
    assert begun == ClipExportStarted(video_id=VIDEO, clip_id=CLIP, run=2)
    assert isinstance(done, ClipExported)
    assert (done.run, done.frames, done.deliverables) == (2, FrameRange(start=100, end=200), (bundle,))
    cleaning = CleanInput(video_id=VIDEO, clip_id=CLIP, version=4)
    assert CLEAN.started(cleaning, 1) == ()
    (gone,) = CLEAN.succeeded(cleaning, 1, CleanResult(objects=9))
    assert gone == ClipCleaned(video_id=VIDEO, clip_id=CLIP, unwanted=4, objects=9)
