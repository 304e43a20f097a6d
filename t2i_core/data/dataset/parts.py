"""The plan of an ingest on disk: the sources cut into parts, one for each shard, so that a killed run need not crawl
or read its list again."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from t2i_core.config import Config
from t2i_core.data.address import MAX_URL_CHARS
from t2i_core.data.bounded.repeats import RepeatFinder
from t2i_core.data.dataset.tombstone import Purged, bury
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.columns import column_of
from t2i_core.data.shards.layout import sample_uid, shard_name
from t2i_core.data.tables.cells import TEXT, join, kind_of
from t2i_core.data.tables.table import read_table
from t2i_core.data.traffic import Traffic
from t2i_core.door import is_file, read_file, remove_tree
from t2i_core.errors import DataError
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import MAX_LOG_BYTES
from t2i_core.folders.manifest import sha256_of

PARTS_DIR = "_parts"
MAX_EXTRA_COLUMNS = 1000
# Of the texts of one part, which memory holds: in any case, and for each of its sources where they are many.
MIN_PART_CHARS, PART_CHARS_PER_SAMPLE = 16_000_000, 2000
_NOTE_NAME = "plan.json"
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("url", "caption", "page_url", "caption_source", "attributes", "location")),
        *((name, pa.int64()) for name in ("offset", "size")),
        *((name, pa.string()) for name in ("checksum", "extra", "reason", "detail", "uid", "license")),
    ]
)


class PlanNote(Config):
    """What the parts hold, written when all of them are there.

    Attributes:
        source: what was planned, as given then.
        num_parts: one for each shard.
        num_records: sources over all parts.
        extra_columns: the columns of a list that are passed through, in order of appearance.
        extra_kinds: what the cells of each of them are, as `cells.join` tells.
        counts: figures of the planning itself, such as pages read.
        traffic: what each host was asked for pages.
    """

    source: str
    num_parts: int
    num_records: int
    extra_columns: tuple[str, ...]
    extra_kinds: dict[str, str] = Field(default_factory=dict)
    counts: dict[str, int]
    traffic: dict[str, Traffic] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Part:
    """The sources of one shard, and the digest that tells whether a shard was made from them."""

    records: list[SourceRecord]
    sha256: str


class PartWriter:
    """Cuts a stream of sources into parts, marking later ones with the same URL and caption as duplicates.

    Of each source no more than a bit stays in memory: duplicates are found, and marked in their parts, at the end. What
    was purged from the dataset stays out.

    Args:
        output_dir: gets the parts.
        samples_per_part: sources in each.
        purged: from the dataset; None for what was from that in `output_dir`.
    """

    def __init__(self, output_dir: Path, samples_per_part: int, purged: Purged | None = None) -> None:
        self._output_dir = output_dir
        self._folder = output_dir / PARTS_DIR
        self._samples_per_part = samples_per_part
        self._waiting: list[SourceRecord] = []
        self._identities = self._folder / "_identities"
        self._repeats = RepeatFinder(self._identities)
        self._extra_kinds: dict[str, str] = {}
        self._num_chars = 0
        self._purged = purged or Purged(output_dir)
        self._num_parts = 0
        self.num_records = 0
        remove_tree(self._folder)
        self._folder.mkdir(parents=True)

    def add(self, record: SourceRecord) -> None:
        """Add the next source; one that brings too many columns or too much text is rejected, and neither is kept."""
        record = self._bounded(record)
        if self._purged.holds(record.url):
            record = bury(record)
        elif not record.reason:
            self._repeats.add(self.num_records, _identity(record))
        self._waiting.append(record)
        self.num_records += 1
        if len(self._waiting) == self._samples_per_part:
            self._flush()

    def _bounded(self, record: SourceRecord) -> SourceRecord:
        """Keep the columns of all sources, and the text of those of one part, within what memory holds."""
        new = [name for name in record.extra if name not in self._extra_kinds]
        if len(self._extra_kinds) + len(new) > MAX_EXTRA_COLUMNS:
            detail = f"with column '{new[-1]:.50}' the source has more than {MAX_EXTRA_COLUMNS:,} different ones"
            return _bare(record, RejectReason.BAD_ROW, detail)
        size = _num_chars(record)
        if self._num_chars + size > max(MIN_PART_CHARS, PART_CHARS_PER_SAMPLE * self._samples_per_part):
            return _bare(record, RejectReason.TOO_MANY_BYTES, "there is more text in its shard than memory is to hold")
        self._num_chars += size
        for name, cell in record.extra.items():
            kind = self._extra_kinds.get(name, "")
            self._extra_kinds[name] = kind if kind == TEXT else join(kind, kind_of(cell))
        return record

    def _flush(self) -> None:
        write_part(self._output_dir, self._num_parts, self._waiting)
        self._waiting, self._num_chars = [], 0
        self._num_parts += 1

    def finish(self, source: str, counts: Mapping[str, int], traffic: Mapping[str, Traffic] | None = None) -> PlanNote:
        """Write what is left, mark duplicates, then write the note that says the plan is whole."""
        if self._waiting:
            self._flush()
        self._mark_repeats()
        note = PlanNote(
            source=source,
            num_parts=self._num_parts,
            num_records=self.num_records,
            extra_columns=tuple(self._extra_kinds),
            extra_kinds=self._extra_kinds,
            counts=dict(counts),
            traffic=dict(traffic or {}),
        )
        write_note(self._output_dir, note)
        return note

    def _mark_repeats(self) -> None:
        marks = self._repeats.find(self.num_records)
        for part_id in range(self._num_parts):
            start = part_id * self._samples_per_part
            rows = marks.between(start, min(start + self._samples_per_part, self.num_records))
            if len(rows):
                self._mark(part_id, rows)
        shutil.rmtree(self._identities, ignore_errors=True)

    def _mark(self, part_id: int, rows: npt.NDArray[np.intp]) -> None:
        table = read_table(_part_path(self._folder, part_id))
        reasons = np.array(table["reason"].to_pylist(), object)
        reasons[rows] = str(RejectReason.DUPLICATE_URL)
        place = _SCHEMA.get_field_index("reason")
        marked = column_of(reasons, pa.string())
        _write_table(self._output_dir, part_id, table.set_column(place, _SCHEMA.field(place), marked))


def _bare(record: SourceRecord, reason: RejectReason, detail: str) -> SourceRecord:
    """Reject a source, and leave out what nobody has to know of it."""
    place = f"{record.place}: " if record.place else ""
    return SourceRecord(url=record.url[:MAX_URL_CHARS], reason=str(reason), detail=f"{place}{detail}")


def _num_chars(record: SourceRecord) -> int:
    texts = (record.url, record.caption, record.page_url, record.license, record.attributes, record.detail)
    cells = (len(cell) for cell in record.extra.values() if isinstance(cell, str | list))
    return sum(map(len, texts)) + sum(map(len, record.extra)) + sum(cells)


def _identity(record: SourceRecord) -> int:
    # Half of the uid is enough to tell billions apart.
    return int(sample_uid(record.url, record.caption)[:16], 16)


def rules_name(token: str) -> str:
    """Give the name of the file, beside the parts, in which one run notes what sites say of who may ask for what."""
    return f"_rules-{token}.jsonl"


def write_note(output_dir: Path, note: PlanNote) -> None:
    """Write the note that says that a plan is whole."""
    write_atomically(output_dir / PARTS_DIR / _NOTE_NAME, note.model_dump_json(indent=2).encode())


def read_note(output_dir: Path) -> PlanNote | None:
    """Read the note of a finished plan; None when there is none. Whether its parts are there is not looked at."""
    try:
        return PlanNote.model_validate_json(read_file(output_dir / PARTS_DIR / _NOTE_NAME, MAX_LOG_BYTES, levels=1))
    except (FileNotFoundError, ValueError):
        return None


def read_whole_note(output_dir: Path) -> PlanNote | None:
    """Read the note of a finished plan; None when there is none, or a part of it is gone."""
    note = read_note(output_dir)
    parts = range(note.num_parts) if note else ()
    return note if all(is_file(_part_path(output_dir / PARTS_DIR, part_id)) for part_id in parts) else None


def write_part(output_dir: Path, part_id: int, records: Sequence[SourceRecord]) -> None:
    """Write the sources of one shard; equal sources give equal bytes."""
    columns = {name: [getattr(record, name) for record in records] for name in _SCHEMA.names}
    columns["extra"] = [json.dumps(dict(record.extra)) for record in records]
    arrays = [column_of(columns[field.name], field.type) for field in _SCHEMA]
    _write_table(output_dir, part_id, pa.Table.from_arrays(arrays, schema=_SCHEMA))


def _write_table(output_dir: Path, part_id: int, table: pa.Table) -> None:
    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    write_atomically(_part_path(output_dir / PARTS_DIR, part_id), buffer.getvalue().to_pybytes())


def read_part(output_dir: Path, part_id: int) -> Part:
    """Read the sources of one shard.

    Raises:
        DataError: the part is damaged.
    """
    path = _part_path(output_dir / PARTS_DIR, part_id)
    try:
        rows: list[dict[str, Any]] = read_table(path).to_pylist()
        records = [SourceRecord(**(row | {"extra": json.loads(row["extra"])})) for row in rows]
        return Part(records, sha256_of(path))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as err:
        folder = output_dir / PARTS_DIR
        raise DataError(f"{path} is damaged. Delete {folder} and run ingest again: it is planned anew.") from err


def _part_path(folder: Path, part_id: int) -> Path:
    return folder / f"{shard_name(part_id)}.parquet"
