"""Imports point one way: deployments -> flows -> tasks -> t2i_core, and downward inside the core."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
# What each room may import besides itself, and besides the base and the words of the wing (the files in `data` itself);
# whatever is not a room of ours is free, but for Prefect in the core. A file of the core is a room like a folder.
BASE = {
    *("canonical", "config", "recipe", "errors", "progress", "door", "folders", "lifeline", "children"),
    "naming",
    "report",
    "machine",
}
BASE_ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "canonical": set(),
    "config": {"canonical", "errors", "door"},
    "recipe": {"config", "errors"},
    "progress": set(),
    "lifeline": set(),
    "children": {"lifeline"},
    "machine": {"config", "children"},
    "door": {"errors"},
    "folders": {"canonical", "config", "errors", "door"},
    "naming": {"errors"},
    "report": {"errors", "door"},
}
GETTING = {"data.bounded", "data.workers", "data.tables", "data.manners", "data.web", "data.pages", "data.crawling"}
KEEPING = {"data.shards", "data.tables", "data.bounded"}
ROOM_ARROWS: dict[str, set[str]] = {
    "samples": {"data.pictures"},
    "doctor": {"samples"},
    "data": set(),
    "data.bounded": set(),
    "data.workers": set(),
    "data.tables": {"data.bounded", "data.workers"},
    "data.manners": {"data.bounded"},
    "data.web": {"data.bounded", "data.manners"},
    "data.pages": {"data.bounded", "data.manners"},
    "data.crawling": {"data.bounded", "data.workers", "data.manners", "data.web", "data.pages"},
    "data.pictures": {"data.bounded", "data.workers"},
    "data.shards": {"data.bounded", "data.tables"},
    "data.sources": GETTING | {"data.shards"},
    "data.account": KEEPING,
    "data.dataset": KEEPING | {"data.account", "data.manners"},
    "data.batches": KEEPING,
    "ingestion": GETTING
    | KEEPING
    | {"data.sources", "data.pictures", "data.account", "data.dataset", "ingestion.refreshing"},
    "ingestion.refreshing": {
        *("ingestion", "data.bounded", "data.tables", "data.manners", "data.web", "data.crawling", "data.shards"),
        *("data.sources", "data.dataset"),
    },
    "captioning": KEEPING | {"data.dataset", "data.batches"},
    "encoders": set(),
    "encoding": {"encoders", "systems", "models", "data.batches", "data.bounded"},
    "models": set(),
    "diffusion": set(),
    "diffusion.samplers": {"diffusion"},
    "systems": {"models", "diffusion", "diffusion.samplers", "systems.pictures", "systems.priors"},
    "systems.pictures": {"diffusion"},
    "systems.priors": {"systems", "models", "diffusion", "diffusion.samplers"},
    "training": {"encoding", "systems", "models", "diffusion", "data.batches", "data.bounded"},
    "lineage": {"data.batches", "data.dataset", "data.shards", "data.tables"},
    "composition": {"training", "systems", "data.bounded"},
    "generation": {
        "composition",
        "encoders",
        "encoding",
        "training",
        "systems",
        "diffusion",
        "models",
        "lineage",
        "data.batches",
        "data.bounded",
    },
    "generation.edits": {
        "generation",
        "composition",
        "encoders",
        "systems",
        "data.batches",
        "data.bounded",
        "lineage",
    },
    "evaluation.judges": {"samples", "encoders"},
    "evaluation.metrics": {"evaluation.judges", "samples"},
    "evaluation.studies": {
        "evaluation.judges",
        "evaluation.metrics",
        "generation",
        "generation.edits",
        "samples",
    },
    "evaluation": {
        "composition",
        "evaluation.studies",
        "evaluation.judges",
        "evaluation.metrics",
        "generation",
        "training",
        "lineage",
        "samples",
        "data.batches",
        "data.tables",
        "data.bounded",
    },
    "comparison": {
        "composition",
        "evaluation",
        "evaluation.judges",
        "evaluation.metrics",
        "generation",
        "lineage",
        "data.bounded",
    },
    "promotion": {"comparison", "composition", "evaluation.judges"},
    "sweeps": {
        *("comparison", "composition", "diffusion", "evaluation", "evaluation.metrics", "generation", "promotion"),
        "training",
    },
    "tuning": {"evaluation", "evaluation.metrics", "promotion", "training"},
    "nights": {"promotion", "comparison", "evaluation", "evaluation.metrics", "lineage", "data.batches"},
    "api": {"composition", "ingestion", "captioning", "encoders", "encoding", "training", "generation", "evaluation"}
    | {"generation.edits", "comparison", "promotion"},
}
MAX_FILES_A_ROOM = 15
MAX_LINES_A_FUNCTION = 60
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


def room_of(parts: Sequence[str]) -> str:
    """Name the room of a module of the core: its folder, or the file itself where it lies in no folder."""
    inner = parts[1:-1]
    return ".".join(inner) if inner else parts[-1]


def core_modules() -> dict[str, Path]:
    """Give each module of the core by its dotted name; a folder's own file is its `__init__`."""
    return {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in modules("t2i_core")}


def arrows() -> Iterator[tuple[str, str]]:
    """Give every import of one module of the core by another, those inside functions too."""
    named = core_modules()
    for module, path in named.items():
        for name in imported_modules(path):
            target = next((n for n in (name, name.rpartition(".")[0]) if n in named), None)
            if target and target != module:
                yield module, target


def test_the_rooms_of_the_core_import_only_what_lies_below() -> None:
    table = BASE_ARROWS | {room: allowed | BASE | {"data"} for room, allowed in ROOM_ARROWS.items()}
    for module, target in arrows():
        room, other = (room_of(name.split(".")) for name in (module, target))
        if room not in ("__init__", "t2i_core"):
            # What a person writes of a step is a word that the rooms inside it read too.
            own_config = f"t2i_core.{room.partition('.')[0]}.config"
            assert other in table[room] | {room} or target == own_config, f"{module} imports {target}"


def test_no_file_leads_back_to_itself() -> None:
    """An order in which every file comes after all that it imports: there is one only where there is no cycle."""
    imports: dict[str, set[str]] = {}
    for module, target in arrows():
        # The package's own door opens late and imports everything.
        if module != "t2i_core.__init__":
            imports.setdefault(module, set()).add(target)

    assert len(list(TopologicalSorter(imports).static_order())) >= len(imports)


def test_no_room_is_crowded_or_deep() -> None:
    rooms = Counter(path.parent.relative_to(ROOT) for path in modules("t2i_core"))

    assert {str(room): number for room, number in rooms.items() if number > MAX_FILES_A_ROOM} == {}
    assert max(len(room.parts) for room in rooms) <= 3


@pytest.mark.parametrize("package", PACKAGE_ARROWS)
def test_no_function_is_long(package: str) -> None:
    for path in modules(package):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = min(part.lineno for part in (node, *node.decorator_list))
                lines = (node.end_lineno or first) - first + 1
                assert lines <= MAX_LINES_A_FUNCTION, f"{path}:{first}: {node.name} has {lines} lines"


@pytest.mark.parametrize(
    ("module", "heavy"),
    [
        ("t2i_core.data.sources.folder", {"pycurl", "torch", "PIL.Image"}),
        ("t2i_core.ingestion.config", {"pycurl", "torch", "PIL.Image", "pyarrow"}),
        ("t2i_core.training.config", {"torch", "pyarrow", "pycurl"}),
        ("t2i_core.comparison.config", {"torch", "pyarrow", "open_clip"}),
        ("t2i_core.promotion.registry", {"torch", "pyarrow", "open_clip", "numpy"}),
        ("t2i_core.encoding.config", {"torch", "pyarrow", "open_clip", "transformers"}),
        ("t2i_core.training.step", {"t2i_core.data.pictures.process", "cv2", "pycurl", "prefect"}),
        ("t2i_core.captioning.step", {"torch", "pycurl"}),
        ("t2i_core.encoding.step", {"torch", "pyarrow", "open_clip", "transformers"}),
        ("t2i_core.composition.step", {"torch", "pyarrow", "open_clip"}),
        ("t2i_core.evaluation.step", {"torch", "pyarrow", "open_clip", "scipy"}),
        ("t2i_core.comparison.step", {"torch", "pyarrow", "open_clip", "PIL.Image"}),
    ],
)
def test_a_door_opens_without_what_others_need(module: str, heavy: set[str]) -> None:
    code = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)

    assert result.stdout.strip() == "[]"


def test_no_room_is_a_drawer_for_leftovers() -> None:
    for package in PACKAGE_ARROWS:
        for path in modules(package):
            assert path.stem not in {"utils", "common", "helpers"}, path


def test_prefect_waits_until_its_environment_is_prepared() -> None:
    """Nothing that the command imports before `prepare_environment` may import Prefect at its top level."""
    early = [ROOT / "flows" / f"{name}.py" for name in ("cli", "config", "recipe", "steps")]
    for path in early + [path for room in ("shell", "commands") for path in (ROOT / "flows" / room).glob("*.py")]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        top = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
        names = [getattr(node, "module", None) or node.names[0].name for node in top]
        assert not [module for module in names if module.split(".")[0] in ("prefect", "tasks")], path


# What may start a process: the one way for our own, git for our own checkout, and Prefect's command.
STARTERS = {"t2i_core/children.py", "t2i_core/machine.py", "flows/operations/deployments.py"}
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
