"""Recipes start from one another, take changes, and are read from files of which nothing is believed."""

import json
from pathlib import Path
from typing import Any

import pytest

from t2i_core.config import MAX_CONFIG_BYTES
from t2i_core.errors import ConfigError
from t2i_core.recipe import apply_changes, merge, read_recipe, recipe_label


@pytest.fixture
def presets(tmp_path: Path) -> Path:
    """A package's folder with two recipes, one of which starts from the other."""
    folder = tmp_path / "package"
    write(folder / "large.json", {"size": {"width": 512, "layers": 8}, "rates": [1, 2], "steps": 9})
    write(folder / "small.json", {"from": "large", "size": {"width": 64}, "rates": [3]})
    return folder


def write(path: Path, data: Any) -> str:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(data if isinstance(data, str) else json.dumps(data))
    return str(path)


def test_a_recipe_takes_field_by_field_what_it_does_not_say(presets: Path) -> None:
    assert read_recipe(presets, "small") == {"size": {"width": 64, "layers": 8}, "rates": [3], "steps": 9}


def test_a_file_starts_from_a_name_and_from_a_file_beside_it(presets: Path, tmp_path: Path) -> None:
    write(tmp_path / "mine" / "first.json", {"from": "small", "steps": 1})
    second = write(tmp_path / "mine" / "second.json", {"from": "first.json", "size": {"layers": 2}})

    assert read_recipe(presets, second) == {"size": {"width": 64, "layers": 2}, "rates": [3], "steps": 1}


def test_what_starts_from_itself_is_refused_with_the_way_round(presets: Path, tmp_path: Path) -> None:
    write(tmp_path / "a.json", {"from": "b.json"})
    write(tmp_path / "b.json", {"from": "a.json"})
    write(presets / "self.json", {"from": "self"})

    with pytest.raises(ConfigError, match="from itself: a -> b -> a"):
        read_recipe(presets, str(tmp_path / "a.json"))
    with pytest.raises(ConfigError, match="from itself: self -> self"):
        read_recipe(presets, "self")


@pytest.mark.parametrize("start", ["../package/large.json", "/etc/hosts", ["large"], "large\0"])
def test_a_file_opens_no_other_than_those_beside_it(presets: Path, tmp_path: Path, start: Any) -> None:
    with pytest.raises(ConfigError, match="`from` takes the name"):
        read_recipe(presets, write(tmp_path / "own" / "mine.json", {"from": start}))


def test_a_link_beside_a_file_is_not_followed(presets: Path, tmp_path: Path) -> None:
    write(tmp_path / "secret.json", {"steps": 1})
    own = write(tmp_path / "own" / "mine.json", {"from": "other.json"})
    (tmp_path / "own" / "other.json").symlink_to(tmp_path / "secret.json")

    with pytest.raises(ConfigError, match="is a link"):
        read_recipe(presets, own)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "not readable JSON"),
        ("[1, 2]", "holds"),
        ("[" * 200_000, "not readable JSON"),
        ('{"a": "' + "x" * MAX_CONFIG_BYTES + '"}', "bytes"),
    ],
)
def test_what_is_no_recipe_is_refused_in_a_sentence(presets: Path, tmp_path: Path, content: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        read_recipe(presets, write(tmp_path / "mine.json", content))


def test_a_name_that_is_no_preset_but_a_file_is_explained(
    presets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "mine", {})

    with pytest.raises(ConfigError, match=r"unknown preset 'mine'; for the file of that name write \./mine"):
        read_recipe(presets, "mine")
    with pytest.raises(ConfigError, match=r"unknown preset 'smal' \(did you mean 'small'\?\); choose one of: large"):
        read_recipe(presets, "smal")


def test_an_object_of_another_kind_shares_nothing() -> None:
    base = {"system": {"kind": "cnn", "width": 3}}

    assert merge(base, {"system": {"kind": "unet"}}) == {"system": {"kind": "unet"}}
    assert merge(base, {"system": {"kind": "cnn", "depth": 1}})["system"] == {"kind": "cnn", "width": 3, "depth": 1}
    assert base == {"system": {"kind": "cnn", "width": 3}}


def test_changes_are_json_or_plain_words() -> None:
    changes = ["a.b=3e-3", "a.c=[1, 2]", "word=heun", "d.e=null", "text=a=b"]

    assert apply_changes({"a": {"b": 1, "z": 0}}, changes) == {
        "a": {"b": 0.003, "c": [1, 2], "z": 0},
        "word": "heun",
        "d": {"e": None},
        "text": "a=b",
    }


@pytest.mark.parametrize("change", ["optim.learning_rate", "=3", "a..b=1", ".=1"])
def test_a_change_without_a_field_or_a_value_is_refused(change: str) -> None:
    with pytest.raises(ConfigError, match="write NAME=VALUE"):
        apply_changes({}, [change])


def test_a_recipe_is_called_by_its_name_wherever_its_file_lies() -> None:
    assert [recipe_label(wanted) for wanted in ("demo", "./demo.json", "/a/b/demo.json")] == ["demo"] * 3
