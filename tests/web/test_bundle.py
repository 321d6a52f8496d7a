"""The committed bundle is what its sources give, small, and names no address of a package registry."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WEB, STATIC = ROOT / "services/review/web", ROOT / "services/review/static"
LARGEST = 60 * 1024


def npm(folder: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["npm", *arguments], cwd=folder, capture_output=True, text=True, timeout=140, check=False, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def test_the_committed_bundle_is_what_the_sources_give(tmp_path):
    web = tmp_path / "web"
    shutil.copytree(WEB, web, ignore=shutil.ignore_patterns("node_modules"))
    npm(web, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    npm(web, "run", "check")
    npm(web, "run", "build")
    built = {path.name: path.read_bytes() for path in (tmp_path / "static").iterdir()}
    committed = {path.name: path.read_bytes() for path in STATIC.iterdir()}
    assert sorted(built) == sorted(committed), "Build the client and commit services/review/static."
    assert built == committed


def test_the_bundle_is_small_and_has_few_dependencies():
    packed = sum(len(gzip.compress(path.read_bytes(), 9)) for path in STATIC.glob("app.*"))
    assert packed <= LARGEST
    assert len(json.loads((WEB / "package.json").read_text())["dependencies"]) <= 3
    assert '"resolved"' not in (WEB / "package-lock.json").read_text()


def test_the_player_knows_no_framework_and_no_page():
    for path in (WEB / "src/player").glob("*.ts"):
        sources = re.findall(r'from "([^"]+)"', path.read_text())
        assert all(source.startswith("./") for source in sources), path.name
