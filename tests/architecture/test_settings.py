"""Every setting has one home, a meaning, and a line in .env.example."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from console import settings_file
from console.home import SERVICES
from services.chassis.settings import ChassisSettings, as_environment, load

ROOT = Path(__file__).parents[2]


def test_the_example_file_lists_every_setting():
    assert (ROOT / ".env.example").read_text() == settings_file.text(), "python -m console.settings_file > .env.example"


@pytest.mark.parametrize("service", SERVICES)
def test_every_setting_says_what_it_means_and_is_named_for_its_service(service):
    kind = importlib.import_module(f"services.{service}.settings").Settings
    for name, field in kind.model_fields.items():
        assert field.description, name
        assert name in ChassisSettings.model_fields or name.startswith(f"{service}_"), name


@pytest.mark.parametrize("service", SERVICES)
def test_a_child_process_sees_the_same_settings(service, monkeypatch, tmp_path):
    kind = importlib.import_module(f"services.{service}.settings").Settings
    monkeypatch.chdir(tmp_path)
    settings = load(kind, worker_concurrency=3, log_level="ERROR")
    for name, value in as_environment(settings).items():
        monkeypatch.setenv(name, value)
    assert load(kind) == settings


def test_a_secret_may_come_from_a_file(monkeypatch, tmp_path):
    (tmp_path / "secret").write_text("from-a-file\n")
    monkeypatch.setenv("HEATERS_S3_SECRET_KEY_FILE", str(tmp_path / "secret"))
    assert load(ChassisSettings).s3_secret_key.get_secret_value() == "from-a-file"
