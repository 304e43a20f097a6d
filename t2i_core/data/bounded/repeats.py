"""Which rows repeat an earlier one, exact on 64-bit identities, for any number of rows in the same memory.

What is kept of each row is one bit.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from t2i_core.data.bounded.spill import Entries, Spill


class RepeatFinder:
    """Takes the identity of each row, and tells at the end which rows repeat an earlier one."""

    def __init__(self, folder: Path) -> None:
        self._spill = Spill(folder, 2)

    def add(self, row: int, identity: int) -> None:
        """Note the identity of a row; rows come in order."""
        self._spill.append(identity, row)

    def find(self, num_rows: int) -> "RowMarks":
        """Mark the rows whose identity an earlier row has."""
        marks = RowMarks(num_rows)
        for entries in self._spill.buckets():
            _, first = np.unique(entries[:, 0], return_index=True)
            is_repeat = np.ones(len(entries), bool)
            is_repeat[first] = False
            marks.add(entries[is_repeat, 1])
        return marks


class RowMarks:
    """A set of row numbers, one bit for each row there is."""

    def __init__(self, num_rows: int) -> None:
        self._bits = np.zeros(num_rows // 8 + 1, np.uint8)

    def add(self, rows: Entries) -> None:
        """Mark rows."""
        np.bitwise_or.at(self._bits, rows >> 3, np.left_shift(1, rows & 7).astype(np.uint8))

    def has(self, rows: Entries) -> npt.NDArray[np.bool_]:
        """Tell of each row whether it is marked."""
        marked: npt.NDArray[np.bool_] = self._bits[rows >> 3] & np.left_shift(1, rows & 7).astype(np.uint8) != 0
        return marked

    def between(self, start: int, stop: int) -> npt.NDArray[np.intp]:
        """Give the marked rows from `start` to before `stop`, counted from `start`."""
        bits = np.unpackbits(self._bits[start // 8 : stop // 8 + 1], bitorder="little")
        return np.flatnonzero(bits[start % 8 :][: stop - start])
