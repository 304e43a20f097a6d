"""The metadata tables of a folder of pictures, as in the ImageFolder convention: one row tells about one file."""

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.entry import LINK_ADVICE
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.sources.cells import passed_through, quoted
from t2i_core.data.tables.cells import Cell
from t2i_core.data.tables.list_files import ListFile, source_errors
from t2i_core.data.tables.reader import ListReader
from t2i_core.data.tables.text import Problem
from t2i_core.data.text import as_text, clean_text
from t2i_core.errors import ConfigError

METADATA_NAMES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")
FILE_COLUMN = "file_name"


@dataclass(frozen=True, slots=True)
class Told:
    """What a row of a table says about a picture."""

    caption: str
    extra: dict[str, Cell]


class FolderMetadata:
    """All tables of a folder, read when the walk comes by, looked up by the pictures' paths.

    Args:
        root: the folder.
        caption_column: of the tables, "" for none.
        rows: where to keep them.
        reader: reads them.
    """

    def __init__(self, root: Path, caption_column: str, rows: SideTable, reader: ListReader) -> None:
        self._root = root
        self._caption_column = caption_column
        self._rows = rows
        self._reader = reader
        self._has_rows = False

    def load(self, below: PurePosixPath, name: str) -> Iterator[SourceRecord]:
        """Read a table in a folder of the root; gives what cannot be read of it as rejected rows.

        Raises:
            ConfigError: it is unreadable or lacks a column.
        """
        place = str(below / name)
        file = ListFile(str(self._root / place))
        with source_errors(place):
            is_known = False
            for number, row in self._reader.rows(file, FILE_COLUMN):
                if isinstance(row, Problem):
                    yield _rejected("", f"{place} row {number}: {row}")
                    continue
                if not is_known:
                    self._require_columns(place, row)
                    is_known = True
                self._add(below, place, number, row)

    def _require_columns(self, place: str, row: dict[str, Any]) -> None:
        for column in filter(None, (FILE_COLUMN, self._caption_column)):
            if column not in row:
                raise ConfigError(
                    f"{place} has no column '{column}'; its columns are {quoted(row)}. A table of this name says in "
                    f"'{FILE_COLUMN}' which picture each row is about; choose the captions' column with "
                    "--caption-column (an empty one: none)."
                )

    def _add(self, below: PurePosixPath, place: str, number: int, row: dict[str, Any]) -> None:
        name = as_text(row.get(FILE_COLUMN)).strip()
        used = (FILE_COLUMN, self._caption_column)
        cells = {
            "place": place,
            "number": number,
            "name": name,
            "caption": as_text(row.get(self._caption_column)).strip(),
            "extra": passed_through(row, used),
        }
        path = posixpath.normpath(name)
        # What lies above the table's folder is no matter of the table.
        is_below = not path.startswith(("..", "/"))
        self._rows.add(posixpath.normpath(posixpath.join(below, path)) if is_below else "", cells)
        self._has_rows = True

    def about(self, path: str) -> list[Told]:
        """Give what is told about a picture: the rows of the table that lies nearest to it, in their order."""
        rows = self._rows.find(path) if self._has_rows else []
        return [Told(row["caption"], row["extra"]) for row in rows if row["place"] == rows[-1]["place"]]

    def orphans(self) -> Iterator[SourceRecord]:
        """Give a rejected row for each one that was about no picture."""
        for row in self._rows.unused() if self._has_rows else ():
            detail = f"{row['place']} row {row['number']}: {self._why_not(row['place'], row['name'])}"
            yield _rejected(row["name"], detail, caption=row["caption"], extra=row["extra"])

    def _why_not(self, place: str, name: str) -> str:
        """Say why a row is about no picture of the folder."""
        path = PurePosixPath(posixpath.normpath(posixpath.join(posixpath.dirname(place), name)))
        if path.is_absolute() or ".." in path.parts or "\0" in name:
            return "there is no such picture"
        is_link = any((self._root / above).is_symlink() for above in (path, *path.parents[:-1]))
        return LINK_ADVICE if is_link else "there is no such picture"


def _rejected(url: str, detail: str, **known: Any) -> SourceRecord:
    reason = RejectReason.UNREADABLE if url else RejectReason.BAD_ROW
    return SourceRecord(url=url, reason=reason, detail=clean_text(detail), **known)
