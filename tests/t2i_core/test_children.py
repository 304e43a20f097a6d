"""Processes of our own: what they inherit means the same in another folder, and nothing of the working folder runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from t2i_core.children import (
    PACKAGE_ROOT,
    child_environment,
    leave_working_folder_out,
    neutral_folder,
    start,
    start_exposed,
)


@pytest.fixture
def trapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("random", "sitecustomize", "tool"):
        (tmp_path / f"{name}.py").write_text(f"open({str(tmp_path / 'sprung')!r}, 'w')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", ".", "sub", "/usr/share/some"]))
    monkeypatch.setenv("PYTHONSTARTUP", "random.py")
    return tmp_path


def test_the_environment_names_no_working_folder(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", ":/opt/cuda/lib64")
    monkeypatch.setenv("PATH", f".:/usr/bin::{trapped}")
    monkeypatch.setenv("HF_HOME", "models")
    monkeypatch.setenv("PREFECT_HOME", "")
    monkeypatch.setenv("PREFECT_PROFILES_PATH", "$PREFECT_HOME/profiles.toml")
    environment = child_environment()
    assert environment["PYTHONPATH"].split(os.pathsep) == [PACKAGE_ROOT, "/usr/share/some"]
    assert environment["LD_LIBRARY_PATH"] == "/opt/cuda/lib64"
    assert environment["PATH"] == f"/usr/bin:{trapped}"
    assert environment["HF_HOME"] == str(trapped / "models")
    assert environment["PREFECT_PROFILES_PATH"] == "$PREFECT_HOME/profiles.toml"
    assert environment["PYTHONSAFEPATH"] == "1"
    assert "PYTHONSTARTUP" not in environment


def test_a_child_runs_elsewhere_and_springs_no_trap(trapped: Path) -> None:
    program = "import os, random, sys; random.random(); print(os.getcwd()); print(sys.path)"
    child = start([sys.executable, "-P", "-c", program], stdout=subprocess.PIPE)
    said, _ = child.communicate(timeout=60)
    where, path = said.decode().splitlines()
    assert where == str(Path(neutral_folder()).resolve())
    assert str(trapped) not in path and "''" not in path
    assert not (trapped / "sprung").exists()


def test_an_exposed_child_imports_what_this_process_does_but_not_from_where_it_stands(
    trapped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(trapped))
    assert start_exposed("tool", subprocess.DEVNULL).wait(60) == 1, "no such module"
    assert not (trapped / "sprung").exists()


def test_the_command_forgets_where_it_stands(trapped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", ["", str(trapped), "/usr/share/some", "/usr/lib/python3", PACKAGE_ROOT])
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    leave_working_folder_out()
    assert sys.path == ["/usr/share/some", "/usr/lib/python3", PACKAGE_ROOT]
    assert os.environ["PYTHONSAFEPATH"] == "1"
    done = subprocess.run([sys.executable, "-c", "import random; random.random()"], check=False)
    assert done.returncode == 0 and not (trapped / "sprung").exists()
