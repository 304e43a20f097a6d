"""Shards on disk: img2dataset's shard layout, with more columns, and the same bytes for the same input.

`NNNNN.tar` holds the kept samples (`KEY.jpg`, `KEY.json`, `KEY.txt`), `NNNNN.parquet` one row per attempted source,
and `NNNNN_stats.json`, written last, says that the shard is done.
"""

import hashlib
import io
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from time import time
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.data.reject import Rejection
from t2i_core.data.shards.columns import table_of
from t2i_core.data.shards.layout import (
    COLUMNS,
    EXIF_COLUMN,
    FETCH_TIME,
    JSON_COLUMNS,
    LICENSE_COLUMN,
    ShardLayout,
    sample_key,
    sample_uid,
    shard_name,
)
from t2i_core.data.shards.stats import MAX_STATUSES, ShardReport, WrittenFile
from t2i_core.data.shards.tar import TarWriter
from t2i_core.data.tables.cell_types import fitted
from t2i_core.data.text import as_text
from t2i_core.data.traffic import Traffic
from t2i_core.folders.atomic import write_atomically

_INTEGERS = {
    "width": pa.int32(),
    "height": pa.int32(),
    "original_width": pa.int32(),
    "original_height": pa.int32(),
    "http_status": pa.int32(),
    "frames": pa.int32(),
    "sample_crc32": pa.int64(),
}
_TEXT = pa.string()
_OF_PICTURE = (
    *("width", "height", "original_width", "original_height", "sha256"),
    *("phash", "original_format", "original_mode", "frames", "color_grid"),
)

_FLAT = json.JSONEncoder(separators=(",\n    ", ": "))


class ShardWriter:
    """Writes one shard in the order of its sources; nothing is seen of it before `finish`.

    Use as a context manager: leaving without `finish` removes what was begun.
    """

    def __init__(self, layout: ShardLayout, shard_id: int, part_sha256: str) -> None:
        self._layout = layout
        self._shard_id = shard_id
        self._part_sha256 = part_sha256
        self._rows: list[dict[str, Any]] = []
        self._rejected: Counter[str] = Counter()
        self._started = time()
        self._partial = layout.shards_dir / f".{shard_name(shard_id)}.tar.partial"

    def __enter__(self) -> Self:
        self._layout.shards_dir.mkdir(parents=True, exist_ok=True)
        self._tar = TarWriter(self._partial)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._tar.close()
        finally:
            # On a full disk even closing fails, and what was begun is in the way.
            self._partial.unlink(missing_ok=True)

    def add(self, attempts: Iterable[Attempt]) -> None:
        """Add the next sources."""
        for attempt in attempts:
            self._add(attempt)

    def _add(self, attempt: Attempt) -> None:
        key = sample_key(self._shard_id, len(self._rows), self._layout.samples_per_shard)
        row = _row(key, attempt, self._layout)
        if isinstance(attempt.outcome, Picture):
            row["sample_crc32"] = self._add_members(key, row, attempt.outcome.data)
        else:
            self._rejected[attempt.outcome.reason] += 1
        self._rows.append(row)

    def add_stored(self, row: dict[str, Any], members: Mapping[str, bytes]) -> None:
        """Add the next source as an earlier form of this shard holds it: its row, and the members of its sample."""
        if row["reason"]:
            self._rejected[row["reason"]] += 1
        self._write_members(row["key"], members)
        self._rows.append(row)

    def _add_members(self, key: str, row: dict[str, Any], picture: bytes) -> int:
        described = {
            name: row[name] for name in (*self._layout.extra_columns, *JSON_COLUMNS, *self._layout.last_columns)
        }
        members = {
            self._layout.encode_format: picture,
            "json": indented_json(described).encode(),
            "txt": row["caption"].encode(),
        }
        return self._write_members(key, members)

    def _write_members(self, key: str, members: Mapping[str, bytes]) -> int:
        """Write the members of one sample, and give the checksum over them."""
        crc = 0
        for suffix in sorted(members):
            crc = zlib.crc32(members[suffix], crc)
        self._tar.add({f"{key}.{suffix}": members[suffix] for suffix in sorted(members)})
        return crc

    def finish(self, traffic: Mapping[str, Traffic] | None = None) -> ShardReport:
        """Publish the shard: pictures, then rows, then the statistics that say it is done.

        Args:
            traffic: by host, to be noted with the statistics.
        """
        self._tar.finish()
        self._partial.replace(self._layout.shards_dir / f"{shard_name(self._shard_id)}.tar")
        return publish_rows(
            self._layout,
            self._rows,
            ShardReport(
                shard_id=self._shard_id,
                seen=len(self._rows),
                kept=len(self._rows) - self._rejected.total(),
                rejected=dict(sorted(self._rejected.items())),
                files={"tar": WrittenFile(size=self._tar.size, sha256=self._tar.sha256)},
                part_sha256=self._part_sha256,
            ),
            traffic or {},
            self._started,
        )


def publish_rows(
    layout: ShardLayout,
    rows: list[dict[str, Any]],
    report: ShardReport,
    traffic: Mapping[str, Traffic],
    started: float,
) -> ShardReport:
    """Publish the rows of a shard whose pictures are there, then the statistics that say it is done.

    Args:
        layout: of the shard.
        rows: of all its sources, in order.
        report: of the shard, with the tar alone among its files.
        traffic: by host, to be noted with the statistics.
        started: when the work at it began, in seconds since 1970.

    Returns:
        The report, with the table among its files.
    """
    stem = shard_name(report.shard_id)
    table = _parquet_bytes(rows, layout)
    write_atomically(layout.shards_dir / f"{stem}.parquet", table)
    written = WrittenFile(size=len(table), sha256=hashlib.sha256(table).hexdigest())
    report = report.with_changes(files={"tar": report.files["tar"], "parquet": written}, hit=False)
    sent = {host: entry.model_dump() for host, entry in traffic.items()}
    stats = json.dumps(_stats(rows, report, started) | {"traffic": sent}, indent=4).encode()
    write_atomically(layout.shards_dir / f"{stem}_stats.json", stats)
    return report


def _stats(rows: list[dict[str, Any]], report: ShardReport, started: float) -> dict[str, Any]:
    """img2dataset's statistics, with this shard's report under a key of its own."""
    now = time()
    statuses = Counter("success" if row["error_message"] is None else row["error_message"] for row in rows)
    stages = Counter(row["status"] for row in rows)
    return {
        "count": report.seen,
        "successes": report.kept,
        "failed_to_download": stages["failed_to_download"],
        "failed_to_resize": stages["failed_to_resize"],
        "duration": now - started,
        "start_time": started,
        "end_time": now,
        "status_dict": dict(statuses.most_common(MAX_STATUSES)),
        FETCH_TIME: [row.get(FETCH_TIME) for row in rows],
        "report": report.model_dump(mode="json", exclude={"hit"}),
    }


def without_picture(row: Mapping[str, Any], attempt: Attempt) -> dict[str, Any]:
    """Give the row of a sample that is not kept any more; what its source said of it stays.

    Args:
        row: as it was.
        attempt: what became of its source, a rejection.
    """
    outcome = attempt.outcome
    assert isinstance(outcome, Rejection)
    none = dict.fromkeys(name for name in (*_OF_PICTURE, EXIF_COLUMN) if name in row)
    return {**row, **none, **_of_answer(attempt), **_of_rejection(outcome), "sample_crc32": 0}


def _row(key: str, attempt: Attempt, layout: ShardLayout) -> dict[str, Any]:
    record, outcome = attempt.record, attempt.outcome
    row: dict[str, Any] = {
        name: fitted(record.extra.get(name), layout.extra_types.get(name, _TEXT)) for name in layout.extra_columns
    }
    row |= dict.fromkeys(COLUMNS)
    row |= {
        "caption": record.caption,
        "url": record.url,
        "key": key,
        "status": "success",
        "uid": record.uid or sample_uid(record.url, record.caption),
        "reason": "",
        "page_url": record.page_url,
        "caption_source": record.caption_source,
        "attributes": record.attributes,
        "sample_crc32": 0,
        LICENSE_COLUMN: as_text(record.extra.get(LICENSE_COLUMN)) or record.license,
        **_of_answer(attempt),
    }
    if isinstance(outcome, Picture):
        return row | {name: getattr(outcome, name) for name in (*_OF_PICTURE, EXIF_COLUMN)}
    return row | _of_rejection(outcome)


def _of_answer(attempt: Attempt) -> dict[str, Any]:
    return {
        "http_status": attempt.http_status,
        "final_url": attempt.final_url,
        "signals": attempt.signals,
        FETCH_TIME: attempt.fetched_at,
    }


def _of_rejection(outcome: Rejection) -> dict[str, Any]:
    return {"status": outcome.reason.status, "error_message": outcome.message, "reason": str(outcome.reason)}


def indented_json(cells: Mapping[str, Any]) -> str:
    """Write one JSON object as `json.dumps` does with an indent of 4, for which that uses no C."""
    if not cells or any(isinstance(cell, list | tuple | dict) for cell in cells.values()):
        return json.dumps(cells, indent=4)
    return "{\n    " + _FLAT.encode(cells)[1:-1] + "\n}"


def _parquet_bytes(rows: list[dict[str, Any]], layout: ShardLayout) -> bytes:
    names = dict.fromkeys((*layout.extra_columns, *COLUMNS, *layout.last_columns))
    types = {**layout.extra_types, **_INTEGERS, LICENSE_COLUMN: _TEXT}
    schema = pa.schema([(name, types.get(name, _TEXT)) for name in names])
    buffer = io.BytesIO()
    pq.write_table(table_of(rows, schema), buffer)
    return buffer.getvalue()
