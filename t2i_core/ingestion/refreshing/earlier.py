"""The rows of a dataset as they are, to be looked up while its source is read again: on disk, as they may be many.

Of each row it has what decides whether anything has changed, and gets what is to become of it.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from t2i_core.data.attempt import Attempt
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.parts import read_part
from t2i_core.data.dataset.sightings import Sighting, read_sightings
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shards.layout import SHARDS_DIR, sample_uid, table_path
from t2i_core.data.shards.reader import read_rows
from t2i_core.data.shards.versions import held_versions
from t2i_core.errors import DataError
from t2i_core.folders.manifest import read_manifest

_COLUMNS = ("uid", "url", "reason", "sha256", "final_url", "page_url")
# Those that are past, those that never were pictures, those that are.
PAST, REJECTED, KEPT = 0, 1, 2
_FIELDS = (
    *("shard", "place", "state", "uid", "url", "said", "boxes", "checksum", "page", "reason"),
    *("sha256", "final_url", "etag", "last_modified", "asked_at"),
)
_STATEMENTS = (
    # What a killed run leaves behind is never read again.
    "PRAGMA journal_mode=OFF",
    "PRAGMA synchronous=OFF",
    f"CREATE TABLE rows({', '.join(_FIELDS)}, fate, seen, matched, named, held, erase, PRIMARY KEY(shard, place))",
    "BEGIN",
)


@dataclass(frozen=True, slots=True)
class Earlier:
    """One row of the dataset as it is.

    Attributes:
        shard: number of its shard.
        place: of the row in it.
        state: PAST, REJECTED or KEPT.
        uid: of the sample.
        url: digest of the URL.
        said: digest of what the source said of it.
        boxes: of the boxes that were blurred.
        checksum: that the source named.
        page: that it was found on.
        reason: why it is not kept.
        sha256: of the source's bytes, "" for none.
        final_url: where redirects led.
        etag: the server's mark of those bytes.
        last_modified: likewise.
        asked_at: when the server last answered, in seconds since 1970; None for never.
    """

    shard: int
    place: int
    state: int
    uid: str
    url: bytes
    said: bytes
    boxes: bytes
    checksum: str
    page: str
    reason: str
    sha256: str
    final_url: str
    etag: str
    last_modified: str
    asked_at: int | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of one row.

    Attributes:
        shard: number of its shard.
        place: of the row in it.
        uid: of the sample.
        was_kept: whether it is a sample now.
        reason: why it is none any more, with what was answered; None where the row stays as it is.
        refusal: why its picture must not stay anywhere, "" where it may.
    """

    shard: int
    place: int
    uid: str
    was_kept: bool
    reason: Rejection | None
    refusal: str


class EarlierRows:
    """Holds the rows of a dataset. Use as a context manager, which removes the file.

    Args:
        path: of the file, in a folder that is there.
        boxes_column: column of the source with boxes to blur, "" for none.
    """

    def __init__(self, path: Path, boxes_column: str) -> None:
        self._path = path
        self._boxes_column = boxes_column
        self._num_rows: dict[int, int] = {}

    def __enter__(self) -> Self:
        # Few runs need it, and no run is to wait for what it does not use.
        import sqlite3

        self._path.unlink(missing_ok=True)
        self._db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        for statement in _STATEMENTS:
            self._db.execute(statement)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()
        self._path.unlink(missing_ok=True)

    def load(self, dataset_dir: Path, num_shards: int) -> None:
        """Take all rows of a dataset.

        Raises:
            DataError: its plan or a shard is damaged.
        """
        marks = ", ".join("?" * len(_FIELDS))
        for shard_id in range(num_shards):
            rows = self._rows_of(dataset_dir, shard_id)
            self._db.executemany(f"INSERT INTO rows({', '.join(_FIELDS)}) VALUES ({marks})", rows)
        for name in ("uid", "url"):
            self._db.execute(f"CREATE INDEX by_{name} ON rows({name})")

    def load_held(self, dataset_dir: Path) -> None:
        """Note which pictures that are no samples any more still lie in earlier versions.

        Raises:
            DataError: a version is damaged.
        """
        newest = files_by_shard(read_manifest(dataset_dir, "dataset"))
        for folder in held_versions(dataset_dir).values():
            for shard_id, files in files_by_shard(read_manifest(folder, "dataset")).items():
                table = table_path(folder / SHARDS_DIR, shard_id)
                # Most shards are the same in all versions.
                rows = [] if files == newest.get(shard_id) else read_rows(table, ["reason"])
                places = ((shard_id, place) for place, row in enumerate(rows) if not row["reason"])
                self._db.executemany("UPDATE rows SET held = 1 WHERE shard = ? AND place = ? AND state < 2", places)

    def _rows_of(self, dataset_dir: Path, shard_id: int) -> Iterator[tuple[Any, ...]]:
        rows = read_rows(table_path(dataset_dir / SHARDS_DIR, shard_id), _COLUMNS)
        records = read_part(dataset_dir, shard_id).records
        if len(records) != len(rows):
            raise DataError(f"the plan in {dataset_dir} is not that of shard {shard_id}: it cannot be refreshed.")
        self._num_rows[shard_id] = len(rows)
        seen = read_sightings(dataset_dir, shard_id, len(rows))
        for place, (row, record, sighting) in enumerate(zip(rows, records, seen, strict=True)):
            if row["reason"] != RejectReason.PURGED:
                yield self._fields(shard_id, place, row, record, sighting)

    def _fields(
        self, shard: int, place: int, row: Mapping[str, Any], record: SourceRecord, seen: Sighting
    ) -> tuple[Any, ...]:
        state = PAST if row["reason"] and RejectReason(row["reason"]).is_past else REJECTED if row["reason"] else KEPT
        return (
            *(shard, place, state, row["uid"], url_digest(row["url"]), said_digest(record)),
            *(self.boxes_digest(record), record.checksum, row["page_url"] or "", row["reason"] or ""),
            *(row["sha256"] or "", row["final_url"] or "", seen.etag, seen.last_modified, seen.asked_at),
        )

    def boxes_digest(self, record: SourceRecord) -> bytes:
        """Give what stands for the boxes that are blurred in a picture."""
        return _digest(record.extra.get(self._boxes_column)) if self._boxes_column else b""

    def match(self, record: SourceRecord) -> Earlier | None:
        """Find the row of a record that is live now, the kept one first, and note that it has its record."""
        uid = record.uid or sample_uid(record.url, record.caption)
        found = self._first("uid = ? AND state > 0 AND matched IS NULL ORDER BY state DESC, shard, place", uid)
        if found is not None:
            self._update(found, "matched = 1, named = 1")
        return found

    def knows(self, record: SourceRecord) -> bool:
        """Tell whether there is a row for a record that is not to be taken, and note why it is not."""
        uid = record.uid or sample_uid(record.url, record.caption)
        found = self._first("uid = ? AND state > 0 ORDER BY state DESC, shard, place", uid)
        if found is not None and found.state == KEPT and record.reason != RejectReason.DUPLICATE_URL:
            rejection = Rejection(RejectReason(record.reason), record.detail)
            self._update(found, "fate = ?", json.dumps(asdict(rejection)))
        return found is not None

    def of_url(self, record: SourceRecord) -> Earlier | None:
        """Find a kept row with the URL of a record, whatever is said of it."""
        found = self._first("url = ? AND state = 2 ORDER BY shard, place", url_digest(record.url))
        if found is not None:
            self._update(found, "named = 1")
        return found

    def _first(self, condition: str, *values: object) -> Earlier | None:
        row = self._db.execute(f"SELECT {', '.join(_FIELDS)} FROM rows WHERE {condition} LIMIT 1", values).fetchone()
        return Earlier(*row) if row else None

    def _update(self, row: Earlier, change: str, *values: object) -> None:
        self._db.execute(f"UPDATE rows SET {change} WHERE shard = ? AND place = ?", (*values, row.shard, row.place))

    def see(self, row: Earlier, sighting: Sighting) -> None:
        """Note what the server said of the picture of a row just now."""
        values = sighting.etag, sighting.last_modified, sighting.asked_at
        self._update(row, "etag = ?, last_modified = ?, asked_at = ?, seen = 1", *values)

    def remove(self, row: Earlier, attempt: Attempt) -> None:
        """Note that a row is not kept any more, and why: an attempt whose outcome is a rejection."""
        outcome = attempt.outcome
        assert isinstance(outcome, Rejection)
        told = asdict(outcome) | {"http_status": attempt.http_status, "final_url": attempt.final_url}
        told |= {"signals": attempt.signals}
        erase = "erase = ? AND (state != 1 OR held IS 1)"
        self._update(row, f"fate = ?, matched = 2, {erase}", json.dumps(told), int(outcome.reason.is_refusal))

    def unmatched(self) -> Iterator[tuple[Earlier, Rejection | None]]:
        """Give the kept rows that no record belongs to any more, with why not where the source says it."""
        query = f"SELECT {', '.join(_FIELDS)}, fate FROM rows WHERE state = 2 AND matched IS NULL ORDER BY shard, place"
        for *row, fate in self._db.execute(query).fetchall():
            yield Earlier(*row), _rejection(fate) if fate else None

    def lost(self) -> Iterator[Earlier]:
        """Give a row of each URL that the source does not name any more while a picture from it is still held."""
        is_held = "((state = 2 AND matched = 2) OR held = 1) AND COALESCE(erase, 0) = 0"
        is_lost = f"{is_held} AND url NOT IN (SELECT url FROM rows WHERE named = 1)"
        query = f"SELECT {', '.join(_FIELDS)}, MIN(shard * 1000000 + place) FROM rows WHERE {is_lost} GROUP BY url"
        for *row, _ in self._db.execute(f"{query} ORDER BY shard, place").fetchall():
            yield Earlier(*row)

    def erase_alike(self) -> None:
        """Have pictures erased too that were taken in the past from a URL that must not be taken any more."""
        has_picture = "(state = 0 OR held = 1 OR (state = 2 AND matched = 2))"
        refusal = "SELECT fate FROM rows AS refused WHERE refused.url = rows.url AND refused.erase = 1"
        self._db.execute(
            f"UPDATE rows SET erase = 1, fate = ({refusal} LIMIT 1) "
            f"WHERE {has_picture} AND COALESCE(erase, 0) = 0 AND url IN (SELECT url FROM rows WHERE erase = 1)"
        )

    def removals(self) -> Iterator[Decision]:
        """Give what is to become of each row concerned, in the order of the rows; what is past says so still."""
        query = "SELECT shard, place, uid, state, fate, erase FROM rows WHERE matched = 2 OR erase = 1"
        for shard, place, uid, state, fate, erase in self._db.execute(f"{query} ORDER BY shard, place"):
            reason = _rejection(fate)
            refusal = str(reason.reason) if erase else ""
            yield Decision(shard, place, uid, state == KEPT, None if state == PAST else reason, refusal)

    def seen_shards(self) -> Iterator[tuple[int, list[Sighting]]]:
        """Give the shards of which a picture was seen anew, with what servers last said of each of their sources."""
        query = "SELECT shard FROM rows GROUP BY shard HAVING MAX(seen) = 1 ORDER BY shard"
        for (shard,) in self._db.execute(query).fetchall():
            rows = self._db.execute("SELECT place, etag, last_modified, asked_at FROM rows WHERE shard = ?", (shard,))
            found = {place: Sighting(*values) for place, *values in rows}
            yield shard, [found.get(place, Sighting()) for place in range(self._num_rows[shard])]


def _rejection(text: str) -> Rejection:
    told = json.loads(text)
    return Rejection(**told | {"reason": RejectReason(told["reason"])})


def said_digest(record: SourceRecord) -> bytes:
    """Give what stands for all that a source says of a picture, but where it lies."""
    words = record.caption, record.page_url, record.caption_source, record.license, record.attributes
    return _digest([*words, sorted(record.extra.items())])


def url_digest(url: str) -> bytes:
    """Give what stands for a URL as a source spells it."""
    return _digest(url)


# Making one for each value takes longer than the value.
_ENCODER = json.JSONEncoder(default=str)


def _digest(value: object) -> bytes:
    return hashlib.blake2b(_ENCODER.encode(value).encode(), digest_size=16).digest()
