"""What is imported is declared, what is declared is used, and each make target installs what it needs and no more."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PACKAGES = ("t2i_core", "tasks", "flows")
# Named for its version only (fastapi), by the formats and tools that users bring along, or in a child's program text.
NOT_IMPORTED = {"fastapi", "uvicorn", "pandas"}
# Parts that come with prefect-dask and pydantic.
SAME_AS_ANOTHER = {"distributed", "pydantic-core"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(requirements: list[str]) -> set[str]:
    return {normal(re.split(r"[\s<>=!~;\[]", line)[0]) for line in requirements}


def imported() -> set[str]:
    """List the distributions that our packages import, inside functions too."""
    distributions = packages_distributions()
    found: set[str] = set()
    for path in (path for package in PACKAGES for path in (ROOT / package).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            tops = {name.split(".")[0] for name in names} - sys.stdlib_module_names - set(PACKAGES)
            found |= {normal(distributions[top][0]) for top in tops if top in distributions}
    return found


def test_every_package_that_is_imported_is_declared_and_the_other_way_round():
    runtime = declared(PROJECT["dependencies"])
    extras = set().union(*(declared(lines) for name, lines in PROJECT["optional-dependencies"].items()))

    assert imported() - runtime - extras - SAME_AS_ANOTHER == set()
    assert runtime - imported() == NOT_IMPORTED


def test_every_package_is_typed_and_the_license_is_there():
    assert [name for name in PACKAGES if not (ROOT / name / "py.typed").is_file()] == []
    assert PROJECT["license"] == "Apache-2.0"
    assert "Apache License" in (ROOT / "LICENSE").read_text()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with an environment whose programs only note how they were called."""
    for name in ("Makefile", "pyproject.toml"):
        (tmp_path / name).write_bytes((ROOT / name).read_bytes())
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    for name in ("python", "pip", "t2i", "ruff", "mypy"):
        (programs / name).write_text(f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n')
        (programs / name).chmod(0o755)
    return tmp_path


def made(checkout: Path, *targets: str) -> list[str]:
    """Run make, and list the environment's calls but those that ask what is there."""
    (checkout / "calls").write_text("")
    subprocess.run(["make", "--silent", *targets, "PYTHON=" + sys.executable], cwd=checkout, check=True)
    lines = (checkout / "calls").read_text().splitlines()
    return [line for line in lines if "--version" not in line and "find_spec" not in line and not line.startswith(" ")]


def test_the_demo_installs_what_runs_it_and_the_tests_add_their_tools(checkout: Path):
    runtime, tools = "python -m pip install --quiet --editable .", "python -m pip install --quiet --editable .[dev]"
    tests = "python -m pytest -q --numprocesses auto --maxprocesses 4 --dist worksteal"

    assert made(checkout, "demo") == [runtime, "t2i demo"]
    assert made(checkout, "test") == [tools, tests]
    assert made(checkout, "demo", "test") == ["t2i demo", tests]

    (checkout / "pyproject.toml").touch()
    assert made(checkout, "test") == [runtime, tools, tests]


def test_an_environment_that_lost_a_part_is_made_whole(checkout: Path):
    made(checkout, "test")
    python = checkout / ".venv" / "bin" / "python"
    noting = python.read_text()

    python.write_text(noting + 'case "$*" in *xdist) case "$*" in *find_spec*) exit 1;; esac;; esac\n')
    assert [call[-5:] for call in made(checkout, "demo")] == [" demo"]
    assert "--editable .[dev]" in made(checkout, "test")[0]

    python.write_text(noting + 'case "$*" in *t2i_core) exit 1;; esac\n')
    assert made(checkout, "demo")[0].endswith("--editable .")
