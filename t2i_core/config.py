"""`Config`, the base of everything a person writes: frozen, unknown keys refused, JSON in and out."""

import json
from collections.abc import Iterable
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from t2i_core.canonical import digest_of
from t2i_core.errors import ConfigError, did_you_mean


def _number_fields(schema: dict[str, Any]) -> None:
    """Note the order of the fields, which forms made from the schema follow."""
    for position, field in enumerate(schema.get("properties", {}).values()):
        field["position"] = position


class Config(BaseModel):
    """A frozen record that refuses unknown keys and reads and writes JSON."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra=_number_fields)

    @classmethod
    def parse(cls, data: Any) -> Self:
        """Build the config from plain data.

        Raises:
            ConfigError: a key is unknown or a value is out of bounds; the message names each one.
        """
        try:
            return cls.model_validate(data)
        except ValidationError as err:
            raise ConfigError(f"{cls.__name__}: {describe(err, cls.model_fields)}") from err

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the config from a JSON file.

        Raises:
            ConfigError: the file is missing, is not JSON, or does not fit.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as err:
            raise ConfigError(f"no such config file: {path}") from err
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as err:
            raise ConfigError(f"{path} is not readable JSON: {err}") from err
        return cls.parse(data)

    def with_changes(self, **changes: Any) -> Self:
        """Copy the config with some fields replaced, validated again."""
        return self.parse(self.model_dump() | changes)

    @property
    def config_digest(self) -> str:
        """sha256 of the canonical JSON form, in hexadecimal."""
        return digest_of(self.model_dump(mode="json"))


def names_of_presets(folder: Traversable) -> list[str]:
    """List the presets, files NAME.json, of a package's folder."""
    return sorted(entry.name.removesuffix(".json") for entry in folder.iterdir() if entry.name.endswith(".json"))


def read_preset(folder: Traversable, name: str) -> Any:
    """Read a preset of a package's folder as plain data.

    Raises:
        ConfigError: there is none of this name.
    """
    names = names_of_presets(folder)
    if name not in names:
        raise ConfigError(f"unknown preset {name!r}{did_you_mean(name, names)}; choose one of: {', '.join(names)}.")
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


def describe(err: ValidationError, known: Iterable[str] = ()) -> str:
    """Say in one line which fields are wrong and why; a mistyped one with the one of the known that it is most like."""
    parts = []
    for problem in err.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "value"
        if problem["type"] == "extra_forbidden":
            parts.append(f"there is no {where}{did_you_mean(where, known)}")
            continue
        parts.append(f"{where}: {problem['msg']} (got {problem.get('input')!r:.80})")
    return "; ".join(parts)
