"""A clip can be searched for soon after it was delivered, and the whole way from a file to a found clip works."""

from __future__ import annotations

import json

import httpx
import pytest

from tests.support.media_files import FIXTURES, unique


@pytest.fixture(scope="module")
def delivered(stack, tmp_path_factory) -> str:
    """A video taken through an otherwise idle stack; its id."""
    folder = tmp_path_factory.mktemp("soon")
    # The first clip of a stack has the names of things read for it, which is done once.
    stack.run(unique(FIXTURES / "exo_av1_aac_1080x720.mp4", folder), out=folder / "first")
    document = stack.run(unique(FIXTURES / "exo_av1_aac_1080x720.mp4", folder), out=folder / "second")
    (video,) = document["videos"]
    stack.wait(lambda: stack.finished(video["id"]), timeout=60, what="the last vectors")
    return video["id"]


@pytest.mark.alone("the aim is stated for a stack that has nothing else to do")
def test_a_clip_is_searchable_ten_seconds_after_its_export(stack, delivered):
    (row,) = stack.query(
        """
        SELECT extract(epoch FROM embedded.created_at - exported.created_at)::float8 AS seconds
        FROM export.outbox AS exported JOIN embed.outbox AS embedded ON embedded.aggregateid = exported.aggregateid
        WHERE exported.type = 'heaters.clip.exported.v1' AND embedded.type = 'heaters.clip.embedded.v1'
            AND embedded.payload LIKE ? ORDER BY embedded.created_at LIMIT 1
        """.replace("?", "%s"),
        f"%{delivered}%",
    )
    print(f"searchable {row['seconds']:.1f} s after the export")
    assert row["seconds"] <= 10


def test_the_console_finds_it_by_words_and_by_likeness(stack, delivered):
    done = stack.console("search", "--json", "sample", "av1", "--limit", "100")
    found = json.loads(done.stdout)
    mine = next(clip for clip in found["results"] if clip["video_id"] == delivered)
    assert "title" in mine["matched"]
    assert httpx.get(mine["keyframe_url"], timeout=10).headers["content-type"] == "image/jpeg"
    alike = json.loads(stack.console("search", "--json", "--similar", mine["clip_id"]).stdout)
    assert alike["results"][0]["score"] > 0.99, "the same pictures were delivered before"
    filtered = json.loads(stack.console("search", "--json", "sample", "--video", delivered).stdout)
    assert {clip["video_id"] for clip in filtered["results"]} == {delivered}
    twins = json.loads(stack.console("search", "--json", "--duplicates").stdout)
    assert any(mine["clip_id"] in {clip["clip_id"] for clip in group["clips"]} for group in twins["groups"])


def test_embedding_again_is_ordinary_work(stack, delivered):
    before = stack.query("SELECT count(*)::int AS done FROM embed.work WHERE kind = 'reembed'")[0]["done"]
    done = stack.console("reembed", "--video", delivered)
    assert "1 clip" in done.stderr
    stack.wait(
        lambda: (
            stack.query("SELECT count(*)::int AS done FROM embed.work WHERE kind = 'reembed' AND state = 'done'")[0][
                "done"
            ]
            >= before + 2
        ),
        timeout=90,
        what="two models to see the clip again",
    )
