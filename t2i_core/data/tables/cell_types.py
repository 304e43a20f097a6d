"""How the columns of a source are stored: Arrow's type for each kind of cells, and cells that fit it."""

import pyarrow as pa

from t2i_core.data.tables.cells import LIST, TEXT, Cell
from t2i_core.data.text import as_text

_TYPES = {
    "bool": pa.bool_(),
    "exact": pa.int64(),
    "long": pa.int64(),
    "float": pa.float64(),
    TEXT: pa.string(),
}


def column_type(kind: str) -> pa.DataType:
    """Give the type of a column of a kind."""
    inner = kind.removesuffix(LIST)
    base = _TYPES[inner or TEXT]
    return pa.list_(base) if kind.endswith(LIST) and inner else base


def is_known(type_: pa.DataType) -> bool:
    """Tell whether a column of a source can have a type."""
    return (type_.value_type if pa.types.is_list(type_) else type_) in _TYPES.values()


def fitted(cell: Cell, type_: pa.DataType) -> Cell:
    """Give a cell as a column of some type holds it: None for nothing, but "" where the column is text."""
    if pa.types.is_string(type_):
        return as_text(cell)
    if pa.types.is_list(type_):
        return [_item(item, type_.value_type) for item in cell] if isinstance(cell, list) else None
    if pa.types.is_floating(type_) and isinstance(cell, int):
        return float(cell)
    return cell


def _item(item: Cell, type_: pa.DataType) -> Cell:
    return None if item is None else fitted(item, type_)


def as_written(type_: pa.DataType) -> pa.DataType:
    """Give a type as it was written; files call the items of lists by another name."""
    return pa.list_(type_.value_type) if pa.types.is_list(type_) else type_
