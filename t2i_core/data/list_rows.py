"""The rows of one list, in the list's own order, a few thousand at a time at most."""

import codecs
import csv
import io
from collections.abc import Iterator
from typing import Any, TextIO

import pyarrow.parquet as pq

from t2i_core.data.json_array import iter_array
from t2i_core.data.list_files import ListFile
from t2i_core.data.record import parse_json

MAX_LINE_CHARS = 4_000_000
PARQUET_BATCH_ROWS = 4096
PARQUET_BUFFER_BYTES = 1 << 20

Row = dict[str, Any] | str
"""One row of a list: its cells by column, or what is wrong with it."""


def iter_rows(file: ListFile, url_column: str) -> Iterator[Row]:
    """Read a list; the lines of a .txt become cells of the URL column.

    Raises:
        ValueError: it is not what its name says.
        OSError: it cannot be read.
        csv.Error: it is no table.
    """
    if file.format == ".parquet":
        return _parquet_rows(file)
    if file.format == ".json":
        return _json_rows(file)
    if file.format == ".jsonl":
        return _jsonl_rows(file)
    if file.format == ".txt":
        return ({url_column: line.strip()} for line in _lines(file) if line.strip())
    return _csv_rows(file)


def table_columns(file: ListFile) -> list[str] | None:
    """Give the columns that a table announces for all its rows; None for other lists and for an empty file.

    Raises:
        ValueError, OSError, csv.Error: as `iter_rows`.
    """
    if file.format == ".parquet":
        with _open_parquet(file) as table:
            return list(table.schema_arrow.names)
    if file.format in (".csv", ".tsv"):
        return next(_csv_cells(file), None)
    return None


def _open_text(file: ListFile) -> TextIO:
    with file.open() as stream:
        start = stream.read(2)
    encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return io.TextIOWrapper(file.open(), encoding=encoding, newline="")


def _lines(file: ListFile) -> Iterator[str]:
    """Read lines of bounded length: a longer one comes in pieces, which then fail as rows."""
    with _open_text(file) as text:
        while line := text.readline(MAX_LINE_CHARS):
            yield line


class _TableLines:
    """Lines for the CSV reader, which joins them while a quote is open: no more for one row than `MAX_LINE_CHARS`."""

    def __init__(self, file: ListFile) -> None:
        self._lines = _lines(file)
        self._num_chars = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        self._num_chars += len(line)
        if self._num_chars > MAX_LINE_CHARS:
            raise ValueError(f"a row is longer than {MAX_LINE_CHARS:,} characters. Is a quote left open?")
        return line

    def start_row(self) -> None:
        self._num_chars = 0


def _csv_cells(file: ListFile) -> Iterator[list[str]]:
    lines = _TableLines(file)
    for cells in csv.reader(lines, delimiter="\t" if file.format == ".tsv" else ","):
        yield cells
        lines.start_row()


def _csv_rows(file: ListFile) -> Iterator[Row]:
    reader = _csv_cells(file)
    header = next(reader, [])
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            yield f"it has {len(cells)} fields, the header {len(header)}"
        else:
            yield dict(zip(header, cells, strict=True))


def _json_rows(file: ListFile) -> Iterator[Row]:
    with _open_text(file) as text:
        yield from map(_checked_row, iter_array(text))


def _jsonl_rows(file: ListFile) -> Iterator[Row]:
    for line in _lines(file):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError as err:
                yield f"not JSON: {err}"
            else:
                yield _checked_row(row)


def _checked_row(row: Any) -> Row:
    return row if isinstance(row, dict) else "not a JSON object"


def _parquet_rows(file: ListFile) -> Iterator[Row]:
    with _open_parquet(file) as table:
        for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
            yield from batch.to_pylist()


def _open_parquet(file: ListFile) -> pq.ParquetFile:
    # Row groups can be as large as the file, so they are read through a buffer for each column and not as a whole. A
    # store's own reading ahead would fetch again and again what lies between the columns.
    source = file.path if file.remote is None else file.remote.open(file.path, "rb", cache_type="none")
    return pq.ParquetFile(source, buffer_size=PARQUET_BUFFER_BYTES, pre_buffer=False)
