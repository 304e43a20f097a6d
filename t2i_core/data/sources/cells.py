"""Cells of a list or a table that a dataset passes through beside its own columns."""

from collections.abc import Collection, Mapping
from typing import Any

from t2i_core.data.shards.layout import OWN_COLUMNS
from t2i_core.data.tables.cells import Cell, plain
from t2i_core.data.text import clean_text


def passed_through(row: Mapping[str, Any], used: Collection[str]) -> dict[str, Cell]:
    """Give the cells of a row that mean nothing to an ingest; bytes are left out.

    Args:
        row: cells by column.
        used: the columns that have a meaning.
    """
    return {
        free_name(name): cell
        for name, value in row.items()
        if name not in used and not isinstance(cell := plain(value), bytes)
    }


def free_name(column: str) -> str:
    """Give the name of a list's column in a dataset, apart from those that the shards use themselves."""
    return f"source_{column}" if column in OWN_COLUMNS else clean_text(column)


def quoted(names: Collection[str]) -> str:
    """Name columns in a message; those of a set in the order of the alphabet."""
    return ", ".join(f"'{name}'" for name in (sorted(names) if isinstance(names, set | frozenset) else names))
