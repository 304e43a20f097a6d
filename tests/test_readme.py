"""Holds README and docs to the truth: the tree is the tree on disk, commands parse, targets, files and links exist."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import torch
import typer
import yaml

from flows.cli import app
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.training.preset import load_preset, preset_names

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deployments").glob("*.md"))]
TEXTS = {page: page.read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [block for text in TEXTS.values() for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
LINES = [line.split("  #")[0].strip() for block in BLOCKS for line in block.replace("\\\n", " ").splitlines()]


def tree_of_readme() -> set[str]:
    block = re.search(r"## Tree\n\n```\n(.*?)```", README, re.DOTALL)
    assert block
    paths, folders = set(), list[str]()
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        folders[depth:] = [line.split()[0]]
        paths.add("".join(folders))
    return paths


def tracked(folder: str) -> set[str]:
    """List what git tracks right below a folder, folders with a slash at the end."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", folder or "."]
    files = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    below = [path.removeprefix(folder) for path in files]
    return {folder + (path.split("/")[0] + "/" if "/" in path else path) for path in below}


def test_every_line_of_the_tree_is_there():
    assert [path for path in tree_of_readme() if not (ROOT / path).exists()] == []


def test_every_room_of_the_core_and_the_top_level_is_in_the_tree():
    quiet = {"README.md", ".gitignore", ".ci/", "t2i_core/__init__.py", "t2i_core/py.typed"}

    wing = {path for path in tracked("t2i_core/data/") if path.endswith("/")}
    missing = (tracked("") | tracked("t2i_core/") | wing) - tree_of_readme() - quiet

    assert missing == set()


@pytest.mark.parametrize("line", [line for line in LINES if line.startswith("t2i ")])
def test_every_command_is_understood(line):
    commands = typer.main.get_command(app)
    name, *arguments = shlex.split(line)[1:]
    command = commands.get_command(commands.make_context("t2i", [name]), name)  # type: ignore[attr-defined]

    context = command.make_context(name, arguments)

    assert context.params


@pytest.mark.parametrize("target", re.findall(r"(?:^|`)make ([a-z]+)", "".join(TEXTS.values()), re.MULTILINE))
def test_every_make_target_exists(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def test_every_deployment_that_is_run_is_deployed():
    deployed = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())["deployments"]
    names = {f"{d['entrypoint'].rsplit('.', 1)[1]}/{d['name']}" for d in deployed}

    for name in re.findall(r"prefect deployment run (\S+)", README):
        assert name in names


# Of the stages of systems with several, in the order of their table's columns.
SIZES = ("-smoke", "", "-small", "-paper")


def parameters_said() -> dict[str, str]:
    """Give what the tables say of each preset."""
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|[^|]*\| ([^|]*) \|", README, re.MULTILINE)
    training = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    for name, cells in re.findall(
        r"^\| `((?:glide|unclip|imagen)-[a-z0-9-]+)` \|[^|]*\|(.*) \|$", training, re.MULTILINE
    ):
        rows += zip((f"{name}{size}" for size in SIZES), map(str.strip, cells.split("|")), strict=True)
    return dict(row for row in rows if row[1] != "–")


def test_every_preset_is_listed_and_no_other():
    assert sorted(parameters_said()) == preset_names()


@pytest.mark.parametrize("name", preset_names())
def test_the_presets_have_as_many_parameters_as_their_table_says(name):
    system = load_preset(name).system
    with torch.device("meta"):
        # About the vocabulary of the built-in scenes.
        side = max(64, getattr(system, "side", 0))
        sizes = Sizes(vocab_size=64, context_length=32, image_size=side, feature_width=512, embedding_width=128)
        stage = build_stage(system, sizes)

    millions = float(f"{sum(p.numel() for p in stage.parameters()) / 1e6:.2g}")
    assert parameters_said()[name] == f"{millions:,g} M"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_named_and_every_link_is_there(page):
    for path in re.findall(r"`((?:t2i_core|tests|deployments|flows|docs)/[\w/.]+)`", TEXTS[page]):
        assert (ROOT / path).exists(), path
    for link in re.findall(r"\]\((?!https?://)([^)#]+)", TEXTS[page]):
        assert (page.parent / link).exists(), link


def test_every_page_of_the_docs_can_be_found_from_the_readme():
    assert [page.name for page in sorted((ROOT / "docs").glob("*.md")) if f"docs/{page.name}" not in README] == []
