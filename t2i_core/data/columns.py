"""Parquet tables without pandas.

`pyarrow.array` and `pyarrow.parquet.read_table` load it first, to know whether they got any; that takes longer than
fetching some hundred pictures.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.door import open_file


def read_table(path: Path, columns: Sequence[str] | None = None, *, levels: int = 1) -> pa.Table:
    """Read a table from one file: all columns, or these.

    Args:
        path: of the file.
        columns: which; None for all.
        levels: of folders above it that may be no links; of a shard's or a part's table one.

    Raises:
        OSError: there is no such file.
        DataError: it is a link, or no file.
        pa.ArrowException: it is damaged.
    """
    with open_file(path, levels=levels) as opened, pq.ParquetFile(opened) as file:
        return file.read(columns=columns)


def table_of(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> pa.Table:
    """Make a table of rows; what a row lacks is null.

    Args:
        rows: strings and integers by column.
        schema: columns of type string, int32 or int64.
    """
    columns = [column_of((row.get(field.name) for row in rows), field.type) for field in schema]
    return pa.Table.from_arrays(columns, schema=schema)


def column_of(values: Iterable[Any], kind: pa.DataType) -> pa.Array:
    """Make one column of strings or integers, None for null.

    Raises:
        OverflowError: an integer is too large, or the strings are longer than two gigabytes together.
    """
    listed = list(values)
    present = np.array([value is not None for value in listed], bool)
    valid = None if present.all() else pa.py_buffer(np.packbits(present, bitorder="little").tobytes())
    return pa.Array.from_buffers(kind, len(listed), [valid, *_buffers(listed, kind)])


def _buffers(values: Sequence[Any], kind: pa.DataType) -> list[pa.Buffer]:
    if not pa.types.is_string(kind):
        numbers = np.array([value or 0 for value in values], kind.to_pandas_dtype())
        return [pa.py_buffer(numbers.tobytes())]
    encoded = [value.encode() if value else b"" for value in values]
    ends = np.array([0, *accumulate(map(len, encoded))], np.int32)
    return [pa.py_buffer(ends.tobytes()), pa.py_buffer(b"".join(encoded))]
