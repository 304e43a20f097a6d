"""Which rows repeat an earlier one, exact on 64-bit identities, for any number of rows in the same memory.

Identities go to files by their leading bits, so that equal ones meet in one file, and each file alone fits into memory.
What is kept of each row is one bit.
"""

from array import array
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

_BUCKETS = 256
_ENTRIES_IN_MEMORY = 1 << 16
_Entries = npt.NDArray[np.uint64]


class RepeatFinder:
    """Takes the identity of each row, and tells at the end which rows repeat an earlier one."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._waiting = array("Q")
        self._has_spilled = False

    def add(self, row: int, identity: int) -> None:
        """Note the identity of a row; rows come in order."""
        self._waiting.extend((identity, row))
        if len(self._waiting) == 2 * _ENTRIES_IN_MEMORY:
            self._spill()

    def find(self, num_rows: int) -> "RowMarks":
        """Mark the rows whose identity an earlier row has."""
        marks = RowMarks(num_rows)
        for entries in self._buckets():
            _, first = np.unique(entries[:, 0], return_index=True)
            is_repeat = np.ones(len(entries), bool)
            is_repeat[first] = False
            marks.add(entries[is_repeat, 1])
        return marks

    def _buckets(self) -> Iterator[_Entries]:
        """Give all entries so that those of one identity come together, in the order of their rows."""
        if not self._has_spilled:
            yield self._take()
            return
        self._spill()
        for path in sorted(self._folder.iterdir()):
            yield np.fromfile(path, np.uint64).reshape(-1, 2)

    def _take(self) -> _Entries:
        entries = np.array(self._waiting, np.uint64).reshape(-1, 2)
        self._waiting = array("Q")
        return entries

    def _spill(self) -> None:
        entries = self._take()
        buckets = (entries[:, 0] // np.uint64(2**64 // _BUCKETS)).astype(np.intp)
        order = np.argsort(buckets, kind="stable")
        ends = np.searchsorted(buckets[order], np.arange(1, _BUCKETS))
        self._folder.mkdir(exist_ok=True)
        for bucket, chunk in enumerate(np.split(entries[order], ends)):
            with (self._folder / f"{bucket:03d}").open("ab") as file:
                file.write(chunk.tobytes())
        self._has_spilled = True


class RowMarks:
    """A set of row numbers, one bit for each row there is."""

    def __init__(self, num_rows: int) -> None:
        self._bits = np.zeros(num_rows // 8 + 1, np.uint8)

    def add(self, rows: _Entries) -> None:
        """Mark rows."""
        np.bitwise_or.at(self._bits, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))

    def between(self, start: int, stop: int) -> npt.NDArray[np.intp]:
        """Give the marked rows from `start` to before `stop`, counted from `start`."""
        bits = np.unpackbits(self._bits[start // 8 : stop // 8 + 1], bitorder="little")
        return np.flatnonzero(bits[start % 8 :][: stop - start])
