"""New captions from a table, and a filter over columns: what changes or leaves out sources while they are planned."""

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from t2i_core.data.address import url_identity
from t2i_core.data.bounded.side_table import SideTable
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import LICENSE_COLUMN, sample_uid
from t2i_core.data.sources.cells import passed_through, quoted
from t2i_core.data.tables.list_files import find_lists, source_errors
from t2i_core.data.tables.reader import ListReader
from t2i_core.data.tables.text import Problem
from t2i_core.data.text import as_text, clean_text
from t2i_core.errors import ConfigError
from t2i_core.ingestion.row_filter import IncomparableError, RowFilter

UID_COLUMN = "uid"
# A column that no source so far has is a mistake, and not one to be told of after hours of reading.
RECORDS_TO_KNOW_COLUMNS = 10_000


class CaptionTable:
    """New captions by uid or URL.

    The caption that a source had before is passed through as `source_caption`; its uid stays what it was.

    Args:
        source: lists with a column `uid` or the URL column; what has both is joined by uid.
        url_column: of the lists.
        caption_column: of the lists; further columns are passed through, and a filter can ask for them.
        rows: where to keep them.
    """

    def __init__(self, source: str, url_column: str, caption_column: str, rows: SideTable) -> None:
        self._source = source
        self._url_column = url_column
        self._caption_column = caption_column
        self._rows = rows
        self._key_column = ""
        self.columns: frozenset[str] = frozenset()
        self.counts: Counter[str] = Counter()

    def load(self) -> None:
        """Read the lists.

        Raises:
            ConfigError: they are unreadable, empty, or lack a column.
            TransientError: a remote store does not answer.
        """
        with ListReader() as reader:
            for file in find_lists(self._source):
                with source_errors(str(file)):
                    for _, row in reader.rows(file, self._url_column):
                        if isinstance(row, Problem):
                            self.counts["captions_unreadable"] += 1
                        else:
                            self._add(str(file), row)
        if not self._key_column:
            raise ConfigError(f"{self._source} is empty: it has no captions to join.")

    def _add(self, file: str, row: Mapping[str, Any]) -> None:
        if not self._key_column:
            self._key_column = self._choose_key(file, row)
        key = as_text(row.get(self._key_column)).strip()
        used = (UID_COLUMN, self._url_column, self._caption_column)
        caption = as_text(row.get(self._caption_column)).strip()
        cells = passed_through(row, used)
        self.columns |= cells.keys()
        if key:
            self._rows.add(key if self._key_column == UID_COLUMN else url_identity(key), [caption, cells])

    def _choose_key(self, file: str, row: Mapping[str, Any]) -> str:
        keys = [column for column in (UID_COLUMN, self._url_column) if column in row]
        if keys and self._caption_column in row:
            return keys[0]
        missing = f"'{self._caption_column}'" if keys else f"'{UID_COLUMN}' or '{self._url_column}'"
        raise ConfigError(
            f"{file} has no column {missing}; its columns are {quoted(row.keys())}. Choose with --url-column and "
            "--caption-column."
        )

    def recaption(self, record: SourceRecord) -> SourceRecord:
        """Give a source with its new caption, or as it is when the table has none for it; of many the first counts."""
        uid = record.uid or sample_uid(record.url, record.caption)
        found = self._rows.find(uid if self._key_column == UID_COLUMN else url_identity(record.url))
        if not found:
            return record
        caption, cells = found[0]
        extra = {**record.extra, **cells}
        if not caption:
            return replace(record, extra=extra)
        self.counts["recaptioned"] += 1
        extra["source_caption"] = record.caption
        return replace(record, caption=caption, caption_source="table", uid=uid, extra=extra)

    def num_unused(self) -> int:
        """Count the captions for which there was no source."""
        return sum(1 for _ in self._rows.unused())


class Refinery:
    """What is done to each source before it is planned.

    Args:
        captions: new ones, loaded; None for none.
        row_filter: what to keep, None for everything.
    """

    def __init__(self, captions: CaptionTable | None, row_filter: RowFilter | None) -> None:
        self._captions = captions
        self._filter = row_filter
        self._unknown = set(row_filter.columns if row_filter else ()) - (captions.columns if captions else set())
        self._seen: dict[str, None] = {}
        self._num_records = 0
        self._compared = False
        self._incomparable = ""

    def refine(self, record: SourceRecord) -> SourceRecord:
        """Give a source as it is to be planned.

        Raises:
            ConfigError: the filter cannot be used on it.
        """
        if record.reason:
            return record
        if self._captions is not None:
            record = self._captions.recaption(record)
        if self._filter is None:
            return record
        row = _cells(record)
        if self._unknown:
            self._note_columns(row)
        return self._filtered(record, row, self._filter)

    def _filtered(self, record: SourceRecord, row: Mapping[str, Any], row_filter: RowFilter) -> SourceRecord:
        try:
            keeps = row_filter.keeps(row)
        except IncomparableError as err:
            self._incomparable = self._incomparable or str(err)
            place = f"{record.place}: " if record.place else ""
            return replace(record, reason=str(RejectReason.BAD_ROW), detail=clean_text(f"{place}{err}"))
        self._compared = True
        return record if keeps else replace(record, reason=str(RejectReason.FILTERED))

    def _note_columns(self, row: Mapping[str, Any]) -> None:
        self._num_records += 1
        self._seen |= dict.fromkeys(row)
        self._unknown.difference_update(row)
        if self._num_records == RECORDS_TO_KNOW_COLUMNS:
            self._refuse_unknown()

    def _refuse_unknown(self) -> None:
        if self._unknown and self._num_records:
            there = quoted(self._seen.keys())
            raise ConfigError(f"the filter asks for {quoted(self._unknown)}, which no source has; there are {there}.")

    def finish(self) -> dict[str, int]:
        """Give the figures of what was done.

        Raises:
            ConfigError: the filter asks for a column that no source had, or compares what none has.
        """
        self._refuse_unknown()
        if self._incomparable and not self._compared:
            raise ConfigError(f"{self._incomparable}, and no source has a cell that can be compared.")
        if self._captions is None:
            return {}
        counts = self._captions.counts | Counter(captions_unused=self._captions.num_unused())
        return {"recaptioned": 0, **{name: number for name, number in sorted(counts.items()) if number}}


def _cells(record: SourceRecord) -> dict[str, Any]:
    """Give the columns that a filter can ask for."""
    own = {
        "url": record.url,
        "caption": record.caption,
        "page_url": record.page_url,
        "caption_source": record.caption_source,
    }
    license_text = record.extra.get(LICENSE_COLUMN) or record.license
    extra = {name: as_text(cell) for name, cell in record.extra.items()}
    return {**record.facts, **extra, **own, LICENSE_COLUMN: license_text}


@contextmanager
def refinery(
    captions_from: str, row_filter: str, url_column: str, caption_column: str, scratch: Path
) -> Iterator[Refinery]:
    """Make the refinery of an ingest.

    Args:
        captions_from: lists of new captions, "" for none.
        row_filter: as text, "" for none.
        url_column: of those lists.
        caption_column: of the same lists.
        scratch: a folder for what is kept aside meanwhile.

    Raises:
        ConfigError: the lists or the filter cannot be used.
        TransientError: a remote store does not answer.
    """
    parsed = RowFilter.parse(row_filter) if row_filter else None
    if not captions_from:
        yield Refinery(None, parsed)
        return
    with SideTable(scratch / "_captions.sqlite") as rows:
        captions = CaptionTable(captions_from, url_column, caption_column, rows)
        captions.load()
        yield Refinery(captions, parsed)
