"""Imports point one way: deployments -> flows -> tasks -> t2i_core, and downward inside the core."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each room may import besides itself; whatever is not a room of ours is free, but for Prefect in the core.
CORE_BASE = {"config", "errors", "progress", "door", "layout", "manifest", "lifeline", "children", "report", "machine"}
SAMPLES_TO_DIFFUSION = {"samples", "data", "models", "diffusion"}
CORE_ARROWS: dict[str, set[str]] = {
    "config": {"errors"},
    "errors": set(),
    "api": {"manifest", "progress", "data", "training", "evaluation"},
    "progress": set(),
    "lifeline": set(),
    "children": {"lifeline"},
    "machine": {"config", "children"},
    "report": {"errors", "door"},
    "door": {"errors"},
    "layout": {"errors", "door"},
    "manifest": {"config", "errors", "door", "layout"},
    **dict.fromkeys(SAMPLES_TO_DIFFUSION, CORE_BASE),
    "systems": CORE_BASE | SAMPLES_TO_DIFFUSION,
    "training": CORE_BASE | SAMPLES_TO_DIFFUSION | {"systems"},
    "evaluation": CORE_BASE | SAMPLES_TO_DIFFUSION | {"systems", "training"},
    "doctor": CORE_BASE | {"samples"},
}
PACKAGE_ARROWS = {
    "t2i_core": set[str](),
    "tasks": {"t2i_core"},
    "flows": {"tasks", "t2i_core"},
    "deployments": {"flows", "tasks", "t2i_core"},
}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(package: str) -> list[Path]:
    found = sorted((ROOT / package).rglob("*.py"))
    assert found, f"no modules in {package}"
    return found


@pytest.mark.parametrize("package", PACKAGE_ARROWS)
def test_packages_import_only_what_lies_below(package: str) -> None:
    forbidden = set(PACKAGE_ARROWS) - PACKAGE_ARROWS[package] - {package}
    for path in modules(package):
        for name in imported_modules(path):
            assert name.split(".")[0] not in forbidden, f"{path} imports {name}"


def test_the_core_never_imports_prefect() -> None:
    for path in modules("t2i_core"):
        assert not [name for name in imported_modules(path) if name.split(".")[0] == "prefect"], path


def test_the_rooms_of_the_core_import_only_what_lies_below() -> None:
    for path in modules("t2i_core"):
        room = path.relative_to(ROOT / "t2i_core").parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        allowed = CORE_ARROWS[room] | {room, "__version__"}
        for name in imported_modules(path):
            parts = name.split(".")
            if parts[0] == "t2i_core" and len(parts) > 1:
                assert parts[1] in allowed, f"{path} imports {name}"


def test_no_room_is_a_drawer_for_leftovers() -> None:
    for package in PACKAGE_ARROWS:
        for path in modules(package):
            assert path.stem not in {"utils", "common", "helpers"}, path


def test_prefect_waits_until_its_environment_is_prepared() -> None:
    """Nothing that the command imports before `prepare_environment` may import Prefect at its top level."""
    names = ("cli", "adhoc", "config", "options", "prefect_import", "recipe", "server", "steps", "summary", "terminal")
    for path in [ROOT / "flows" / f"{name}.py" for name in names] + sorted((ROOT / "flows" / "commands").glob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in top]
        assert not [module for module in names if module.split(".")[0] in ("prefect", "tasks")], path


# What may start a process: the one way for our own, git for our own checkout, and Prefect's command.
STARTERS = {"t2i_core/children.py", "t2i_core/machine.py", "deployments/deploy.py"}
STARTS = re.compile(r"subprocess\.\w+|os\.(system|popen|exec\w+|spawn\w+|fork\w*)|multiprocessing\..*")
RUNS_WHAT_IT_READS = re.compile(
    r"(.*\.)?(pickle|cPickle|cloudpickle|joblib|dill|marshal|shelve)\..*|torch\.load|eval|exec|yaml\.(unsafe_)?load"
)


def calls(path: Path) -> Iterator[tuple[str, dict[str | None, str], str]]:
    """Give what each call calls, its keywords, and where it stands."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            yield ast.unparse(node.func), keywords, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.parametrize("package", PACKAGE_ARROWS)
def test_no_file_chooses_what_runs(package: str) -> None:
    """Each of these runs code, or a program, that a file from elsewhere can choose; one place does it right."""
    for path in modules(package):
        may_start = path.relative_to(ROOT).as_posix() in STARTERS
        for called, keywords, where in calls(path):
            if called == "Image.open":
                assert "formats" in keywords, f"{where}: name the formats, or call report.pictures.open_picture"
            assert may_start or not STARTS.fullmatch(called), f"{where}: start it by children.start"
            assert not RUNS_WHAT_IT_READS.fullmatch(called), where
            assert keywords.get("allow_pickle", "False") == "False", where
            assert keywords.get("trust_remote_code", "False") == "False", where
