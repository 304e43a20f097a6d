"""One word for one thing: what people read spells it as the glossary of the README says. Names in code keep theirs."""

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("t2i_core", "tasks", "flows", "deployments")
# What must not be read anywhere, and the word that is meant.
FORBIDDEN = {
    r"\bdata[ -]sets?\b": "dataset",
    r"colour": "color",
    r"\bgrey": "gray",
    r"\bimages? ?(seen\b|/s\b|per second|a second)": "pictures",
    r"\b(told|tells)\b(?! apart| from| unsure from)": "says, lists or prints",
}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [path for name in listed.stdout.splitlines() if (path := ROOT / name).is_file()]


def spoken(path: Path) -> list[str]:
    """Give what people may read of a file: a page or template as a whole, of a module its texts but no docstrings."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        return [text]
    nodes = list(ast.walk(ast.parse(text)))
    quiet = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    texts = [node for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return [str(node.value) for node in texts if id(node) not in quiet and " " in str(node.value)]


def wrong_words(text: str) -> list[str]:
    """List what is spelt otherwise than the glossary says."""
    found = (re.search(pattern, text, re.IGNORECASE) for pattern in FORBIDDEN)
    return [match[0] for match in found if match]


FILES = tracked("*.md", "*.j2", "*.yaml", *(f"{package}/*.py" for package in PACKAGES))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_one_thing_has_one_name(path: Path) -> None:
    # The glossary itself names the words that are not used.
    text = "\n".join(spoken(path)).partition("\n## Words\n")
    rest = text[2].partition("\n## ")

    assert wrong_words(text[0] + rest[2]) == []


def test_a_wrong_word_is_found_and_a_right_one_is_not() -> None:
    assert wrong_words("A Data set of grey images/s, as told") == ["Data set", "grey", "images/s", "told"]
    assert wrong_words("A dataset of gray pictures; datasets.load_dataset; told apart; --image-size; image/png") == []
