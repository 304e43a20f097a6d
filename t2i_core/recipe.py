"""Recipes: JSON objects with a name in a package, or in a file of somebody's own, that may start `from` one another.

What a recipe does not say is taken from the one it starts from, field by field; whoever reads it gets the merged whole.
A recipe is data: nothing in it is run, and a file from elsewhere opens no other than those beside it.
"""

import json
from collections.abc import Iterable, Mapping
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from t2i_core.config import read_object
from t2i_core.errors import ConfigError, did_you_mean

SUFFIX = ".json"
FROM = "from"

Place = Path | Traversable


def recipe_names(folder: Traversable) -> list[str]:
    """List the recipes, files NAME.json, of a package's folder."""
    return sorted(entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX))


def is_file_name(wanted: str) -> bool:
    """Tell whether a file of somebody's own is meant, and no name."""
    return wanted.endswith(SUFFIX) or "/" in wanted


def recipe_label(wanted: str) -> str:
    """Give what a recipe is called: its name, or that of its file without folder and ending."""
    return Path(wanted).stem if is_file_name(wanted) else wanted


def read_recipe(folder: Traversable, wanted: str) -> dict[str, Any]:
    """Read a recipe, merged with all that it starts from.

    Args:
        folder: the package's folder of named recipes.
        wanted: name of one of these, or path of a file.

    Raises:
        ConfigError: there is none, it cannot be read, or it starts from itself.
    """
    place: Place | None = Path(wanted).resolve() if is_file_name(wanted) else _named(folder, wanted)
    layers: dict[Place, dict[str, Any]] = {}
    while place is not None:
        if place in layers:
            names = " -> ".join(recipe_label(layer.name) for layer in [*layers, place])
            raise ConfigError(f"a recipe cannot start from itself: {names}.")
        layers[place] = read_object(place)
        place = _start(folder, place, layers[place].pop(FROM, None))
    merged: dict[str, Any] = {}
    for layer in reversed(layers.values()):
        merged = merge(merged, layer)
    return merged


def _named(folder: Traversable, name: str) -> Traversable:
    names = recipe_names(folder)
    if name in names:
        return folder / f"{name}{SUFFIX}"
    hint = did_you_mean(name, names)
    if Path(name).is_file():
        hint = f"; for the file of that name write ./{name}"
    raise ConfigError(f"unknown preset {name!r}{hint}; choose one of: {', '.join(names)}.")


def _start(folder: Traversable, place: Place, name: Any) -> Place | None:
    """Find what a recipe starts from: a named one, or a file beside its own."""
    if name is None:
        return None
    if not isinstance(name, str) or "/" in name or "\0" in name:
        raise ConfigError(
            f"{place}: `{FROM}` takes the name of a preset or of a file beside this one, not {name!r:.80}."
        )
    return place.parent / name if isinstance(place, Path) and name.endswith(SUFFIX) else _named(folder, name)


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one object over another, field by field; an object of another `kind` shares nothing with the one below."""
    merged = dict(base)
    for name, value in changes.items():
        below = merged.get(name)
        if isinstance(below, dict) and isinstance(value, dict) and _are_alike(below, value):
            value = merge(below, value)
        merged[name] = value
    return merged


def _are_alike(below: Mapping[str, Any], above: Mapping[str, Any]) -> bool:
    return bool(above.get("kind", below.get("kind")) == below.get("kind"))


def apply_changes(recipe: Mapping[str, Any], changes: Iterable[str]) -> dict[str, Any]:
    """Set single fields of a recipe.

    Args:
        recipe: to start from.
        changes: such as "optim.learning_rate=3e-3": the path of a field, and its value as JSON or as a plain word.

    Raises:
        ConfigError: one is written otherwise.
    """
    changed = dict(recipe)
    for change in changes:
        path, sign, value = change.partition("=")
        parts = path.strip().split(".")
        if not sign or not all(parts):
            raise ConfigError(f"{change!r:.80} sets nothing: write NAME=VALUE, such as optim.learning_rate=3e-3.")
        nested = read_value(value.strip())
        for part in reversed(parts):
            nested = {part: nested}
        changed = merge(changed, nested)
    return changed


def read_value(text: str) -> Any:
    """Read a value that somebody wrote: JSON, or else a plain word."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text
