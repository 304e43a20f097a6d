"""`Config`, the base of everything a person writes: frozen, unknown keys refused, JSON in and out."""

import json
from collections.abc import Iterator, Sequence
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self, get_args

from pydantic import BaseModel, ConfigDict, ValidationError

from t2i_core.canonical import digest_of
from t2i_core.door import read_file
from t2i_core.errors import ConfigError, DataError, did_you_mean

# Many times what anybody writes by hand, and few enough to parse in no time.
MAX_CONFIG_BYTES = 4 * 1024 * 1024


def _complete(schema: dict[str, Any]) -> None:
    """Note the order of the fields, which forms made from the schema follow; a form's field may stay empty for None."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        kinds = [kind for kind in field.get("anyOf", ()) if kind != {"type": "null"}]
        if len(kinds) == 1:
            del field["anyOf"]
            field |= kinds[0]
        field["position"] = position


class Config(BaseModel):
    """A frozen record that refuses unknown keys and reads and writes JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, json_schema_extra=_complete)

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Build the config from plain data.

        Raises:
            ConfigError: a key is unknown or a value is out of bounds; the message names each one.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as err:
            raise ConfigError(f"{cls.__name__}: {describe(err, cls)}") from err

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the config from a JSON file.

        Raises:
            ConfigError: the file is missing, is too large, is not JSON, or does not fit.
        """
        return cls.parse(read_object(path.resolve()))

    def with_changes(self, **changes: Any) -> Self:
        """Copy the config with some fields replaced, validated again."""
        return self.parse(self.model_dump() | changes)

    @property
    def config_digest(self) -> str:
        """sha256 of the canonical JSON form, in hexadecimal."""
        return digest_of(self.model_dump(mode="json"))


def read_object(path: Path | Traversable) -> dict[str, Any]:
    """Read a JSON object from a file, which is no link, or from one of a package.

    Raises:
        ConfigError: there is no such file, it is too large for a config, or it holds something else.
    """
    try:
        body = read_file(path, MAX_CONFIG_BYTES) if isinstance(path, Path) else path.read_bytes()
        data = json.loads(body)
    except FileNotFoundError as err:
        raise ConfigError(f"no such config file: {path}") from err
    except (OSError, ValueError, RecursionError, DataError) as err:
        raise ConfigError(f"{path} is not readable JSON: {err}") from err
    if not isinstance(data, dict):
        raise ConfigError(f"{path} is no config: it holds {data!r:.40}, and not names with values in braces.")
    return data


def describe(err: ValidationError, model: type[BaseModel] | None = None) -> str:
    """Say in one line which fields are wrong and why; a mistyped one with the known one that it is most like.

    Args:
        err: what pydantic found.
        model: what was to be built; None where it is not known.
    """
    parts = []
    for problem in err.errors():
        where, known = _place(model, problem["loc"])
        if problem["type"] == "extra_forbidden":
            parts.append(f"there is no {where}{did_you_mean(where, known)}")
            continue
        parts.append(f"{where}: {problem['msg']} (got {problem.get('input')!r:.80})")
    return "; ".join(parts)


def _place(model: type[BaseModel] | None, location: Sequence[str | int]) -> tuple[str, list[str]]:
    """Spell a field's place as a person writes it, and list the fields that there are beside it.

    Pydantic names the kind that it chose among several, which stands nowhere in what was written.
    """
    models, names = [model] if model else [], list[str]()
    for part in location:
        holder = next((m for m in models if part in m.model_fields), None)
        chosen = [m for m in models if any(field.default == part for field in m.model_fields.values())]
        if holder is None and len(models) > 1 and chosen:
            models = chosen
            continue
        names.append(str(part))
        if holder is not None:
            models = list(_models_in(holder.model_fields[str(part)].annotation)) or [holder]
    beside = (field for m in models for field in m.model_fields)
    return ".".join(names) or "value", [".".join([*names[:-1], field]) for field in beside]


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
