"""Reads foreign lists and tables in a process of their own, so that a hostile one costs its rows and not the run."""

import io
from collections.abc import Iterator
from typing import Any, BinaryIO, Self

from t2i_core.data.tables.list_files import ListFile
from t2i_core.data.tables.process import ListProcess, ReadError, TiredError, leave_process, take_process
from t2i_core.data.tables.text import Problem
from t2i_core.errors import ConfigError

Row = tuple[int, dict[str, Any] | Problem]
_MAX_PART_BYTES = 1 << 20


class ListReader:
    """Reads one list at a time. Use as a context manager; the process starts with the first."""

    def __init__(self) -> None:
        self._process: ListProcess | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None:
            leave_process(process)

    def rows(self, file: ListFile, url_column: str) -> Iterator[Row]:
        """Read the rows of a list with their numbers; the lines of a .txt become cells of the URL column.

        What breaks off has a last row that says so.

        Raises:
            ConfigError: it cannot be read from its start on.
            OSError: the disk or the store fails.
            TransientError: the process was killed, or does not start.
        """
        number = 0
        try:
            with file.open_raw() as opened:
                question = {"name": file.name, "asked": "rows", "url_column": url_column}
                for answer, _ in self._answers(opened, question):
                    for number, cells in answer["rows"]:
                        yield number, Problem(cells) if isinstance(cells, str) else _cells(cells)
        except ReadError as err:
            if not number:
                raise ConfigError(f"cannot read {file}: {err}") from err
            yield number + 1, Problem(f"the list cannot be read from here on: {err}")

    def columns(self, file: ListFile) -> list[str] | None:
        """Give the columns that a table announces for all its rows; None for other lists and for an empty file.

        Raises:
            ConfigError, OSError, TransientError: as `rows`.
        """
        try:
            with file.open_raw() as opened:
                answers = list(self._answers(opened, {"name": file.name, "asked": "columns"}))
        except ReadError as err:
            raise ConfigError(f"cannot read {file}: {err}") from err
        names: list[str] | None = answers[0][0]["columns"]
        return names

    def table(
        self,
        opened: BinaryIO,
        columns: list[str] | None,
        *,
        rows: tuple[int, int] | None = None,
        with_rows: bool = True,
    ) -> Iterator[bytes]:
        """Read a Parquet file in pieces, each an Arrow stream; the first has no rows, only the columns' types.

        Args:
            opened: the file, which its caller closes.
            columns: to read, None for all; those that it lacks are left out.
            rows: the first one to read and the one behind the last; None for all.
            with_rows: False for the first piece alone.

        Raises:
            ReadError: it is damaged, or unpacks to more than it may.
            OSError, TransientError: as `rows`.
        """
        question = {"name": ".parquet", "asked": "table", "columns": columns, "rows": rows, "with_rows": with_rows}
        for _, packed in self._answers(opened, question):
            yield packed

    def _answers(self, opened: BinaryIO, question: dict[str, Any]) -> Iterator[tuple[Any, bytes]]:
        """Ask about a file, hand out the parts of it that are asked for, and give what comes back."""
        question |= {"size": opened.seek(0, io.SEEK_END)}
        process, self._process = self._process or take_process(), None
        is_busy = True
        try:
            process, (answer, body) = _asked(process, question)
            while not answer.keys() & {"done", "failed"}:
                if "read" in answer:
                    process.send(None, _part(opened, *answer["read"]))
                else:
                    yield answer, body
                answer, body = process.receive()
            is_busy = False
        finally:
            if is_busy:
                # Nobody wants the rest of its answer any more.
                process.end()
        self._process = process
        if "failed" in answer:
            raise ReadError(answer["failed"])


def _asked(process: ListProcess, question: dict[str, Any]) -> tuple[ListProcess, tuple[Any, bytes]]:
    """Ask, and wait for the first answer, from another process if this one does not listen any more."""
    process.send(question)
    try:
        return process, process.receive()
    except TiredError:
        process.end()
        process = ListProcess()
        process.send(question)
        return process, process.receive()


def _cells(cells: dict[str, Any]) -> dict[str, Any]:
    for name, cell in cells.items():
        if isinstance(cell, dict):
            cells[name] = bytes.fromhex(cell["hex"])
    return cells


def _part(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(min(size, _MAX_PART_BYTES))
