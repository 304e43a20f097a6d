"""What can be ingested: lists, pages, folders and shards; here the lists, read a few thousand rows at a time."""

import codecs
import csv
import hashlib
import itertools
from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.existing import find_shards
from t2i_core.data.folder import folder_listing
from t2i_core.data.record import SourceRecord, as_text, clean_text, parse_json
from t2i_core.data.reject import RejectReason
from t2i_core.data.shard import OWN_COLUMNS
from t2i_core.errors import ConfigError
from t2i_core.manifest import sha256_of

LIST_SUFFIXES = (".csv", ".tsv", ".txt", ".json", ".jsonl", ".parquet")
MAX_LINE_CHARS = 4_000_000
MAX_JSON_BYTES = 512 * 1024 * 1024
PARQUET_BATCH_ROWS = 4096

Row = dict[str, Any] | str
"""One row of a list: its cells by column, or what is wrong with it."""


class SourceKind(Enum):
    """What a source string names."""

    LIST = "list"
    PAGE = "page"
    PAGE_LIST = "page_list"
    FOLDER = "folder"
    SHARDS = "shards"


def source_kind(source: str, *, pages: bool = False) -> SourceKind:
    """Tell what a source is.

    Args:
        source: a path or an http(s) URL.
        pages: a list holds the URLs of pages, not of pictures.

    Raises:
        ConfigError: it does not exist, or it is nothing that can be ingested.
    """
    if urlsplit(source).scheme in ("http", "https"):
        return SourceKind.PAGE
    path = Path(source)
    if path.is_dir():
        return SourceKind.SHARDS if find_shards(path) else SourceKind.FOLDER
    if not path.exists():
        raise ConfigError(f"no such source: {source}. Give a URL list, a folder of pictures, or an http(s) page.")
    if path.suffix.lower() not in LIST_SUFFIXES:
        raise ConfigError(f"{source} is not a URL list: its name must end in one of {', '.join(LIST_SUFFIXES)}.")
    return SourceKind.PAGE_LIST if pages else SourceKind.LIST


def source_identity(source: str) -> str:
    """Give the digest that stands for a source's content: bytes of a list, names, sizes and times of a folder.

    A page's content is not known before it is read, so its URL stands for it.

    Raises:
        ConfigError: there is no such source, or it cannot be read.
    """
    kind = source_kind(source)
    try:
        if kind is SourceKind.FOLDER:
            return hashlib.sha256(
                "\n".join(folder_listing(Path(source))).encode("utf-8", "surrogateescape")
            ).hexdigest()
        if kind is SourceKind.LIST:
            return sha256_of(Path(source))
    except OSError as err:
        raise ConfigError(f"cannot read {source}: {err.strerror}.") from err
    return hashlib.sha256(source.encode()).hexdigest()


def read_list(path: Path, url_column: str, caption_column: str) -> Iterator[SourceRecord]:
    """Read a URL list in its own order, one record a row; rows that cannot be read are rejected, not skipped.

    Args:
        path: a .csv, .tsv, .txt, .json, .jsonl or .parquet file. A .txt holds one URL a line and nothing else.
        url_column: the column of the URLs.
        caption_column: the column of the captions, "" for none.

    Raises:
        ConfigError: the list is empty or unreadable, or has no such column; the message names those it has.
    """
    rows = _guarded(path, _rows(path, url_column))
    first = next(rows, None)
    if first is None:
        raise ConfigError(f"{path} is empty: it has no rows to ingest.")
    wanted = [url_column] if path.suffix.lower() == ".txt" or not caption_column else [url_column, caption_column]
    if isinstance(first, dict):
        _require_columns(path, first, wanted)
    for number, row in enumerate(itertools.chain([first], rows), start=1):
        yield _record(row, number, url_column, caption_column)


def _rows(path: Path, url_column: str) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _parquet_rows(path)
    if suffix == ".json":
        return _json_rows(path)
    if suffix == ".jsonl":
        return _jsonl_rows(path)
    if suffix == ".txt":
        return ({url_column: line.strip()} for line in _lines(path) if line.strip())
    return _csv_rows(path, "\t" if suffix == ".tsv" else ",")


def _guarded(path: Path, rows: Iterator[Row]) -> Iterator[Row]:
    """Say which file it was when reading fails.

    Raises:
        ConfigError: the file cannot be read as what its name says.
    """
    try:
        yield from rows
    except UnicodeDecodeError as err:
        raise ConfigError(f"{path} is not UTF-8 or UTF-16 text (byte {err.start}). Save it as UTF-8.") from err
    except (OSError, ValueError, csv.Error, pa.ArrowException) as err:
        raise ConfigError(f"cannot read {path}: {err}") from err


def _require_columns(path: Path, row: dict[str, Any], wanted: Iterable[str]) -> None:
    for column in wanted:
        if column not in row:
            found = ", ".join(f"'{name}'" for name in row)
            raise ConfigError(
                f"{path} has no column '{column}'; its columns are {found}. Choose with --url-column and "
                "--caption-column (an empty one: no captions)."
            )


def _record(row: Row, number: int, url_column: str, caption_column: str) -> SourceRecord:
    if isinstance(row, str):
        return SourceRecord(url="", reason=RejectReason.BAD_ROW, detail=f"row {number}: {row}")
    url, caption = as_text(row.get(url_column)), as_text(row.get(caption_column))
    extra = {
        _free_name(name): as_text(value)
        for name, value in row.items()
        if name not in (url_column, caption_column) and not isinstance(value, bytes)
    }
    source = "column" if caption else ""
    return SourceRecord(url=url.strip(), caption=caption, caption_source=source, extra=extra)


def _free_name(column: str) -> str:
    """Keep a list's column apart from one that the shards use themselves."""
    return f"source_{column}" if column in OWN_COLUMNS else clean_text(column)


def _open_text(path: Path) -> TextIO:
    with path.open("rb") as file:
        start = file.read(2)
    encoding = "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    return path.open(encoding=encoding, newline="")


def _lines(path: Path) -> Iterator[str]:
    """Read lines of bounded length: a longer one comes in pieces, which then fail as rows."""
    with _open_text(path) as file:
        while line := file.readline(MAX_LINE_CHARS):
            yield line


def _csv_rows(path: Path, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(_lines(path), delimiter=delimiter)
    header = next(reader, [])
    for cells in reader:
        if not cells:
            continue
        if len(cells) != len(header):
            yield f"it has {len(cells)} fields, the header {len(header)}"
        else:
            yield dict(zip(header, cells, strict=True))


def _json_rows(path: Path) -> Iterator[Row]:
    if path.stat().st_size > MAX_JSON_BYTES:
        raise ValueError(f"it is larger than {MAX_JSON_BYTES:,} bytes. Write it as .jsonl, which is read line by line")
    with _open_text(path) as file:
        rows = parse_json(file.read())
    if not isinstance(rows, list):
        raise ValueError("it is not a JSON list of objects")
    for row in rows:
        yield _checked_row(row)


def _jsonl_rows(path: Path) -> Iterator[Row]:
    for line in _lines(path):
        if line.strip():
            try:
                row = parse_json(line)
            except ValueError as err:
                yield f"not JSON: {err}"
            else:
                yield _checked_row(row)


def _checked_row(row: Any) -> Row:
    return row if isinstance(row, dict) else "not a JSON object"


def _parquet_rows(path: Path) -> Iterator[Row]:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=PARQUET_BATCH_ROWS):
            yield from batch.to_pylist()
