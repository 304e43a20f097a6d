"""A figure says which machine and which state of the code gave it, and nobody else's."""

import shutil
import subprocess

import torch

from t2i_core import machine


def git(folder, *words):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def project(folder):
    """Make a repository with one commit."""
    folder.mkdir()
    (folder / "pyproject.toml").write_text("[project]\n")
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "one")
    return folder


def test_the_machine_is_described_without_names_of_hosts_or_people():
    found = machine.describe_machine()
    assert found.cores >= 1 and found.cpu and found.torch == torch.__version__
    assert f"{found.cores} core" in str(found)


def test_the_commit_is_named_and_a_change_is_told(tmp_path, monkeypatch):
    root = project(tmp_path / "repo")
    monkeypatch.setattr(machine, "ROOT", root)
    clean = machine.code_commit()
    assert len(clean) == 12 and machine.COMMIT.fullmatch(clean)
    (root / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    assert machine.code_commit() == f"{clean}-dirty"


def test_a_package_installed_below_another_repository_does_not_borrow_its_commit(tmp_path, monkeypatch):
    root = project(tmp_path / "repo")
    inside = root / "site-packages"
    inside.mkdir()
    monkeypatch.setattr(machine, "ROOT", inside)
    assert machine.code_commit() == ""
    monkeypatch.setattr(machine, "ROOT", root)
    shutil.rmtree(root / ".git")
    assert machine.code_commit() == ""


def test_a_repository_runs_nothing_when_it_is_asked(tmp_path, monkeypatch):
    root = project(tmp_path / "repo")
    marker = tmp_path / "ran"
    git(root, "config", "core.fsmonitor", f"touch {marker}; true")
    monkeypatch.setattr(machine, "ROOT", root)
    assert machine.code_commit() and not marker.exists()
