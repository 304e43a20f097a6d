"""Grouping any number of words in the same memory: entries go to files by leading bits and come back file by file."""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

_BUCKETS = 256
_ENTRIES_IN_MEMORY = 1 << 16
Entries = npt.NDArray[np.uint64]


class Spill:
    """Takes entries of a few 64-bit words, and gives them back so that those of one first word come together."""

    def __init__(self, folder: Path, width: int) -> None:
        """Note where to put files, once there is much to keep, and how many words an entry has."""
        self._folder = folder
        self._width = width
        self._waiting = array("Q")
        self._has_files = False

    def append(self, *words: int) -> None:
        """Take one entry."""
        self._waiting.extend(words)
        self._write_if_many()

    def add(self, entries: Entries) -> None:
        """Take entries, (N, width)."""
        self._waiting.frombytes(entries.tobytes())
        self._write_if_many()

    def buckets(self) -> Iterator[Entries]:
        """Give all entries, part by part by the leading bits of the first word, each part in the order they came in."""
        if not self._has_files:
            yield self._take()
            return
        self._write()
        for path in sorted(self._folder.iterdir()):
            yield np.fromfile(path, np.uint64).reshape(-1, self._width)
            path.unlink()

    def _take(self) -> Entries:
        entries = np.array(self._waiting, np.uint64).reshape(-1, self._width)
        self._waiting = array("Q")
        return entries

    def _write_if_many(self) -> None:
        if len(self._waiting) >= _ENTRIES_IN_MEMORY * self._width:
            self._write()

    def _write(self) -> None:
        entries = self._take()
        buckets = (entries[:, 0] // np.uint64(2**64 // _BUCKETS)).astype(np.intp)
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(1, _BUCKETS))
        self._folder.mkdir(parents=True, exist_ok=True)
        for bucket, chunk in enumerate(np.split(entries[order], ends)):
            if len(chunk):
                with (self._folder / f"{bucket:03d}").open("ab") as file:
                    file.write(chunk.tobytes())
        self._has_files = True
