"""The doctor sees what is there and says what to do about what is not."""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from t2i_core import __version__, doctor


def test_it_tells_the_version_the_memory_the_extras_and_the_size_of_the_installation(tmp_path: Path) -> None:
    findings = {finding.name: finding for finding in doctor.examine(tmp_path)}

    assert findings["t2i"].works
    assert findings["t2i"].detail.startswith(f"{__version__} in ")
    assert 0.1 < float(findings["installation"].detail.split()[0].replace(",", "")) < 100
    assert findings["memory"].detail.endswith("GiB free")
    assert {f"extra {name}" for name in ("tensorboard", "dask", "benchmark", "dev")} < set(findings)


def test_a_package_of_the_same_name_is_found_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "__init__.py").touch()
    for name in [name for name in sys.modules if name.split(".")[0] == "tasks"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)

    found = doctor.own_version()

    assert not found.works
    assert "tasks is another package of that name" in found.advice


def test_an_extra_that_is_missing_is_told_with_the_command_that_adds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    find_spec = importlib.util.find_spec

    def without_dask(name: str) -> ModuleSpec | None:
        return None if name == "prefect_dask" else find_spec(name)

    monkeypatch.setattr(importlib.util, "find_spec", without_dask)

    found = doctor.extra("dask")

    assert not found.works
    assert "[dask]'` if you want it" in found.advice
    assert not found.required
