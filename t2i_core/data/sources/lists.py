"""Lists of picture URLs as a source: files, folders and patterns of them, here or remote, one record a row."""

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_core.data.checksum import KNOWN_CHECKSUMS, read_checksum
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.sources.cells import passed_through, quoted
from t2i_core.data.sources.source import Planning, Source, SourceOptions, digest_of_lines
from t2i_core.data.tables.list_files import ListFile, find_lists, lists_not_read, names_lists, source_errors
from t2i_core.data.tables.reader import ListReader
from t2i_core.data.tables.text import Problem
from t2i_core.data.text import as_text, clean_text
from t2i_core.errors import ConfigError, did_you_mean


class UrlList(Source):
    """A list of the URLs of pictures, or several."""

    has_hashes = has_boxes = True

    @classmethod
    def fits(cls, name: str, options: SourceOptions) -> bool:
        """See `Source.fits`."""
        return names_lists(name)

    def identity(self) -> str:
        """The bytes of the lists stand for them."""
        return identity_of_lists(self.name)

    def records(self, planning: Planning) -> Generator[SourceRecord]:
        """Give one record a row."""
        planning.orphans.add_not_read(lists_not_read(self.name))
        columns = self.options
        yield from read_list(
            self.name, columns.url_column, columns.caption_column, columns.hash_column, columns.blur_column
        )


def identity_of_lists(source: str) -> str:
    """Give the digest that stands for the content of lists; a single one has that of its bytes.

    Raises:
        ConfigError: there is none, or it cannot be read.
        TransientError: a remote store does not answer.
    """
    with source_errors(source):
        files = find_lists(source)
        if files == [ListFile(source)]:
            return files[0].fingerprint()
        return digest_of_lines(f"{file.name}\t{file.fingerprint()}" for file in files)


@dataclass(frozen=True, slots=True)
class _Columns:
    """Which columns of a list mean what; "" for none."""

    url: str
    caption: str
    checksum: str
    boxes: str

    def needed(self, file: ListFile) -> list[str]:
        """Give those that a row must have; a .txt has but one."""
        caption = "" if file.format == ".txt" else self.caption
        return [name for name in (self.url, caption, self.checksum, self.boxes) if name]


def read_list(
    source: str | Path, url_column: str, caption_column: str, hash_column: str = "", blur_column: str = ""
) -> Iterator[SourceRecord]:
    """Read URL lists in their own order, one record a row; rows that cannot be read are rejected, not skipped.

    Args:
        source: a list, a folder or a pattern of lists, here or remote. A .txt holds one URL a line and nothing else.
        url_column: the column of the URLs.
        caption_column: the column of the captions, "" for none.
        hash_column: the column of the checksums of the pictures' bytes, "" for none.
        blur_column: the column of boxes to blur, passed through as all others but required, "" for none.

    Raises:
        ConfigError: there are no rows, a list is unreadable or has no such column, or tables differ in their columns;
            the message names those they have.
        TransientError: a remote store does not answer.
    """
    files = find_lists(str(source))
    columns = _Columns(url_column, caption_column, hash_column, blur_column)
    with ListReader() as reader:
        if len(files) > 1:
            _require_same_columns(reader, files)
        yield from _records(source, reader, files, columns)


def _records(
    source: str | Path, reader: ListReader, files: list[ListFile], columns: _Columns
) -> Iterator[SourceRecord]:
    unread: SourceRecord | None = None
    has_rows = False
    for file in files:
        place = f"{clean_text(file.name)} row" if len(files) > 1 else "row"
        is_known = False
        with source_errors(str(file)):
            for number, row in reader.rows(file, columns.url):
                record = _record(row, f"{place} {number}", columns)
                if isinstance(row, Problem):
                    unread = unread or record
                elif not is_known:
                    _require_columns(file, row, columns.needed(file))
                    has_rows = is_known = True
                yield record
    if not has_rows:
        told = f"no row of {source} can be read; the first: {unread.detail}." if unread else ""
        raise ConfigError(told or f"{source} is empty: it has no rows to ingest.")


def _require_same_columns(reader: ListReader, files: list[ListFile]) -> None:
    """Refuse tables that differ before the first row is read; rows of JSON may differ as they like."""
    first: tuple[ListFile, set[str]] | None = None
    for file in files:
        with source_errors(str(file)):
            names = reader.columns(file)
        if names is None:
            continue
        first = first or (file, set(names))
        if set(names) != first[1]:
            lacks, has = quoted(first[1] - set(names)), quoted(set(names) - first[1])
            told = [f"lacks {lacks}"] * bool(lacks) + [f"has {has} besides"] * bool(has)
            raise ConfigError(f"{file} {' and '.join(told)}, unlike {first[0]}. Lists of one source share columns.")


def _require_columns(file: ListFile, row: dict[str, Any], needed: Iterable[str]) -> None:
    for column in needed:
        if column not in row:
            raise ConfigError(
                f"{file} has no column '{column}'{did_you_mean(column, row)}; its columns are {quoted(row)}. "
                "Choose with --url-column, --caption-column, "
                "--hash-column and --blur-column (an empty one: none)."
            )


def _record(row: dict[str, Any] | Problem, place: str, columns: _Columns) -> SourceRecord:
    if isinstance(row, Problem):
        return SourceRecord(url="", reason=RejectReason.BAD_ROW, detail=clean_text(f"{place}: {row}"))
    url, caption = as_text(row.get(columns.url)).strip(), as_text(row.get(columns.caption))
    checksum = read_checksum(row.get(columns.checksum)) if columns.checksum else ""
    is_bad = bool(columns.checksum) and not checksum
    return SourceRecord(
        url=url,
        caption=caption,
        caption_source="column" if caption else "",
        checksum=checksum,
        extra=passed_through(row, (columns.url, columns.caption)),
        place=place,
        reason=RejectReason.BAD_ROW if is_bad else "",
        detail=f"{place}: its hash is none of {KNOWN_CHECKSUMS} in hexadecimal" if is_bad else "",
    )
