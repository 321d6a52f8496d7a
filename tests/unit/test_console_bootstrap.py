"""The bootstrap script's own rules, without installing anything."""

from __future__ import annotations

import ast
import re
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def heaters():
    loader = SourceFileLoader("heaters_bootstrap", str(REPOSITORY / "heaters"))
    spec = spec_from_loader(loader.name, loader)
    module = module_from_spec(spec)
    # Nothing may be left beside the script: it lies in the clone's top folder.
    loader.set_data = lambda *_, **__: None
    loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def groups(heaters):
    return heaters.read_lock((REPOSITORY / "requirements.lock").read_text())


def test_an_old_python_can_read_the_script():
    ast.parse((REPOSITORY / "heaters").read_text(), feature_version=(3, 4))


def test_the_script_may_be_executed():
    assert (REPOSITORY / "heaters").stat().st_mode & 0o111


def test_the_lock_pins_every_package_once(groups):
    packages = [package for group in groups.values() for package in group]
    assert set(groups) == {"base", "embed", "dev"}
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", package) for package in packages)
    names = [package.partition("==")[0].lower().replace("_", "-") for package in packages]
    assert len(names) == len(set(names))


def test_the_lock_holds_nothing_of_cuda(heaters, groups):
    for packages in groups.values():
        heaters.refuse_heavy(packages)
    assert "torch==2.13.0" in groups["embed"]


def test_cuda_in_the_lock_is_refused(heaters, capsys):
    with pytest.raises(SystemExit):
        heaters.refuse_heavy(["nvidia-cublas-cu12==1.0"])
    assert "take it out" in capsys.readouterr().err


def test_a_stamp_holds_only_for_the_very_packages(heaters, tmp_path):
    stamp = tmp_path / "stamp"
    stamp.write_text(heaters.stamp_of(["a==1", "b==2"]))
    assert heaters.is_stamped(str(stamp), ["a==1", "b==2"])
    assert not heaters.is_stamped(str(stamp), ["a==1", "b==3"])
    assert not heaters.is_stamped(str(tmp_path / "absent"), [])


def test_every_dependency_of_the_project_is_in_the_lock(groups):
    import tomllib

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(name for extra in project["optional-dependencies"].values() for name in extra),
    ]
    locked = {package.partition("==")[0].lower().replace("_", "-") for group in groups.values() for package in group}
    names = {re.split(r"[^A-Za-z0-9._-]", name)[0].lower().replace("_", "-") for name in wanted} - {"heaters"}
    assert names <= locked
