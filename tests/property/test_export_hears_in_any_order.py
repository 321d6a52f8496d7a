"""What export knows of a clip does not depend on the order or number of deliveries."""

from __future__ import annotations

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from contracts.events.v1.clip import ClipApproved, ClipArchived, ClipEditUndone, ClipMastered
from contracts.values import FrameRange, ObjectRef
from services.export.domain import ClipFacts, heard

VIDEO, CLIP = UUID(int=1), UUID(int=2)


def history(steps: list[str]) -> list[ClipApproved | ClipArchived | ClipEditUndone | ClipMastered]:
    events: list[ClipApproved | ClipArchived | ClipEditUndone | ClipMastered] = []
    for version, step in enumerate(steps, start=2):
        said = {"video_id": VIDEO, "clip_id": CLIP, "edit_id": UUID(int=version), "version": version, "by": "me"}
        if step == "approve":
            frames = FrameRange(start=0, end=version)
            events.append(ClipApproved(**said, frames=frames, title=f"t{version}", profiles=("delivery-h264",)))
        elif step == "master":
            made = ObjectRef(key=f"m{version}", size=1, sha256="a" * 64)
            facts = {
                "frames": FrameRange(start=0, end=version),
                "master": made,
                "index": made,
                "frames_sha256": "b" * 64,
            }
            events.append(ClipMastered(video_id=VIDEO, clip_id=CLIP, version=version, **facts))
        elif step == "archive":
            events.append(ClipArchived(**said))
        else:
            events.append(ClipEditUndone(**said, undone=step.removeprefix("undo ")))
    return events


steps = st.lists(
    st.sampled_from(["approve", "undo approve", "archive", "undo archive", "undo skip", "master"]), max_size=7
)


@given(steps, st.data())
def test_any_order_with_duplicates_gives_the_same_facts(taken: list[str], data: st.DataObject) -> None:
    events = history(taken)
    told = ClipFacts()
    for event in events:
        told = heard(told, event)
    shuffled = data.draw(
        st.permutations(events + data.draw(st.lists(st.sampled_from(events), max_size=4)) if events else [])
    )
    other = ClipFacts()
    for event in shuffled:
        other = heard(other, event)
    assert other == told


@given(steps)
def test_the_last_word_counts(taken: list[str]) -> None:
    told = ClipFacts()
    approved = archived = False
    for step, event in zip(taken, history(taken), strict=True):
        told = heard(told, event)
        approved = {"approve": True, "undo approve": False}.get(step, approved)
        archived = {"archive": True, "undo archive": False}.get(step, archived)
        assert told.is_archived == archived
        assert told.is_wanted == (approved and not archived)
