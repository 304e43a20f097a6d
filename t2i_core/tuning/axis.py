"""What is tried of one field of a recipe: a list of values, or a range that a search draws from."""

import json
from dataclasses import dataclass
from typing import Any

from t2i_core.canonical import canonical_json
from t2i_core.errors import ConfigError
from t2i_core.recipe import read_value


@dataclass(frozen=True, slots=True)
class Axis:
    """A field, and what is tried of it.

    Attributes:
        path: of the field, such as "optim.learning_rate".
        values: to try; of a range its two ends.
        is_range: whether all between the ends is tried too, whole numbers alone where both ends are whole.
        is_log: whether a range is searched by factors, and not by differences.
    """

    path: str
    values: tuple[Any, ...]
    is_range: bool = False
    is_log: bool = False


def parse_axis(text: str, *, ranges: bool) -> Axis:
    """Read an axis.

    Args:
        text: FIELD=VALUE,VALUE, values as JSON or plain words; or FIELD=LOW..HIGH, behind it perhaps :log.
        ranges: whether there may be a range.

    Raises:
        ConfigError: it is written otherwise.
    """
    path, sign, rest = (part.strip() for part in text.partition("="))
    if not sign or not rest or not all(path.split(".")):
        raise ConfigError(
            f"{text!r:.80} tries nothing: write FIELD=VALUE,VALUE, such as optim.learning_rate=1e-3,3e-3."
        )
    if ".." in rest:
        if not ranges:
            raise ConfigError(f"{text!r:.80} is a range, of which there is no grid: list values, or --search it.")
        return _range(path, rest)
    values = {canonical_json(value): value for value in _values(rest)}
    return Axis(path, tuple(values.values()))


def _values(text: str) -> list[Any]:
    try:
        return list(json.loads(f"[{text}]"))
    except (ValueError, RecursionError):
        return [read_value(part.strip()) for part in text.split(",")]


def _range(path: str, text: str) -> Axis:
    ends, colon, kind = text.partition(":")
    low, high = (read_value(end.strip()) for end in ends.split("..", 1))
    if not all(type(end) in (int, float) for end in (low, high)) or not low < high or (colon and kind != "log"):
        raise ConfigError(f"{path}={text:.80} is no range: write LOW..HIGH, or LOW..HIGH:log, such as 1e-4..1e-2:log.")
    if colon and low <= 0:
        raise ConfigError(f"{path}={text:.80}: what is searched by factors (:log) lies above 0.")
    return Axis(path, (low, high), is_range=True, is_log=bool(colon))
