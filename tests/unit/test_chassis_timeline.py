from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from services.chassis import timeline
from services.chassis.timeline import QUEUE

CLIP = "c" * 32
VIDEO = "a" * 32
CLIP_ID = "cccccccc-cccc-cccc-cccc-cccccccccccc"
ZERO = datetime(2026, 1, 1, tzinfo=UTC)


def row(
    trace: str, span: str, parent: str | None, name: str, start: float, end: float, *, links=(), **attributes
) -> dict:
    return {
        "trace_id": trace,
        "span_id": span,
        "parent_id": parent,
        "links": list(links),
        "service": name.split(".", maxsplit=1)[0],
        "name": name,
        "kind": "internal",
        "started_at": ZERO + timedelta(seconds=start),
        "ended_at": ZERO + timedelta(seconds=end),
        "status": "unset",
        "attributes": attributes,
    }


ROWS = [
    row(VIDEO, "1", None, "accept request", 0, 0.1),
    row(VIDEO, "2", "1", "ingest.fetch", 1, 3, **{"heaters.queue_seconds": 0.5}),
    row(VIDEO, "3", "2", "scenes.detect", 4, 6, **{"heaters.queue_seconds": 1}),
    row(VIDEO, "4", "2", "preprocess.master", 20, 30, **{"heaters.queue_seconds": 1}),
    row(VIDEO, "5", "3", "export.other", 5, 6, **{"heaters.clip_id": "another"}),
    row(CLIP, "6", None, "clip", 7, 7, links=[{"trace_id": VIDEO, "span_id": "3"}]),
    row(CLIP, "7", "6", "export.export", 8, 12, **{"heaters.queue_seconds": 1, "heaters.clip_id": CLIP_ID}),
    row(CLIP, "8", "lost", "embed.embed", 13, 14, **{"heaters.queue_seconds": 0.2}),
]


def compose() -> list[timeline.Line]:
    return timeline.compose(timeline.read(ROWS), CLIP, CLIP_ID)


def test_the_clips_trace_hangs_under_its_birth_in_the_videos_trace():
    assert [(line.depth, line.span.name) for line in compose()] == [
        (0, "accept request"),
        (1, "ingest.fetch"),
        (2, "scenes.detect"),
        (3, "clip"),
        (4, "export.export"),
        (0, "embed.embed"),
    ]


def test_work_on_the_video_after_the_birth_and_other_clips_are_left_out():
    assert not {"preprocess.master", "export.other"} & {line.span.name for line in compose()}


def test_the_linked_traces_are_those_pointed_back_to():
    assert timeline.linked_traces(timeline.read(ROWS), CLIP) == [VIDEO]


def test_without_spans_there_is_no_timeline():
    assert timeline.compose([], CLIP) == []


def test_what_only_passes_events_on_can_be_left_out():
    assert [(line.depth, line.span.name) for line in timeline.work_only(compose())] == [
        (0, "ingest.fetch"),
        (1, "scenes.detect"),
        (2, "clip"),
        (3, "export.export"),
        (0, "embed.embed"),
    ]


def test_bars_share_one_axis_and_show_waiting_before_running():
    lines = compose()
    axis = timeline.axis(lines)
    assert axis.idle == ()
    drawn = timeline.bar(lines[1], axis, 28)
    assert len(drawn) == 28
    assert drawn.startswith(" ·████ ")
    assert timeline.bar(lines[1], timeline.axis([]), 28) == ""


def test_every_bar_is_as_wide_as_the_axis():
    lines = compose()
    assert {len(timeline.bar(line, timeline.axis(lines), 33)) for line in lines} == {33}


def test_a_long_spell_of_nothing_is_drawn_short():
    rows = [*ROWS[:2], row(VIDEO, "3", "2", "export.export", 1003, 1005, **{"heaters.queue_seconds": 1})]
    lines = timeline.compose(timeline.read(rows), VIDEO)
    axis = timeline.axis(lines)
    assert axis.idle == ((3.0, 1002.0),)
    fetch, export = (timeline.bar(line, axis, 40) for line in lines[1:])
    assert min(fetch.count("█"), export.count("█")) > 10
    assert len(fetch.rstrip()) < export.index("·")
    assert export.endswith("█")


@given(
    st.lists(
        st.tuples(st.floats(0, 1e6), st.floats(0, 1e4), st.floats(0, 1e4)).map(
            lambda given: row(VIDEO, str(uuid4()), None, "w.w", given[0], given[0] + given[1], **{QUEUE: given[2]})
        ),
        max_size=8,
    ),
    st.lists(st.floats(-10, 2e6), min_size=2, max_size=9),
)
def test_an_axis_keeps_the_order_of_times(rows, times):
    axis = timeline.axis(timeline.compose(timeline.read(rows), VIDEO))
    places = [axis.at(seconds) for seconds in sorted(times)]
    assert places == sorted(places)
    assert all(0 <= place <= 1 for place in places)


def test_totals_add_up_by_service():
    assert timeline.totals(compose())["ingest"] == (0.5, 2.0)


def test_durations_read_naturally():
    assert [timeline.seconds(value) for value in (None, 0.0042, 1.26, 125)] == ["", "4 ms", "1.3 s", "2 min 5 s"]
