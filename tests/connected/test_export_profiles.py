"""Users' own export profiles, from a document on disk to a delivered file."""

from __future__ import annotations

import json
from pathlib import Path
from uuid import uuid4

from tests.support.media_files import FIXTURES, unique


def test_a_profile_is_shown_checked_added_delivered_with_and_removed(stack, tmp_path):
    name = f"mine-{uuid4().hex[:6]}"
    text = stack.console("profiles", "show", "broadcast-h264").stdout
    mine = tmp_path / "mine.toml"
    mine.write_text(
        text.replace('"broadcast-h264"', f'"{name}"').replace("longest_side = 1920", "longest_side = 320", 1)
        .replace("shortest_side = 1080", "shortest_side = 240", 1)
    )  # fmt: skip
    assert "is valid" in stack.console("profiles", "check", str(mine)).stdout
    stack.console("profiles", "add", str(mine))
    listed = json.loads(stack.console("profiles", "--json").stdout)["profiles"]
    assert {each["name"]: each["origin"] for each in listed}[name] == "store"
    made = stack.run(
        "--profile", name, "--profile", "prores-proxy", "--whole",
        unique(FIXTURES / "exo_av1_aac_1080x720.mp4", tmp_path), out=tmp_path / "out",
    )  # fmt: skip
    (clip,) = made["videos"][0]["clips"]
    assert [each["profile"] for each in clip["deliverables"]] == [name, "prores-proxy"]
    told = json.loads(Path(clip["deliverables"][0]["manifest"]).read_text())
    assert (told["profile"]["name"], told["files"][0]["pictures"]["width"]) == (name, 320)
    stack.console("profiles", "remove", name)
    refused = stack.console("run", "--profile", name, str(mine), check=False)
    assert refused.returncode != 0
    assert name in refused.stderr


def test_a_wrong_document_is_explained(stack, tmp_path):
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('schema = 1\nname = "wrong"\n[video]\nencoder = "libx264"\ncrf = 99\n')
    for command in ("check", "add"):
        answer = stack.console("profiles", command, str(wrong), check=False)
        assert answer.returncode == 1
        assert "version: this field is missing" in answer.stderr
        assert "between 0 and 51" in answer.stderr
