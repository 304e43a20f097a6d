"""Command options made from a config class: one for each field, with its description, unit, bounds and default."""

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from t2i_core.config import Config
from t2i_core.errors import ConfigError
from t2i_core.recipe import read_recipe, recipe_names

C = TypeVar("C", bound=Config)
SIMPLE = (bool, int, float, str)


Groups = Mapping[str, Sequence[str]]


def config_options(
    config_class: type[C], groups: Groups | None = None, presets: Traversable | None = None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command an option for each simple field of a config class, and `--config FILE` for all of them.

    The command function takes the finished config as its keyword argument `config`. Options win over the file, the
    file over the defaults.

    Args:
        config_class: what the command needs.
        groups: fields by the heading that their options stand under in the help; the others need none.
        presets: folder of named recipes of the config, one of which `--preset` starts from; None for none.
    """
    headings = {field: heading for heading, fields in (groups or {}).items() for field in fields}

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        schemas = config_class.model_json_schema()["properties"]
        options = {
            name: _option(name, field, schemas[name], headings.get(name))
            for name, field in config_class.model_fields.items()
        }
        options = {name: option for name, option in options.items() if option is not None}

        def with_config(**arguments: Any) -> None:
            given = {name: arguments.pop(name) for name in options}
            path, preset = arguments.pop("config_file"), arguments.pop("preset", None)
            if path and preset:
                raise ConfigError("--preset and --config are both whole: give one; a file may start `from` a preset.")
            start = read_recipe(presets, preset) if presets and preset else {}
            arguments["config"] = build_config(config_class, path, start | _without_none(given))
            command(**arguments)

        own = [p for p in inspect.signature(command).parameters.values() if p.name != "config"]
        file_type = Annotated[
            Path | None, typer.Option("--config", help=f"{config_class.__name__} as JSON; options below win over it.")
        ]
        added = {"config_file": file_type} | ({"preset": _preset_type(presets)} if presets else {}) | options
        parameters = [*own, *(_keyword(name, kind) for name, kind in added.items())]
        parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        with_config.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        with_config.__annotations__ = {p.name: p.annotation for p in parameters}
        with_config.__name__, with_config.__doc__ = command.__name__, command.__doc__
        return with_config

    return decorate


def _without_none(given: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in given.items() if value is not None}


def _preset_type(presets: Traversable) -> Any:
    told = f"Recipe to start from, {', '.join(recipe_names(presets))}, or a JSON file; options below win over it."
    return Annotated[str | None, typer.Option("--preset", help=told)]


def build_config(config_class: type[C], path: Path | None, given: Mapping[str, Any]) -> C:
    """Put a config together from a file and options.

    Args:
        config_class: what to build.
        path: JSON file of a complete or partial config, or None.
        given: option values by field; None for options that were not given.

    Raises:
        ConfigError: the file or a value does not fit.
    """
    data: dict[str, Any] = {}
    if path is not None:
        data = config_class.load(path).model_dump()
    data |= _without_none(given)
    try:
        return config_class.parse(data)
    except ConfigError as err:
        missing = [
            name for name, field in config_class.model_fields.items() if field.is_required() and name not in data
        ]
        if missing:
            raise ConfigError(f"missing {', '.join(map(_flag, missing))}; see --help.") from err
        raise


def _keyword(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _option(name: str, field: FieldInfo, schema: Mapping[str, Any], heading: str | None) -> Any:
    """Make the option of one field, or None for a field that only fits into a file."""
    kind = _optional_of(field.annotation)
    item = _item_of(kind)
    if item is not None:
        # Of a list, typer checks no choices; the config does.
        kind = list[item if item in SIMPLE else str]  # type: ignore[misc]
    elif kind not in SIMPLE and get_origin(kind) is not Literal:
        return None
    declarations = (f"{_flag(name)}/--no-{name.replace('_', '-')}",) if kind is bool else (_flag(name),)
    metavar = None if item is None else f"<{item.__name__ if item in SIMPLE else '|'.join(get_args(item))}>"
    told = typer.Option(
        *declarations, help=_help(field, schema), show_default=False, metavar=metavar, rich_help_panel=heading
    )
    return Annotated[kind | None, told]


def _optional_of(annotation: Any) -> Any:
    """Take the None out of an optional type."""
    if get_origin(annotation) in (Union, types.UnionType):
        rest = [part for part in get_args(annotation) if part is not type(None)]
        return rest[0] if len(rest) == 1 else None
    return annotation


def _item_of(annotation: Any) -> Any:
    """Give the item type of a homogeneous tuple of simple items or choices, or None."""
    items = get_args(annotation)
    if get_origin(annotation) is not tuple or len(items) != 2 or items[1] is not Ellipsis:
        return None
    # Bounds of an item are for the config to check.
    item = get_args(items[0])[0] if get_origin(items[0]) is Annotated else items[0]
    return item if item in SIMPLE or get_origin(item) is Literal else None


def _help(field: FieldInfo, schema: Mapping[str, Any]) -> str:
    notes = [note for note in (_bounds(schema), _default(field)) if note]
    text = (field.description or "").rstrip(".")
    # A list of what the choices mean begins with a choice, which is spelt as it is typed.
    text = text if text.split(" ")[0].endswith(":") else text[:1].upper() + text[1:]
    return text + (f" ({'; '.join(notes)})." if notes else ".")


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    bounds = {"at least": low, "above": above, "at most": high, "below": below}
    return " and ".join(f"{word} {bound:,}" for word, bound in bounds.items() if bound is not None)


def _default(field: FieldInfo) -> str:
    if field.default is PydanticUndefined:
        return "required"
    if isinstance(field.default, tuple):
        return f"default: {', '.join(map(str, field.default))}" if field.default else ""
    if isinstance(field.default, bool):
        return "default: on" if field.default else "default: off"
    return "" if field.default in (None, "") else f"default: {field.default}"
