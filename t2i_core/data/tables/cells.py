"""What a cell of a foreign list can be in a dataset, and of which type the column is that it stands in.

A column is of the one type that all its cells have: true or false, whole numbers, numbers, text, or lists of one of
these. Where they differ, and where they are nested further, it is text.
"""

import math
from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any

from t2i_core.data.text import MAX_TEXT_CHARS, as_text, clean_text

Cell = bool | int | float | str | list[Any] | None

TEXT = "text"
LIST = "[]"
# "exact" are whole numbers that a column of numbers holds too, "long" those that only one of whole numbers does.
_MAX_EXACT, _MAX_LONG = 2**53, 2**63 - 1
_JOINED = {
    frozenset({"exact", "long"}): "long",
    frozenset({"exact", "float"}): "float",
}


def plain(value: Any) -> Cell | bytes:
    """Give a cell as a program can keep it: lists of lists and objects become JSON, times ISO 8601, bytes stay."""
    if value is None or isinstance(value, bool | bytes):
        return value
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, int):
        return value if abs(value) <= _MAX_LONG else as_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    return _plain_list(value) if isinstance(value, list) else as_text(value)


def _plain_list(value: list[Any]) -> Cell:
    if len(value) > MAX_TEXT_CHARS // 2 or any(isinstance(item, list | dict | tuple | bytes) for item in value):
        return as_text(value)
    items = [plain(item) for item in value]
    return items if sum(len(item) for item in items if isinstance(item, str)) <= MAX_TEXT_CHARS else as_text(value)


def kind_of(cell: Cell) -> str:
    """Give the kind of a cell, to be joined with those of the others in its column; "" says nothing."""
    if isinstance(cell, list):
        kinds = joined(map(kind_of, cell))
        return TEXT if kinds == TEXT and not _are_texts(cell) else kinds + LIST
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return "bool"
    if isinstance(cell, int):
        return "exact" if abs(cell) <= _MAX_EXACT else "long"
    return "float" if isinstance(cell, float) else TEXT


def _are_texts(cells: list[Any]) -> bool:
    return all(cell is None or isinstance(cell, str) for cell in cells)


def joined(kinds: Iterable[str]) -> str:
    """Give the kind of a column from those of its cells."""
    found = ""
    for kind in kinds:
        found = join(found, kind)
    return found


def join(one: str, other: str) -> str:
    """Give the kind of a column that holds cells of two kinds."""
    if one == other or not other:
        return one
    if not one:
        return other
    if one.endswith(LIST) and other.endswith(LIST):
        inner = join(one.removesuffix(LIST), other.removesuffix(LIST))
        is_mixed = inner == TEXT and TEXT + LIST not in (one, other)
        return TEXT if is_mixed or (inner == TEXT and one != other and LIST not in (one, other)) else inner + LIST
    return _JOINED.get(frozenset({one, other}), TEXT)
