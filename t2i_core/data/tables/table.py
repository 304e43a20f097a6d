"""Parquet tables of datasets and captions, which may come from anywhere: read in a process with little memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_core.data.tables.process import ReadError
from t2i_core.data.tables.reader import ListReader
from t2i_core.door import open_file


def read_table(path: Path, columns: Sequence[str] | None = None, *, levels: int = 1) -> pa.Table:
    """Read a table from one file: all columns, or those of these that it has.

    Args:
        path: of the file.
        columns: which; None for all.
        levels: of folders above it that may be no links; of a shard's or a part's table one.

    Raises:
        OSError: there is no such file.
        DataError: it is a link, or no file.
        pa.ArrowException: it is damaged, or takes more memory than its size justifies.
        TransientError: the process that reads it was killed, or does not start.
    """
    return pa.concat_tables(_pieces(path, columns, levels))


def read_schema(path: Path, *, levels: int = 1) -> pa.Schema:
    """Read the columns of a table with their types.

    Raises:
        OSError, DataError, pa.ArrowException, TransientError: as `read_table`.
    """
    return pa.concat_tables(_pieces(path, None, levels, with_rows=False)).schema


def iter_table(
    path: Path, columns: Sequence[str] | None = None, *, levels: int = 0, rows: tuple[int, int] | None = None
) -> Iterator[pa.Table]:
    """Read a table of any length a thousand rows at a time; columns that it lacks are left out.

    Args:
        path: of the file.
        columns: which; None for all.
        levels: of folders above it that may be no links.
        rows: the first one to read and the one behind the last; None for all.

    Raises:
        OSError, DataError, pa.ArrowException, TransientError: as `read_table`.
    """
    yield from _pieces(path, columns, levels, rows=rows)


def _pieces(path: Path, columns: Sequence[str] | None, levels: int, **which: Any) -> Iterator[pa.Table]:
    """Give a table in pieces; the first has no rows. `which` is what else `ListReader.table` takes."""
    wanted = None if columns is None else list(columns)
    try:
        with open_file(path, levels=levels) as opened, ListReader() as reader:
            for packed in reader.table(opened, wanted, **which):
                with pa.ipc.open_stream(packed) as stream:
                    piece = stream.read_all()
                piece.validate(full=True)
                yield piece
    except ReadError as err:
        raise pa.ArrowInvalid(str(err)) from err
