"""Texts in the order in which they came: in memory while they are few, in a file without a name when they are many."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile

MAX_BYTES_IN_MEMORY = 4_000_000


class Lines:
    """Takes texts of one line each, and gives them back any number of times. Not to be added to while it is read.

    Args:
        folder: where to put the file, None for the system's own place for such files.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._file = SpooledTemporaryFile(MAX_BYTES_IN_MEMORY, dir=str(folder) if folder else None)  # noqa: SIM115
        self._num = 0

    def __len__(self) -> int:
        return self._num

    def add(self, line: str) -> None:
        """Take a text.

        Raises:
            OSError: the disk is full.
        """
        self._file.seek(0, 2)
        self._file.write(line.encode("utf-8", "surrogatepass") + b"\n")
        self._num += 1

    def __iter__(self) -> Iterator[str]:
        place = 0
        for _ in range(self._num):
            self._file.seek(place)
            line = self._file.readline()
            place += len(line)
            yield line[:-1].decode("utf-8", "surrogatepass")
