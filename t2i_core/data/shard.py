"""The data set on disk: img2dataset's shard layout, with more columns, and the same bytes for the same input.

`NNNNN.tar` holds the kept samples (`KEY.jpg`, `KEY.json`, `KEY.txt`), `NNNNN.parquet` one row per attempted source,
and `NNNNN_stats.json`, written last, says that the shard is done.
"""

import hashlib
import io
import itertools
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from time import time
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.config import Config
from t2i_core.data.address import url_identity
from t2i_core.data.cell_types import fitted
from t2i_core.data.columns import table_of
from t2i_core.data.hosts import Traffic
from t2i_core.data.picture import EncodeFormat, Picture
from t2i_core.data.record import SourceRecord, as_text
from t2i_core.data.reject import Rejection
from t2i_core.data.tar import TarWriter
from t2i_core.door import is_file, read_file
from t2i_core.errors import DataError
from t2i_core.layout import MAX_STATS_BYTES
from t2i_core.manifest import write_atomically

SHARDS_DIR = "shards"
SHARD_DIGITS = 5
MAX_STATUSES = 100_000

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
# In the order in which img2dataset writes them, then those it does not have.
_JSON_COLUMNS = (
    *("caption", "url", "key", "status", "error_message", "width", "height", "original_width", "original_height"),
    *("sha256", "uid", "reason", "http_status", "final_url", "page_url", "caption_source", "attributes"),
    *("phash", "original_format", "original_mode", "frames", "signals"),
)
_OF_PICTURE = (
    *("width", "height", "original_width", "original_height", "sha256"),
    *("phash", "original_format", "original_mode", "frames", "color_grid"),
)
# Times differ from run to run, so this one is not in the table, but in the statistics.
FETCH_TIME = "fetched_at"
# What the JSON of a sample does not have. The colours are there to compare rows with, and long.
TABLE_ONLY = ("color_grid", "sample_crc32")
_COLUMNS = (*_JSON_COLUMNS, *TABLE_ONLY)
# Only of data sets whose options ask for it.
EXIF_COLUMN = "exif"
OWN_COLUMNS = frozenset({*_COLUMNS, FETCH_TIME, EXIF_COLUMN, "md5", "sha512"})
# Lists often bring a column of this name, which then stays where it is, and is the only one.
LICENSE_COLUMN = "license"

_FLAT = json.JSONEncoder(separators=(",\n    ", ": "))


@dataclass(frozen=True, slots=True)
class Attempt:
    """What became of one source.

    Attributes:
        record: the source.
        outcome: the picture to store, or why there is none.
        http_status: of the last answer, 0 when there was none.
        final_url: where redirects led, "" when nothing was fetched.
        signals: opt-out signals and other directives of the last answer, sorted, separated by commas.
        fetched_at: when the last answer came, in whole seconds since 1970; None when there was none.
    """

    record: SourceRecord
    outcome: Picture | Rejection
    http_status: int = 0
    final_url: str = ""
    signals: str = ""
    fetched_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLayout:
    """What every shard of a data set has in common.

    Attributes:
        shards_dir: the folder of all shards.
        samples_per_shard: attempted sources in each, which decides the width of the keys.
        encode_format: of the stored pictures.
        extra_columns: of the source, passed through.
        extra_types: of those that are no text, by name.
        has_exif: whether there is a column of the sources' EXIF.
    """

    shards_dir: Path
    samples_per_shard: int
    encode_format: EncodeFormat
    extra_columns: tuple[str, ...]
    extra_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    has_exif: bool = False

    @property
    def last_columns(self) -> tuple[str, ...]:
        """The columns behind those that all data sets have in the same order."""
        return (LICENSE_COLUMN, EXIF_COLUMN) if self.has_exif else (LICENSE_COLUMN,)


class WrittenFile(Config):
    """Size in bytes and sha256 of a file as it was written."""

    size: int
    sha256: str


class ShardReport(Config):
    """What one shard holds. kept + sum(rejected) == seen."""

    shard_id: int
    seen: int
    kept: int
    rejected: dict[str, int]
    files: dict[str, WrittenFile]
    part_sha256: str
    hit: bool = False


def shard_name(shard_id: int) -> str:
    """Give the stem of a shard's file names."""
    return f"{shard_id:0{SHARD_DIGITS}d}"


def sample_key(shard_id: int, index: int, samples_per_shard: int) -> str:
    """Give the key of the `index`-th source of a shard, as img2dataset numbers them."""
    digits = len(str(samples_per_shard - 1)) if samples_per_shard > 1 else 0
    return f"{shard_id * 10**digits + index:0{SHARD_DIGITS + digits}d}"


def sample_uid(url: str, caption: str) -> str:
    """Give the identity of a sample that survives another order or shard size: 32 hexadecimal digits."""
    return hashlib.sha256(f"{url_identity(url)}\n{caption}".encode()).hexdigest()[:32]


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
            name: row[name] for name in (*self._layout.extra_columns, *_JSON_COLUMNS, *self._layout.last_columns)
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
        self._partial.replace(self._path(".tar"))
        table = _parquet_bytes(self._rows, self._layout)
        write_atomically(self._path(".parquet"), table)
        report = ShardReport(
            shard_id=self._shard_id,
            seen=len(self._rows),
            kept=len(self._rows) - self._rejected.total(),
            rejected=dict(sorted(self._rejected.items())),
            files={
                "tar": WrittenFile(size=self._tar.size, sha256=self._tar.sha256),
                "parquet": WrittenFile(size=len(table), sha256=hashlib.sha256(table).hexdigest()),
            },
            part_sha256=self._part_sha256,
        )
        sent = {host: entry.model_dump() for host, entry in (traffic or {}).items()}
        stats = json.dumps(self._stats(report) | {"traffic": sent}, indent=4).encode()
        write_atomically(self._path("_stats.json"), stats)
        return report

    def _path(self, ending: str) -> Path:
        return self._layout.shards_dir / f"{shard_name(self._shard_id)}{ending}"

    def _stats(self, report: ShardReport) -> dict[str, Any]:
        """img2dataset's statistics, with this shard's report under a key of its own."""
        now = time()
        statuses = Counter("success" if row["error_message"] is None else row["error_message"] for row in self._rows)
        stages = Counter(row["status"] for row in self._rows)
        return {
            "count": report.seen,
            "successes": report.kept,
            "failed_to_download": stages["failed_to_download"],
            "failed_to_resize": stages["failed_to_resize"],
            "duration": now - self._started,
            "start_time": self._started,
            "end_time": now,
            "status_dict": dict(statuses.most_common(MAX_STATUSES)),
            FETCH_TIME: [row.get(FETCH_TIME) for row in self._rows],
            "report": report.model_dump(mode="json", exclude={"hit"}),
        }


def read_report(shards_dir: Path, shard_id: int) -> ShardReport | None:
    """Read what a finished shard holds; None when it is not finished or one of its files is gone or cut short.

    Raises:
        DataError: its statistics are damaged.
    """
    report = noted_report(shards_dir, shard_id)
    if report is None:
        return None
    for ending, written in report.files.items():
        file = shards_dir / f"{shard_name(shard_id)}.{ending}"
        if not is_file(file) or file.lstat().st_size != written.size:
            return None
    return report.with_changes(hit=True)


def noted_report(shards_dir: Path, shard_id: int) -> ShardReport | None:
    """Read what a shard's statistics say it holds, whatever is there; None without statistics.

    Raises:
        DataError: its statistics are damaged.
    """
    path = shards_dir / f"{shard_name(shard_id)}_stats.json"
    try:
        return ShardReport.model_validate(_stats_of(path)["report"])
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise _damaged(path) from err


def _stats_of(path: Path) -> Any:
    return json.loads(read_file(path, MAX_STATS_BYTES, levels=1))


def _damaged(stats_path: Path) -> DataError:
    return DataError(f"{stats_path} is damaged. Delete it and run ingest again: only this shard is made anew.")


def extra_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Give the columns of a shard's table that came from the source and are passed through: those before its own."""
    return tuple(itertools.takewhile(lambda name: name not in _COLUMNS, names))


def read_traffic(shards_dir: Path, shard_id: int) -> dict[str, Traffic]:
    """Read what each host was asked for a finished shard; nothing for one made before that was noted.

    Raises:
        DataError: its statistics are damaged.
    """
    path = shards_dir / f"{shard_name(shard_id)}_stats.json"
    try:
        noted = _stats_of(path).get("traffic", {})
        return {host: Traffic.model_validate(entry) for host, entry in noted.items()}
    except (OSError, ValueError, AttributeError, RecursionError) as err:
        raise _damaged(path) from err


def read_fetch_times(shards_dir: Path, shard_id: int, num_rows: int) -> list[int | None]:
    """Read when the answer for each row of a finished shard came; None for rows made before that was noted.

    Raises:
        DataError: its statistics are damaged.
    """
    path = shards_dir / f"{shard_name(shard_id)}_stats.json"
    try:
        times: list[int | None] = _stats_of(path).get(FETCH_TIME, [None] * num_rows)
    except FileNotFoundError:
        return [None] * num_rows
    except (ValueError, AttributeError, RecursionError) as err:
        raise _damaged(path) from err
    is_whole = isinstance(times, list) and len(times) == num_rows
    if not is_whole or not all(when is None or type(when) is int for when in times):
        raise _damaged(path)
    return times


def _row(key: str, attempt: Attempt, layout: ShardLayout) -> dict[str, Any]:
    record, outcome = attempt.record, attempt.outcome
    row: dict[str, Any] = {
        name: fitted(record.extra.get(name), layout.extra_types.get(name, _TEXT)) for name in layout.extra_columns
    }
    row |= dict.fromkeys(_COLUMNS)
    row |= {
        "caption": record.caption,
        "url": record.url,
        "key": key,
        "status": "success",
        "uid": record.uid or sample_uid(record.url, record.caption),
        "reason": "",
        "http_status": attempt.http_status,
        "final_url": attempt.final_url,
        "page_url": record.page_url,
        "caption_source": record.caption_source,
        "attributes": record.attributes,
        "signals": attempt.signals,
        "sample_crc32": 0,
        FETCH_TIME: attempt.fetched_at,
        LICENSE_COLUMN: as_text(record.extra.get(LICENSE_COLUMN)) or record.license,
    }
    if isinstance(outcome, Picture):
        return row | {name: getattr(outcome, name) for name in (*_OF_PICTURE, EXIF_COLUMN)}
    return row | {"status": outcome.reason.status, "error_message": outcome.message, "reason": str(outcome.reason)}


def indented_json(cells: Mapping[str, Any]) -> str:
    """Write one JSON object as `json.dumps` does with an indent of 4, for which that uses no C."""
    if not cells or any(isinstance(cell, list | tuple | dict) for cell in cells.values()):
        return json.dumps(cells, indent=4)
    return "{\n    " + _FLAT.encode(cells)[1:-1] + "\n}"


def _parquet_bytes(rows: list[dict[str, Any]], layout: ShardLayout) -> bytes:
    names = dict.fromkeys((*layout.extra_columns, *_COLUMNS, *layout.last_columns))
    types = {**layout.extra_types, **_INTEGERS, LICENSE_COLUMN: _TEXT}
    schema = pa.schema([(name, types.get(name, _TEXT)) for name in names])
    buffer = io.BytesIO()
    pq.write_table(table_of(rows, schema), buffer)
    return buffer.getvalue()
