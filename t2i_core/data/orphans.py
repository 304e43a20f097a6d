"""What lies in a source and belongs to nothing: told by name in a file of the data set, and counted in its manifest."""

from collections import Counter
from pathlib import Path
from typing import Self, TextIO

from t2i_core.data.record import clean_text

ORPHANS_NAME = "orphans.txt"


class OrphanLog:
    """Writes one line for each orphan: its name and what it lacks. Use as a context manager.

    Args:
        folder: of the data set; a log that an earlier plan left there is removed.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / ORPHANS_NAME
        self._file: TextIO | None = None
        self.counts: Counter[str] = Counter()

    def __enter__(self) -> Self:
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, kind: str, name: str, lacks: str) -> None:
        """Note an orphan.

        Args:
            kind: under which name it is counted.
            name: of the file or the row.
            lacks: what should be there beside it.
        """
        if self._file is None:
            self._file = self._path.open("w", encoding="utf-8")
        self.counts[kind] += 1
        line = " ".join(clean_text(name).split("\n"))
        self._file.write(f"{line}\t{lacks}\n")
