"""The process that reads foreign lists and tables: `python -m t2i_core.data.tables.worker`, started by `list_reader`.

A list of some kilobytes can unpack to gigabytes, and a table to more than its own footer says. Here that ends this
process, which has little memory, and not the run. It opens nothing: it asks the program that started it for parts of
the file, and gives rows, or batches of a table, until the file ends.
"""

import io
import os
import socket
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any, BinaryIO, cast

from t2i_core.data.tables.cells import plain
from t2i_core.data.tables.list_rows import DAMAGE, OpenList, Row, iter_rows, reason, table_columns
from t2i_core.data.tables.text import MAX_LINE_CHARS, Problem
from t2i_core.data.workers.confine import confine
from t2i_core.data.workers.worker import frame, limit_cpu, limit_memory, read_frame

MAX_MEMORY_BYTES = 320 * 1024**2
# For one batch of rows, or for passing over what gives none.
MAX_CPU_SECONDS = 60
# A process that nobody asks for anything ends; the next question starts another.
MAX_IDLE_SECONDS = 30
MAX_DIGEST_BYTES = 64
_BATCH_ROWS = 256
_BATCH_CHARS = 1 << 19
_BUFFER_BYTES = 1 << 20


class _Line:
    """The socket to the program that asks."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self._received = cast(BinaryIO, line.makefile("rb", buffering=_BUFFER_BYTES))

    def send(self, value: Any, body: bytes = b"") -> None:
        self._line.sendall(b"".join(frame(value, body)))
        limit_cpu(MAX_CPU_SECONDS)

    def receive(self) -> tuple[Any, bytes]:
        return read_frame(self._received)


class _Asked(io.RawIOBase):
    """A file that lies with the program that asks, which is asked for parts of it."""

    def __init__(self, line: _Line, size: int) -> None:
        self._line = line
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def tell(self) -> int:
        return self._place

    def readinto(self, buffer: "bytearray | memoryview") -> int:  # type: ignore[override]
        self._line.send({"read": [self._place, min(len(buffer), _BUFFER_BYTES)]})
        _, data = self._line.receive()
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def main() -> None:
    """Answer questions until nobody asks any more."""
    limit_memory(MAX_MEMORY_BYTES)
    # Arrow's own keeper of memory takes more than is asked for, and threads take what they never use.
    os.environ |= {"ARROW_DEFAULT_MEMORY_POOL": "system", "OMP_NUM_THREADS": "1", "ARROW_IO_THREADS": "1"}
    # Nearly all ask for a table sooner or later, and few as soon as this process starts.
    import_module("t2i_core.data.tables.parquet_rows")
    with socket.socket(fileno=os.dup(0)) as line:
        line.settimeout(MAX_IDLE_SECONDS)
        asked = _Line(line)
        confine()
        while True:
            try:
                question, _ = asked.receive()
            except (EOFError, TimeoutError):
                return
            _answer(asked, question)


def _answer(line: _Line, question: dict[str, Any]) -> None:
    stream = io.BufferedReader(_Asked(line, question["size"]), _BUFFER_BYTES)
    opened = OpenList(question["name"], cast(BinaryIO, stream), question["size"])
    try:
        for value, body in _answers(opened, question):
            line.send(value, body)
        answer: dict[str, Any] = {"done": True}
    except (OSError, *DAMAGE) as err:
        answer = {"failed": reason(err)}
    line.send(answer)


def _answers(opened: OpenList, question: dict[str, Any]) -> Iterator[tuple[Any, bytes]]:
    match question["asked"]:
        case "rows":
            for rows in _batches(iter_rows(opened, question["url_column"])):
                yield {"rows": rows}, b""
        case "columns":
            yield {"columns": table_columns(opened)}, b""
        case "table":
            from t2i_core.data.tables.parquet_rows import iter_batches

            pieces = iter_batches(opened.stream, opened.size, question["columns"], question["rows"])
            for packed in pieces if question["with_rows"] else islice(pieces, 1):
                yield {"table": True}, packed


def _batches(rows: Iterator[Row]) -> Iterator[list[Any]]:
    """Put rows together, as many as are sent at once."""
    batch: list[Any] = []
    num_chars = 0
    for number, row in rows:
        cells, size = (str(row), len(row)) if isinstance(row, Problem) else _sendable(row)
        batch.append([number, cells])
        num_chars += size
        if len(batch) >= _BATCH_ROWS or num_chars >= _BATCH_CHARS:
            yield batch
            batch, num_chars = [], 0
    if batch:
        yield batch


def _sendable(row: dict[str, Any]) -> tuple[Any, int]:
    """Give the cells of a row as JSON can hold them, and their size; bytes are an object, which no other cell is."""
    size, cells = 0, {}
    for name, value in row.items():
        cell = plain(value)
        size += len(name) + (len(cell) if isinstance(cell, str | list | bytes) else 8)
        cells[name] = {"hex": cell[: MAX_DIGEST_BYTES + 1].hex()} if isinstance(cell, bytes) else cell
    if size > MAX_LINE_CHARS:
        return f"it is longer than {MAX_LINE_CHARS:,} characters", 0
    return cells, size


if __name__ == "__main__":
    main()
