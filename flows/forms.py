"""Forms in groups: a config that is flat in code and in its key is drawn in the groups of the command's help."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from t2i_core.errors import did_you_mean

Groups = Mapping[str, Sequence[str]]
Schema = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grouped:
    """Annotates a flow's parameter, whose type is a flat config.

    The form has an object for each group. Values are taken out of them again, and flat ones as they are: those of
    deployments made before there were groups, and of whoever types them.

    Attributes:
        groups: fields by the heading that they stand under; the others stand above all groups.
    """

    groups: Groups

    def __get_pydantic_core_schema__(self, config_class: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Take values out of their groups before the config is built."""
        return core_schema.no_info_before_validator_function(self.flat, handler(config_class))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> Schema:
        """Draw the groups, and allow the flat names beside them."""
        reference = handler(schema)
        self._group(handler.resolve_ref_schema(reference))
        return reference

    def _group(self, definition: Schema) -> None:
        if "patternProperties" in definition:
            # Drawn already.
            return
        fields: Schema = definition["properties"]
        definition["patternProperties"] = {f"^{name}$": field for name, field in fields.items()}
        grouped = {
            group_name(heading): _object(heading, {name: fields[name] for name in names}, position)
            for position, (heading, names) in enumerate(self.groups.items(), start=len(fields))
        }
        inside = {name for names in self.groups.values() for name in names}
        definition["properties"] = {name: field for name, field in fields.items() if name not in inside} | grouped

    def flat(self, given: Any) -> Any:
        """Give the values by their own names.

        Raises:
            ValueError: a group has no such field, or a field has two values.
        """
        if not isinstance(given, Mapping):
            return given
        values = dict(given)
        for heading, names in self.groups.items():
            group = group_name(heading)
            for name, value in _checked(group, values.pop(group, None) or {}, names).items():
                if values.setdefault(name, value) != value:
                    raise ValueError(f"{name} is given twice: {values[name]!r:.80}, and {value!r:.80} in {group}")
        return values

    def filled(self, config: BaseModel) -> dict[str, Any]:
        """Give a config's values in their groups, as a form that is filled in holds them."""
        values = config.model_dump(mode="json", exclude_none=True)
        for heading, names in self.groups.items():
            values[group_name(heading)] = {name: values.pop(name) for name in names if name in values}
        return values


def group_name(heading: str) -> str:
    """Spell a heading as the name of a value: "Sampling" is sampling."""
    return re.sub(r"[^a-z0-9]+", "_", heading.lower()).strip("_")


def _checked(group: str, given: Any, names: Sequence[str]) -> Mapping[str, Any]:
    """Give the values of a group, which has all of their names."""
    if not isinstance(given, Mapping):
        raise ValueError(f"{group} is a group of values by name, not {given!r:.80}")
    if unknown := next((name for name in given if name not in names), None):
        raise ValueError(f"{group} has no {unknown}{did_you_mean(unknown, names)}")
    return given


def _object(heading: str, fields: Schema, position: int) -> Schema:
    """Describe one group."""
    placed = {name: field | {"position": place} for place, (name, field) in enumerate(fields.items())}
    return {
        "type": "object",
        "title": heading,
        "position": position,
        "properties": placed,
        "additionalProperties": False,
        "default": {name: field["default"] for name, field in fields.items() if field.get("default") is not None},
    }
