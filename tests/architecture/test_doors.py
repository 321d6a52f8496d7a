"""The doors of the house: who may import whom, what things may be called, and that the checks themselves are clean."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("contracts", "services", "console", "deploy")
STAGES = ("ingest", "preprocess", "scenes", "review", "export", "embed")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "manager", "misc"}
EXCEPTED = {Path("contracts/events/base.py")}
UNFINISHED = ("TO" + "DO", "FIX" + "ME", "XX" + "X")
HEAVY = {"av", "numpy", "cv2", "torch", "transformers", "yt_dlp", "PIL"}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)


def test_import_contracts_hold():
    result = subprocess.run(
        [Path(sys.executable).with_name("lint-imports")], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout


def test_ruff_finds_nothing():
    result = run("ruff", "check", "--no-fix", ".")
    assert result.returncode == 0, result.stdout


def test_code_is_formatted():
    result = run("ruff", "format", "--check", ".")
    assert result.returncode == 0, result.stdout


def test_types_are_strict_and_right():
    result = run("mypy")
    assert result.returncode == 0, result.stdout


def test_no_module_is_named_for_nothing():
    found = [path for path in SOURCES if path.stem in FORBIDDEN_NAMES]
    assert [path for path in found if path.relative_to(ROOT) not in EXCEPTED] == []


def test_no_unfinished_marks():
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in SOURCES
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if any(mark in line for mark in UNFINISHED)
    ]
    assert found == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_module_says_why_it_exists(path):
    if "migrations" in path.parent.name or path.stat().st_size == 0:
        return
    assert ast.get_docstring(ast.parse(path.read_text())), (
        "a module docstring says why it exists and what it guarantees"
    )


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_the_same_files(stage):
    folder = ROOT / "services" / stage
    for name in ("__init__", "__main__", "settings", "app", "handlers"):
        assert (folder / f"{name}.py").is_file(), f"services/{stage}/{name}.py"
    assert (folder / "domain.py").is_file() or (folder / "domain").is_dir()
    assert stage == "review" or (folder / "work.py").is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_a_service_process_loads_no_heavy_library(stage):
    code = f"import sys, services.{stage}.app; print(sorted({HEAVY!r} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


def test_no_word_of_the_workplace_in_the_tree():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    marks = [("/wo" + "rk/"), ("OPENBLAS_" + "CORETYPE")]
    found = [
        name
        for name in tracked
        if (ROOT / name).is_file()
        and (ROOT / name).suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".json", ""}
        and any(mark in (ROOT / name).read_text(errors="ignore") for mark in marks)
    ]
    assert found == []
