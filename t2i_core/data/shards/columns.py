"""Columns of a table without pandas.

`pyarrow.array` loads it first, to know whether it got any; that takes longer than fetching some hundred pictures.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, chain
from typing import Any

import numpy as np
import pyarrow as pa


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Make a table of rows; what a row lacks is null.

    Args:
        rows: cells by column.
        schema: columns of texts, numbers, truths, or lists of these.
    """
    columns = [column_of((row.get(field.name) for row in rows), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def column_of(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    """Make one column of texts, numbers, truths or lists of these, None for null.

    Raises:
        OverflowError: an integer is too large, or the strings are longer than two gigabytes together.
    """
    listed = list(values)
    present = [value is not None for value in listed]
    valid = None if all(present) else _bits(present)
    if pa.types.is_list(kind):
        items = column_of(chain.from_iterable(value or () for value in listed), kind.value_type)
        ends = _ends(len(value or ()) for value in listed)
        return pa.Array.from_buffers(kind, len(listed), [valid, ends], children=[items])
    return pa.Array.from_buffers(kind, len(listed), [valid, *_buffers(listed, kind)])


def _bits(values: Sequence[bool]) -> pa.Buffer:
    return pa.py_buffer(np.packbits(np.array(values, bool), bitorder="little").tobytes())


def _ends(lengths: Iterable[int]) -> pa.Buffer:
    return pa.py_buffer(np.array([0, *accumulate(lengths)], np.int32).tobytes())


def _buffers(values: Sequence[Any], kind: pa.DataType) -> list[pa.Buffer]:
    if pa.types.is_boolean(kind):
        return [_bits([bool(value) for value in values])]
    if not pa.types.is_string(kind):
        numbers = np.array([value or 0 for value in values], kind.to_pandas_dtype())
        return [pa.py_buffer(numbers.tobytes())]
    encoded = [value.encode() if value else b"" for value in values]
    return [_ends(map(len, encoded)), pa.py_buffer(b"".join(encoded))]
