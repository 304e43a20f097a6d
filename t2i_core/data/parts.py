"""The plan of an ingest on disk: the sources cut into parts, one for each shard, so that a killed run need not crawl
or read its list again."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.config import Config
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shard import sample_uid, shard_name
from t2i_core.errors import DataError
from t2i_core.manifest import sha256_of, write_atomically

PARTS_DIR = "_parts"
_NOTE_NAME = "plan.json"
_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("url", "caption", "page_url", "caption_source", "attributes", "location")),
        *((name, pa.int64()) for name in ("offset", "size")),
        *((name, pa.string()) for name in ("extra", "reason", "detail", "license")),
    ]
)


class PlanNote(Config):
    """What the parts hold, written when all of them are there.

    Attributes:
        source: what was planned, as given then.
        num_parts: one for each shard.
        num_records: sources over all parts.
        extra_columns: the columns of a list that are passed through, in order of appearance.
        counts: figures of the planning itself, such as pages read.
    """

    source: str
    num_parts: int
    num_records: int
    extra_columns: tuple[str, ...]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Part:
    """The sources of one shard, and the digest that tells whether a shard was made from them."""

    records: list[SourceRecord]
    sha256: str


class PartWriter:
    """Cuts a stream of sources into parts, marking later ones with the same URL and caption as duplicates."""

    def __init__(self, output_dir: Path, samples_per_part: int) -> None:
        self._folder = output_dir / PARTS_DIR
        self._samples_per_part = samples_per_part
        self._waiting: list[SourceRecord] = []
        self._known: set[int] = set()
        self._extra_columns: dict[str, None] = {}
        self._num_parts = 0
        self.num_records = 0
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def add(self, record: SourceRecord) -> None:
        """Add the next source."""
        self._extra_columns |= dict.fromkeys(record.extra)
        if not record.reason and self._is_known(record):
            record = replace(record, reason=RejectReason.DUPLICATE_URL)
        self._waiting.append(record)
        self.num_records += 1
        if len(self._waiting) == self._samples_per_part:
            self._flush()

    def _is_known(self, record: SourceRecord) -> bool:
        # Half of the uid is enough to tell billions apart, and small enough to keep for all of them.
        identity = int(sample_uid(record.url, record.caption)[:16], 16)
        if identity in self._known:
            return True
        self._known.add(identity)
        return False

    def _flush(self) -> None:
        rows = [asdict(record) | {"extra": json.dumps(dict(record.extra))} for record in self._waiting]
        buffer = pa.BufferOutputStream()
        pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), buffer, compression="zstd")
        write_atomically(_part_path(self._folder, self._num_parts), buffer.getvalue().to_pybytes())
        self._waiting = []
        self._num_parts += 1

    def finish(self, source: str, counts: Mapping[str, int]) -> PlanNote:
        """Write what is left, then the note that says the plan is whole."""
        if self._waiting:
            self._flush()
        note = PlanNote(
            source=source,
            num_parts=self._num_parts,
            num_records=self.num_records,
            extra_columns=tuple(self._extra_columns),
            counts=dict(counts),
        )
        write_atomically(self._folder / _NOTE_NAME, note.model_dump_json(indent=2).encode())
        return note


def read_note(output_dir: Path) -> PlanNote | None:
    """Read the note of a finished plan; None when there is none, or a part of it is gone."""
    folder = output_dir / PARTS_DIR
    try:
        note = PlanNote.model_validate_json((folder / _NOTE_NAME).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    whole = all(_part_path(folder, part_id).is_file() for part_id in range(note.num_parts))
    return note if whole else None


def read_part(output_dir: Path, part_id: int) -> Part:
    """Read the sources of one shard.

    Raises:
        DataError: the part is damaged.
    """
    path = _part_path(output_dir / PARTS_DIR, part_id)
    try:
        rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
        records = [SourceRecord(**(row | {"extra": json.loads(row["extra"])})) for row in rows]
        return Part(records, sha256_of(path))
    except (OSError, pa.ArrowException, ValueError, KeyError, TypeError) as err:
        folder = output_dir / PARTS_DIR
        raise DataError(f"{path} is damaged. Delete {folder} and run ingest again: it is planned anew.") from err


def _part_path(folder: Path, part_id: int) -> Path:
    return folder / f"{shard_name(part_id)}.parquet"
