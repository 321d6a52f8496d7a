"""Every state of a clip meets every event about it; the table below is the specification."""

import itertools
from uuid import UUID

import pytest

from contracts.events.v1.clip import ClipEditUndone
from services.review.domain import clip
from services.review.domain.clip import ClipState, evolve, status, transition
from services.review.domain.marks import NoOp, Refused
from tests.support.review_events import CLIP, EDIT, VIDEO, accepted, created, edit_events, work_events

EVENTS = edit_events() | work_events()

APPROVED = ("created", "approved")
DELIVERED = (*APPROVED, "export_started", "exported")
FRAMED = (*DELIVERED, "keyframing_started", "keyframed")
PATHS = {
    ClipState.PENDING_REVIEW: ("created",),
    ClipState.REVIEW_SKIPPED: ("created", "skipped"),
    ClipState.SUPERSEDED: ("created", "superseded"),
    ClipState.REVIEW_APPROVED: APPROVED,
    ClipState.EXPORTING: (*APPROVED, "export_started"),
    ClipState.EXPORT_FAILED: (*APPROVED, "export_started", "export_failed"),
    ClipState.EXPORTED: DELIVERED,
    ClipState.KEYFRAMING: (*DELIVERED, "keyframing_started"),
    ClipState.KEYFRAME_FAILED: (*DELIVERED, "keyframing_started", "keyframe_failed"),
    ClipState.KEYFRAMED: FRAMED,
    ClipState.EMBEDDING: (*FRAMED, "embedding_started"),
    ClipState.EMBEDDING_FAILED: (*FRAMED, "embedding_started", "embedding_failed"),
    ClipState.EMBEDDED: (*FRAMED, "embedding_started", "embedded"),
    ClipState.REVIEW_ARCHIVED: (*DELIVERED, "archived"),
    ClipState.CLEANED: (*DELIVERED, "archived", "cleaned"),
}

# Rows: events. Columns: states, in the order of PATHS. "=" nothing new, "+" noted, else the state it leads to, where
# "approve" stands for review_approved, "pending" for pending_review, "archive" for review_archived, "skipped" for
# review_skipped, "ex" "kf" "em" for export, keyframe, embedding with -ing, -ed and -fail.
EVENTS_BY_STATE = """
event              pending  skipped  supers.  approve  ex-ing   ex-fail  ex-ed    kf-ing   kf-fail  kf-ed    em-ing   em-fail  em-ed    archive  cleaned
created            =        =        =        =        =        =        =        =        =        =        =        =        =        =        =
approved           approve  +        +        =        =        =        =        =        =        =        =        =        =        =        =
skipped            skipped  =        +        skipped  skipped  skipped  skipped  skipped  skipped  skipped  skipped  skipped  skipped  +        +
archived           archive  archive  +        archive  archive  archive  archive  archive  archive  archive  archive  archive  archive  =        =
grouped            +        +        +        +        +        +        +        +        +        +        +        +        +        +        +
ungrouped          +        +        +        +        +        +        +        +        +        +        +        +        +        +        +
superseded         supers.  supers.  =        supers.  supers.  supers.  supers.  supers.  supers.  supers.  supers.  supers.  supers.  supers.  supers.
undone             +        +        +        pending  pending  pending  pending  pending  pending  pending  pending  pending  pending  +        +
mastering_started  +        +        +        +        +        +        +        +        +        +        +        +        +        +        +
mastered           +        +        +        +        +        +        +        +        +        +        +        +        +        +        +
master_failed      +        +        +        ex-fail  +        +        +        +        +        +        +        +        +        +        +
tagged             +        +        +        +        +        +        +        +        +        +        +        +        +        +        +
noted              +        +        +        +        +        +        +        +        +        +        +        +        +        +        +
export_started     +        +        +        ex-ing   =        =        =        =        =        =        =        =        =        =        =
exported           +        +        +        ex-ed    ex-ed    ex-ed    =        =        =        =        =        =        =        =        =
export_failed      +        +        +        ex-fail  ex-fail  =        =        =        =        =        =        =        =        =        =
keyframing_started +        +        +        kf-ing   kf-ing   kf-ing   kf-ing   =        =        =        =        =        =        +        +
keyframed          +        +        +        kf-ed    kf-ed    kf-ed    kf-ed    kf-ed    kf-ed    =        =        =        =        +        +
keyframe_failed    +        +        +        kf-fail  kf-fail  kf-fail  kf-fail  kf-fail  =        =        =        =        =        +        +
embedding_started  +        +        +        em-ing   em-ing   em-ing   em-ing   em-ing   em-ing   em-ing   =        =        =        +        +
embedded           +        +        +        em-ed    em-ed    em-ed    em-ed    em-ed    em-ed    em-ed    em-ed    em-ed    =        +        +
embedding_failed   +        +        +        em-fail  em-fail  em-fail  em-fail  em-fail  em-fail  em-fail  em-fail  =        =        +        +
cleaned            +        +        +        +        +        +        +        +        +        +        +        +        +        cleaned  =
"""

NAMES = {
    "approve": ClipState.REVIEW_APPROVED,
    "pending": ClipState.PENDING_REVIEW,
    "archive": ClipState.REVIEW_ARCHIVED,
    "skipped": ClipState.REVIEW_SKIPPED,
    "supers.": ClipState.SUPERSEDED,
    "cleaned": ClipState.CLEANED,
    "ex-ing": ClipState.EXPORTING,
    "ex-fail": ClipState.EXPORT_FAILED,
    "ex-ed": ClipState.EXPORTED,
    "kf-ing": ClipState.KEYFRAMING,
    "kf-fail": ClipState.KEYFRAME_FAILED,
    "kf-ed": ClipState.KEYFRAMED,
    "em-ing": ClipState.EMBEDDING,
    "em-fail": ClipState.EMBEDDING_FAILED,
    "em-ed": ClipState.EMBEDDED,
}


def folded(*names):
    facts = clip.Facts(clip_id=CLIP, video_id=VIDEO)
    for name in names:
        facts = evolve(facts, EVENTS[name])
    return facts


def table():
    rows = [line.split() for line in EVENTS_BY_STATE.strip().splitlines()[1:]]
    return [(state, row[0], cell) for row in rows for state, cell in zip(PATHS, row[1:], strict=True)]


def test_the_table_covers_every_state_and_every_event():
    assert set(PATHS) == set(ClipState)
    assert {(state, name) for state, name, _ in table()} == {(s, n) for s in ClipState for n in EVENTS}


@pytest.mark.parametrize("state", ClipState)
def test_each_path_leads_to_its_state(state):
    assert status(folded(*PATHS[state])) is state


@pytest.mark.parametrize(("state", "name", "cell"), table())
def test_an_event_moves_a_clip_as_the_table_says(state, name, cell):
    _, outcome = transition(folded(*PATHS[state]), EVENTS[name])
    assert outcome == ({"=": NoOp.NOTHING_NEW, "+": NoOp.NOTED}.get(cell) or clip.Moved(state, NAMES[cell]))


def test_events_of_other_clips_and_of_videos_are_refused_by_name():
    facts = clip.Facts(clip_id=CLIP, video_id=VIDEO)
    with pytest.raises(Refused, match="another clip"):
        evolve(facts, created(UUID(int=999)))
    with pytest.raises(Refused, match="another clip"):
        evolve(facts, accepted())


def test_a_clip_exported_anew_after_it_was_cleaned_is_physical_whatever_was_heard_first():
    said = work_events()
    first, second = (said["exported"].model_copy(update={"wanted": version}) for version in (2, 4))
    cleaned = said["cleaned"].model_copy(update={"unwanted": 3})
    for events, is_virtual in (((first, cleaned), True), ((first, cleaned, second), False)):
        for order in itertools.permutations(events):
            facts = folded(*APPROVED)
            for event in order:
                facts = evolve(facts, event)
            assert facts.is_virtual is is_virtual


def test_a_clip_is_physical_from_its_export_until_it_is_cleaned():
    assert folded(*APPROVED).is_virtual
    assert not folded(*DELIVERED).is_virtual
    assert not folded(*DELIVERED, "archived").is_virtual
    assert folded(*DELIVERED, "archived", "cleaned").is_virtual


def test_a_late_failure_of_the_first_export_never_hides_the_success_of_the_second():
    facts = evolve(folded(*APPROVED), work_events(run=2)["exported"])
    facts = evolve(facts, work_events(run=1)["export_failed"])
    assert status(facts) is ClipState.EXPORTED
    assert clip.error(facts) is None


def test_a_failure_is_told_until_the_next_run_starts():
    facts = folded(*PATHS[ClipState.EXPORT_FAILED])
    assert clip.error(facts).code == "export.disk_full"
    facts = evolve(facts, work_events(run=2)["export_started"])
    assert status(facts) is ClipState.EXPORTING
    assert clip.error(facts) is None


def test_an_undo_counts_whether_it_is_heard_before_or_after_what_it_undoes():
    undone = ClipEditUndone(video_id=VIDEO, clip_id=CLIP, edit_id=EDIT, version=3, by="ann", undone="approve")
    late = evolve(evolve(folded("created"), undone), EVENTS["approved"])
    assert status(late) is ClipState.PENDING_REVIEW
    assert late.version == 3
    assert late == evolve(folded(*APPROVED), undone)


def test_group_and_children_name_the_other_clips():
    assert folded(*APPROVED, "grouped").group == (UUID(int=102),)
    assert folded(*APPROVED, "superseded").children == (UUID(int=103), UUID(int=104))
    assert folded(*APPROVED).approved_by == "ann"


def test_a_clip_whose_birth_is_unheard_of_has_no_range():
    with pytest.raises(Refused) as refusal:
        _ = folded("exported").frames
    assert refusal.value.code == "review.unknown_clip"
