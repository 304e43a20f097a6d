"""What lies in a source and belongs to nothing: told by name in a file of the dataset, and counted in its manifest."""

import io
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Self, TextIO

from t2i_core.data.entry import LINK_ADVICE
from t2i_core.data.text import clean_text
from t2i_core.door import create_file

ORPHANS_NAME = "orphans.txt"


class OrphanLog:
    """Writes one line for each orphan: its name and what it lacks. Use as a context manager.

    Args:
        folder: of the dataset; a log that an earlier plan left there is removed.
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
            self._file = io.TextIOWrapper(create_file(self._path), encoding="utf-8")
        self.counts[kind] += 1
        line = " ".join(clean_text(name).split("\n"))
        self._file.write(f"{line}\t{lacks}\n")

    def add_not_read(self, entries: Iterable[tuple[str, str]]) -> None:
        """Note what a source holds beside files and folders.

        Args:
            entries: the name of each in the source, and what it is.
        """
        for name, kind in entries:
            is_link = kind == "link"
            lacks = LINK_ADVICE if is_link else f"a {kind}, which is not read"
            self.add("links_not_followed" if is_link else "no_files", name, lacks)
