"""The rows of one list, in the list's own order, a few thousand at a time at most.

One row that cannot be read is one row, and so is what is left of a list that breaks off. A list may be made to hurt:
this runs in a process of its own (`list_worker`), and what a list unpacks to is limited by its size.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, BinaryIO, TextIO

from t2i_core.data.bounded.strict_json import parse_json
from t2i_core.data.bounded.unpacking import Allowance, unpacked
from t2i_core.data.tables.column_json import MAX_CHARS, iter_columns
from t2i_core.data.tables.csv_rows import iter_cells
from t2i_core.data.tables.json_array import iter_array
from t2i_core.data.tables.list_format import COMPRESSIONS, list_format
from t2i_core.data.tables.text import NOT_TEXT, Problem, distinct_names, is_text, iter_lines, open_text
from t2i_core.data.text import MAX_TEXT_CHARS

MAX_COLUMNS = 1000
# No two rows of a list are the same, so that each takes a byte at least, however it is packed.
MIN_MOST_ROWS = 100_000
DAMAGE = (EOFError, zlib.error, ValueError, MemoryError, RecursionError)

Row = tuple[int, dict[str, Any] | Problem]
"""One row of a list: its number, and its cells by column or what is wrong with it."""


@dataclass(frozen=True, slots=True)
class OpenList:
    """A list that can be read.

    Attributes:
        name: its file name, which tells what it is.
        stream: its bytes as they are stored; it can be searched.
        size: how many there are.
    """

    name: str
    stream: BinaryIO
    size: int


def iter_rows(opened: OpenList, url_column: str) -> Iterator[Row]:
    """Read a list; the lines of a .txt become cells of the URL column.

    Raises:
        ValueError, OSError, EOFError, MemoryError: it is not what its name says, from its start on; damage further on
            is the problem of the last row.
    """
    number, most = 0, max(MIN_MOST_ROWS, opened.size)
    try:
        for number, row in _numbered(_rows(opened, url_column)):
            if number > most:
                raise ValueError(f"it has more rows than bytes, and more than {MIN_MOST_ROWS:,}")
            yield number, row if isinstance(row, Problem) else _bounded(row)
    except (OSError, *DAMAGE) as err:
        # A disk or a store that fails says so with a number; what is there may be whole.
        if not number or (isinstance(err, OSError) and err.errno is not None):
            raise
        yield min(number, most) + 1, Problem(f"the list cannot be read from here on: {reason(err)}")


def reason(err: BaseException) -> str:
    """Say what an error means for a list."""
    if isinstance(err, MemoryError):
        return "that takes too much memory"
    if isinstance(err, RecursionError):
        return "nested too deeply"
    return str(err) or type(err).__name__


def table_columns(opened: OpenList) -> list[str] | None:
    """Give the columns that a table announces for all its rows; None for other lists and for an empty file.

    Raises:
        ValueError, OSError, EOFError, MemoryError: as `iter_rows`.
    """
    kind = list_format(opened.name)
    if kind == ".parquet":
        # Most lists are none, and wait for no library that reads it.
        from t2i_core.data.tables.parquet_rows import column_names

        return column_names(opened.stream)
    return (_header(_table(opened)) or None) if kind in (".csv", ".tsv") else None


def _numbered(rows: Iterable[dict[str, Any] | Problem]) -> Iterator[Row]:
    number = 0
    for row in rows:
        yield number + 1, row
        number += row.num_rows if isinstance(row, Problem) else 1


def _rows(opened: OpenList, url_column: str) -> Iterator[dict[str, Any] | Problem]:
    kind = list_format(opened.name)
    if kind == ".parquet":
        from t2i_core.data.tables.parquet_rows import iter_parquet

        return iter_parquet(opened.stream, Allowance(opened.size))
    if kind == ".json":
        return _json_rows(_text(opened))
    if kind == ".jsonl":
        return _jsonl_rows(_text(opened))
    if kind == ".txt":
        return _txt_rows(_text(opened), url_column)
    return _table_rows(opened)


def _text(opened: OpenList) -> TextIO:
    codec = COMPRESSIONS.get(PurePosixPath(opened.name).suffix.lower(), "")
    return open_text(lambda: unpacked(opened.stream, codec, Allowance(opened.size)))


def _bounded(row: dict[str, Any]) -> dict[str, Any] | Problem:
    if len(row) > MAX_COLUMNS:
        return Problem(f"it has {len(row):,} cells, more than {MAX_COLUMNS:,}")
    too_long = _too_long(row.values())
    return Problem(too_long) if too_long else row


def _too_long(cells: Iterable[object]) -> str:
    """Tell of a text that a dataset would keep no more of than its start, which is another text; "" for none."""
    longest = max((len(cell) for cell in cells if isinstance(cell, str)), default=0)
    return f"a field has {longest:,} characters, more than {MAX_TEXT_CHARS:,}" if longest > MAX_TEXT_CHARS else ""


def _txt_rows(text: TextIO, url_column: str) -> Iterator[dict[str, Any] | Problem]:
    for line in _full_lines(text):
        yield line if isinstance(line, Problem) else {url_column: line.strip()}


def _full_lines(text: TextIO) -> Iterator[str | Problem]:
    for line in iter_lines(text):
        if isinstance(line, Problem) or line.strip():
            yield line if is_text(line) else Problem(NOT_TEXT)


def _jsonl_rows(text: TextIO) -> Iterator[dict[str, Any] | Problem]:
    for line in _full_lines(text):
        yield line if isinstance(line, Problem) else _object(line)


def _object(line: str) -> dict[str, Any] | Problem:
    try:
        value = parse_json(line)
    except ValueError as err:
        return Problem(f"not JSON: {err}")
    return value if isinstance(value, dict) else Problem("not a JSON object")


def _json_rows(text: TextIO) -> Iterator[dict[str, Any] | Problem]:
    start = text.read(1)
    while start.isspace():
        start = text.read(1)
    if start == "{":
        yield from iter_columns(start + text.read(MAX_CHARS + 1))
        return
    for value in iter_array(text, start):
        is_row = isinstance(value, dict | Problem)
        yield value if is_row else Problem("not a JSON object")


def _table(opened: OpenList) -> Iterator[list[str] | Problem]:
    return iter_cells(_text(opened), "\t" if list_format(opened.name) == ".tsv" else ",")


def _table_rows(opened: OpenList) -> Iterator[dict[str, Any] | Problem]:
    rows = _table(opened)
    header = _header(rows)
    for cells in rows:
        if isinstance(cells, Problem):
            yield cells
        elif len(cells) != len(header):
            yield Problem(f"it has {len(cells):,} fields, the header {len(header):,}")
        else:
            yield dict(zip(header, cells, strict=True))


def _header(rows: Iterator[list[str] | Problem]) -> list[str]:
    """Read the names of a table's columns, which are none in an empty file.

    Raises:
        ValueError: they cannot be read, or there are too many.
    """
    header = next(rows, [])
    if isinstance(header, Problem):
        raise ValueError(f"its header: {header}")
    if len(header) > MAX_COLUMNS:
        raise ValueError(f"it has {len(header):,} columns, more than {MAX_COLUMNS:,}")
    if too_long := _too_long(header):
        raise ValueError(f"its header: {too_long}")
    return distinct_names(header)
