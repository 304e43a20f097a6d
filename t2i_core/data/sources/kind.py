"""What can be ingested: pages, lists, folders, shards and archives; here what a source is, and the lists as records."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.sources.cells import passed_through, quoted
from t2i_core.data.sources.checksum import KNOWN_CHECKSUMS, read_checksum
from t2i_core.data.sources.folder import folder_listing
from t2i_core.data.sources.shards import find_shards
from t2i_core.data.tables.list_files import (
    ListFile,
    find_archives,
    find_lists,
    holds_archives,
    is_archive,
    is_glob,
    is_list_folder,
    is_remote,
    source_errors,
)
from t2i_core.data.tables.list_format import LIST_NAMES, list_format
from t2i_core.data.tables.reader import ListReader
from t2i_core.data.tables.text import Problem
from t2i_core.data.text import as_text, clean_text
from t2i_core.errors import ConfigError, did_you_mean


class SourceKind(Enum):
    """What a source string names."""

    LIST = "list"
    PAGE = "page"
    PAGE_LIST = "page_list"
    FOLDER = "folder"
    SHARDS = "shards"
    ARCHIVES = "archives"
    SAVED_PAGES = "saved_pages"

    @property
    def is_stored(self) -> bool:
        """Whether no picture of it is ever fetched."""
        return self in (SourceKind.FOLDER, SourceKind.SHARDS)

    @property
    def holds_pictures(self) -> bool:
        """Whether pictures lie in it, all or some of them."""
        return self.is_stored or self in (SourceKind.ARCHIVES, SourceKind.SAVED_PAGES)


def source_kind(source: str, *, pages: bool = False) -> SourceKind:
    """Tell what a source is.

    An http(s) URL is a page. Any other URL (s3://, gs://, ...) is a list, a folder of lists, or a pattern of them; so
    is a file, and a name with *, ? or [ in it that no file has. Where the files end in .warc or .warc.gz they are
    archives instead. A local folder with tars in it holds shards, one with archives in it archives; one whose every
    entry is a list by its name is a folder of lists (entries that start with "." or "_" do not count); any other is a
    folder of pictures, or of saved pages.

    Args:
        source: a path, a pattern or a URL.
        pages: a list holds the URLs of pages, not of pictures, and a folder the pages themselves.

    Raises:
        ConfigError: it does not exist, or it is nothing that can be ingested.
        TransientError: a remote store does not answer.
    """
    if urlsplit(source).scheme in ("http", "https"):
        return SourceKind.PAGE
    lists = SourceKind.PAGE_LIST if pages else SourceKind.LIST
    if is_archive(source):
        return SourceKind.ARCHIVES
    if is_remote(source) or is_glob(source):
        # A name that promises lists need not be looked up.
        return lists if list_format(source) or not holds_archives(source) else SourceKind.ARCHIVES
    path = Path(source)
    if path.is_dir():
        with source_errors(source):
            return lists if is_list_folder(path) else _folder_kind(path, pages=pages)
    if not path.exists():
        raise ConfigError(f"no such source: {source}. Give a URL list, a folder of pictures, or an http(s) page.")
    if not list_format(path.name):
        raise ConfigError(f"{source} is not a URL list: its name must end in one of {LIST_NAMES}.")
    return lists


def _folder_kind(path: Path, *, pages: bool) -> SourceKind:
    if pages:
        return SourceKind.SAVED_PAGES
    if find_shards(path):
        return SourceKind.SHARDS
    return SourceKind.ARCHIVES if holds_archives(str(path)) else SourceKind.FOLDER


def source_identity(source: str, *, pages: bool = False) -> str:
    """Give the digest that stands for a source's content: bytes of lists, names, sizes and times of a folder.

    A page's content is not known before it is read, so its URL stands for it.

    Args:
        source: a path, a pattern or a URL.
        pages: as for `source_kind`.

    Raises:
        ConfigError: there is no such source, or it cannot be read.
        TransientError: a remote store does not answer.
    """
    kind = source_kind(source, pages=pages)
    with source_errors(source):
        if kind.is_stored or kind is SourceKind.SAVED_PAGES:
            return _digest(folder_listing(Path(source)))
        if kind is SourceKind.ARCHIVES:
            return _digest(f"{file.name}\t{file.version()}" for file in find_archives(source))
        if kind in (SourceKind.LIST, SourceKind.PAGE_LIST):
            files = find_lists(source)
            if files == [ListFile(source)]:
                return files[0].fingerprint()
            return _digest(f"{file.name}\t{file.fingerprint()}" for file in files)
    return _digest([source])


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()


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
