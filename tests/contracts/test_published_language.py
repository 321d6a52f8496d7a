"""The published language: schemas in step, old examples readable, incompatible changes refused."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts import publish
from contracts.catalog import BY_TYPE, CATALOG, entry_of
from contracts.compat import changes_that_break
from contracts.envelope import Undecodable, derived_id, from_kafka, to_kafka, without_nul
from contracts.topics import TOPICS
from contracts.upcasts import UPCASTERS, upcast

EXAMPLES = sorted((Path(publish.__file__).parent / "examples").glob("*.json"))
ENTRIES = [pytest.param(entry, id=entry.type) for entry in CATALOG]


def _entry(path: Path):
    return BY_TYPE[path.name.rsplit(".", 2)[0]]


def test_checked_in_schemas_are_what_the_models_generate():
    assert publish.differences() == []


def test_no_published_version_has_changed_incompatibly():
    assert publish.incompatible() == []


@pytest.mark.parametrize("entry", ENTRIES)
def test_every_type_has_an_example(entry):
    assert any(_entry(path) is entry for path in EXAMPLES)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_fits_the_schema_survives_the_wire_and_arrives_in_its_newest_version(path):
    entry = _entry(path)
    body = json.loads(path.read_text())
    jsonschema.validate(body, publish.schema_of(entry), cls=jsonschema.Draft202012Validator)
    event = entry.model.model_validate(body)
    message = to_kafka(
        event,
        event_id=uuid4(),
        source="test",
        time=datetime.now(UTC),
        traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    )
    assert message.topic == entry.topic.name
    read = from_kafka(message.value, message.headers)
    assert read.event == upcast(event)
    assert entry_of(read.event).superseded_by is None
    assert read.traceparent.startswith("00-aaaa")


@pytest.mark.parametrize("entry", [entry for entry in CATALOG if entry.superseded_by])
def test_every_superseded_version_has_an_upcaster_to_the_next(entry):
    assert entry.model in UPCASTERS


def test_cuts_of_version_1_become_clips_that_tile_the_video_in_version_2():
    path = next(path for path in EXAMPLES if path.name.startswith("heaters.video.scenes_detected.v1"))
    old = BY_TYPE["heaters.video.scenes_detected.v1"].model.model_validate_json(path.read_text())
    new = upcast(old)
    assert new.TYPE == "heaters.video.scenes_detected.v2"
    assert [(clip.start, clip.end) for clip in new.clips] == [(0, 285), (285, 378), (378, 553), (553, 720)]


@given(st.sets(st.integers(0, 2000)), st.integers(1, 1000))
def test_any_cuts_of_version_1_tile_after_upcasting(cuts, frames):
    model = BY_TYPE["heaters.video.scenes_detected.v1"].model
    new = upcast(model(video_id=uuid4(), detector="x", detector_version="1", frames=frames, cuts=tuple(sorted(cuts))))
    assert new.clips[0].start == 0
    assert new.clips[-1].end == frames


def _clip_created():
    return publish.schema_of(BY_TYPE["heaters.clip.created.v1"])


@pytest.mark.parametrize(
    ("change", "breaks"),
    [
        (lambda s: s["properties"].update(note={"type": "string", "default": ""}), False),
        (lambda s: s.update(description="Better said."), False),
        (lambda s: s["properties"].pop("origin"), True),
        (lambda s: s["required"].append("confidence"), True),
        (lambda s: s["required"].remove("frames"), True),
        (lambda s: s["properties"]["confidence"].update(maximum=0.5), True),
        (lambda s: s["properties"]["confidence"].pop("maximum"), True),
        (lambda s: s["properties"]["origin"]["enum"].append("imported"), True),
        (lambda s: s["$defs"]["FrameRange"]["properties"]["start"].update(type="string"), True),
        (lambda s: s["properties"]["clip_id"].pop("format"), True),
    ],
)
def test_the_gate_tells_breaking_changes_from_harmless_ones(change, breaks):
    old = _clip_created()
    new = copy.deepcopy(old)
    change(new)
    assert bool(changes_that_break(old, new)) is breaks


def test_every_topic_has_a_warden_that_reads_it():
    for topic in TOPICS:
        assert any(entry.topic == topic and topic.warden in entry.consumers for entry in CATALOG)


def test_topic_names_hold_no_dots():
    assert not [topic.name for topic in TOPICS if "." in topic.name]


@given(st.binary(max_size=200), st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=40)), max_size=5))
def test_garbage_is_undecodable_and_never_anything_worse(value, headers):
    with pytest.raises(Undecodable) as caught:
        from_kafka(value, headers)
    assert caught.value.code.startswith("message.")


@given(st.text(), st.integers())
def test_derived_ids_are_the_same_for_the_same_causes_only(text, number):
    assert derived_id(text, number) == derived_id(text, number)
    assert derived_id(text, number) != derived_id(text, number + 1)


@given(st.text(alphabet="a\\u0\x00", max_size=30))
def test_a_nul_character_is_replaced_wherever_it_stands_and_nothing_else_is(text):
    body = json.dumps({"title": text}).encode()
    assert json.loads(without_nul(body)) == {"title": text.replace("\x00", "\ufffd")}
