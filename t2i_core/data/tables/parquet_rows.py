"""The rows of a Parquet file, as many at a time as fit into the memory there is."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import accumulate
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.bounded.unpacking import Allowance
from t2i_core.data.tables.text import NOT_TEXT, Problem, distinct_names

BUFFER_BYTES = 1 << 20
# A file of kilobytes can hold rows of megabytes, so what does not fit is tried again with fewer at once.
BATCH_ROWS = (4096, 256, 16, 1)
MAX_COLUMNS = 1000
# Of a table that somebody holds as a whole: rows at once, and what it may take in memory, whatever its size or by it.
TABLE_ROWS, MIN_TABLE_BYTES, TABLE_EXPANSION = 1024, 256 * 1024 * 1024, 64
# What Python takes for a row and for a cell of it, without what is in them.
_ROW_BYTES, _CELL_BYTES = 200, 50
MAX_ROWS = 2**40


def open_parquet(stream: BinaryIO) -> pq.ParquetFile:
    """Open a file, reading little of it ahead.

    Raises:
        ValueError, OSError, MemoryError: it is none.
    """
    # Row groups can be as large as the file, so they are read through a buffer for each column and not as a whole. A
    # store's own reading ahead would fetch again and again what lies between the columns.
    with _value_errors():
        return pq.ParquetFile(stream, buffer_size=BUFFER_BYTES, pre_buffer=False)


@contextmanager
def _value_errors() -> Iterator[None]:
    """Turn Arrow's own errors into one that needs no Arrow to be known."""
    try:
        yield
    except (OSError, MemoryError, ValueError):
        raise
    except pa.ArrowException as err:
        raise ValueError(str(err)) from err


def column_names(stream: BinaryIO) -> list[str]:
    """Give the columns of a file by their names, each another.

    Raises:
        ValueError: there are too many.
        OSError, MemoryError: it is no such file.
    """
    return distinct_names(_schema(open_parquet(stream)).names)


def _schema(table: pq.ParquetFile) -> pa.Schema:
    if table.metadata.num_columns > MAX_COLUMNS:
        raise ValueError(f"it has {table.metadata.num_columns:,} columns, more than {MAX_COLUMNS:,}")
    return table.schema_arrow


def iter_parquet(stream: BinaryIO, allowance: Allowance) -> Iterator[dict[str, Any] | Problem]:
    """Read a file; what cannot be read of a row group is one problem.

    Raises:
        ValueError: there are too many columns, or it unpacks to more than is allowed.
        OSError, MemoryError: it is no such file.
    """
    table = open_parquet(stream)
    names = distinct_names(_schema(table).names)
    for group in range(table.num_row_groups):
        rows = _GroupRows(table, group, names, allowance)
        try:
            yield from rows
        except (pa.ArrowException, MemoryError, OSError) as err:
            if isinstance(err, OSError) and err.errno is not None:
                raise
            why = "takes too much memory" if isinstance(err, MemoryError) else f"is damaged: {err}"
            yield Problem(f"what is left of row group {group} {why}", num_rows=rows.num_left)


class _GroupRows:
    """The rows of one row group.

    Attributes:
        num_left: rows that are still to come, as the file says; one at least.
    """

    def __init__(self, table: pq.ParquetFile, group: int, names: list[str], allowance: Allowance) -> None:
        self._table = table
        self._group = group
        self._names = names
        self._allowance = allowance
        self._num_done = 0

    @property
    def num_left(self) -> int:
        told: int = self._table.metadata.row_group(self._group).num_rows
        return min(max(told - self._num_done, 1), MAX_ROWS)

    def __iter__(self) -> Iterator[dict[str, Any] | Problem]:
        for size in BATCH_ROWS:
            try:
                yield from self._read(size)
                return
            except MemoryError:
                if size == BATCH_ROWS[-1]:
                    raise

    def _read(self, size: int) -> Iterator[dict[str, Any] | Problem]:
        """Read what is left, so many rows at a time."""
        num_passed = 0
        for batch in self._table.iter_batches(size, [self._group], use_threads=False):
            num_passed += batch.num_rows
            if num_passed <= self._num_done:
                continue
            self._allowance.take(batch.nbytes)
            rows = list(self._rows(batch))
            self._num_done = num_passed
            yield from rows

    def _rows(self, batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Problem]:
        columns = [_cells(column) for column in batch.columns]
        for cells in zip(*columns, strict=True):
            problem = next((cell for cell in cells if isinstance(cell, Problem)), None)
            yield problem or dict(zip(self._names, cells, strict=True))


def _cells(column: pa.Array) -> list[Any]:
    """Give the cells of a column."""
    column = _without_nanoseconds(column)
    try:
        return list(column.to_pylist())
    except (ValueError, OverflowError, RecursionError, pa.ArrowException):
        return [_cell(value) for value in column]


def _cell(value: pa.Scalar) -> Any:
    try:
        return value.as_py()
    except UnicodeDecodeError:
        return Problem(NOT_TEXT)
    except (ValueError, OverflowError, RecursionError, pa.ArrowException) as err:
        return Problem(f"a cell cannot be read: {err}"[:200])


def _without_nanoseconds(column: pa.Array) -> pa.Array:
    # Python's times have none, and pandas, which takes long to load, is asked for them otherwise.
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns":
        with suppress(pa.ArrowException):
            return column.cast(pa.timestamp("us", column.type.tz), safe=False)
    return column


def iter_batches(
    stream: BinaryIO, size: int, columns: Sequence[str] | None, rows: Sequence[int] | None
) -> Iterator[bytes]:
    """Read a table in pieces, each packed as an Arrow stream; the first has no rows.

    Args:
        stream: the file.
        size: of the file, in bytes.
        columns: which to read, None for all; those that are not there are left out, none at all gives no rows.
        rows: the first one to read and the one behind the last, None for all; only their row groups are read.

    Raises:
        ValueError: it has too many columns, or unpacks to more than is allowed.
        OSError, MemoryError: it is no such file, or damaged.
    """
    table, allowance = open_parquet(stream), Allowance(size, MIN_TABLE_BYTES, TABLE_EXPANSION)
    names = [name for name in (columns or ()) if name in _schema(table).names] if columns is not None else None
    schema = _schema(table).remove_metadata()
    if names is not None:
        schema = pa.schema([schema.field(name) for name in names])
    yield _packed(schema, ())
    if names == []:
        return
    with _value_errors():
        first, stop = rows or (0, table.metadata.num_rows)
        groups, place = _groups_of(table, first, stop)
        for batch in table.iter_batches(TABLE_ROWS, groups, columns=names, use_threads=False):
            wanted = batch.slice(max(0, first - place), max(0, stop - max(first, place)))
            place += batch.num_rows
            if wanted.num_rows:
                allowance.take(_ROW_BYTES * wanted.num_rows + sum(map(_weight, wanted.columns)))
                yield _packed(wanted.schema.remove_metadata(), (wanted,))


def _groups_of(table: pq.ParquetFile, first: int, stop: int) -> tuple[list[int], int]:
    """Give the row groups that hold some rows, and the number of the first row of the first of them."""
    sizes = [table.metadata.row_group(group).num_rows for group in range(table.num_row_groups)]
    ends = list(accumulate(sizes))
    groups = [group for group, end in enumerate(ends) if end > first and end - sizes[group] < stop]
    return groups, ends[groups[0]] - sizes[groups[0]] if groups else 0


def _weight(column: pa.Array) -> int:
    """Estimate what the cells of a column take as Python's objects, in bytes."""
    inner = column.flatten() if pa.types.is_nested(column.type) else []
    parts = inner if isinstance(inner, list) else [inner]
    size = int(column.nbytes) + _CELL_BYTES * len(column)
    return size + sum(map(_weight, parts))


def _packed(schema: pa.Schema, batches: Sequence[pa.RecordBatch]) -> bytes:
    buffer = io.BytesIO()
    with pa.ipc.new_stream(buffer, schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
    return buffer.getvalue()
