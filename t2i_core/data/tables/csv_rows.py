"""The rows of a table in text. A quote left open costs the row it stands in, and not those after it."""

import csv
from collections.abc import Iterator
from typing import TextIO

from t2i_core.data.tables.text import MAX_LINE_CHARS, NOT_TEXT, Problem, is_text, iter_lines


class _Lines:
    """Lines for the CSV reader, which joins them while a quote is open; those of the current row can be read again."""

    def __init__(self, text: TextIO) -> None:
        self._lines = iter_lines(text)
        self._again: list[str | Problem] = []
        self._row: list[str | Problem] = []
        self._num_chars = 0
        # Rows that fail again and again must not make the time grow faster than the text.
        self._spare_chars = 2 * MAX_LINE_CHARS
        self.problem = ""
        self._is_open = False

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        if self._num_chars > MAX_LINE_CHARS:
            self.problem = f"it is longer than {MAX_LINE_CHARS:,} characters. Is a quote left open?"
            self._is_open = True
            raise StopIteration
        line = self._again.pop() if self._again else next(self._lines, None)
        if line is None:
            self._is_open = bool(self._row)
            self.problem = "a quote is left open" if self._is_open else ""
            raise StopIteration
        self._row.append(line)
        self._num_chars += len(line)
        if isinstance(line, Problem):
            self.problem = str(line)
            # The reader sees an empty line, which ends no row that a quote holds open.
            return "\n"
        if not is_text(line):
            self.problem = NOT_TEXT
        return line

    def start_row(self) -> None:
        self._spare_chars += self._num_chars
        self._row, self._num_chars, self.problem, self._is_open = [], 0, "", False

    def read_again(self) -> None:
        """Let the lines of a row that is not closed come again, all but its first."""
        num_chars = self._num_chars
        if self._is_open and len(self._row) > 1 and num_chars <= self._spare_chars:
            self._spare_chars -= 2 * num_chars
            self._again += reversed(self._row[1:])


def iter_cells(text: TextIO, delimiter: str) -> Iterator[list[str] | Problem]:
    """Read a table row by row; empty lines are passed over."""
    # For this process as a whole; what the reader lets through is measured by who reads the rows.
    csv.field_size_limit(2 * MAX_LINE_CHARS)
    lines = _Lines(text)
    reader = csv.reader(lines, delimiter=delimiter)
    while True:
        lines.start_row()
        try:
            cells = next(reader, None)
        except csv.Error as err:
            lines.problem, cells = lines.problem or str(err), []
        if lines.problem:
            yield Problem(lines.problem)
            lines.read_again()
            reader = csv.reader(lines, delimiter=delimiter)
        elif cells is None:
            return
        elif cells:
            yield cells
