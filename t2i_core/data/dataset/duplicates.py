"""Which samples of a dataset show the same: marked in a table beside the shards, never removed from them.

Everything is found from the rows alone, in their own order and in the same memory for any number of them. So it does
not depend on what was fetched first, and it is found again whenever shards were changed.
"""

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.address import host_of
from t2i_core.data.bounded.repeats import RowMarks
from t2i_core.data.bounded.spill import Entries, Spill
from t2i_core.data.mark import MARKED_PREFIX, DuplicateKind
from t2i_core.data.picture import GRID_BYTES
from t2i_core.data.shards.columns import column_of
from t2i_core.data.shards.layout import sample_key, table_path
from t2i_core.data.tables.table import iter_table, read_table
from t2i_core.door import create_file, remove_tree
from t2i_core.errors import DataError

DUPLICATES_NAME = "duplicates.parquet"
# Bits of 64 by which the perceptual hashes of near duplicates differ at most. Of four quarters one is then equal.
NEAR_BITS = 3
# Levels of 255 by which any field of their color grids differs at most. Copies (JPEG of quality 50, half the size, both
# in turn) stay within 8; scenes with an object in another color differ by 21 and more.
NEAR_LEVELS = 10
# The same bytes under so many URLs of one host are its "image unavailable", wherever else they are found.
PLACEHOLDER_URLS = 10
MAX_SAMPLES_PER_SHARD = 100_000

_QUARTERS, _QUARTER_BITS = 4, 16
_SCHEMA = pa.schema([(name, pa.string()) for name in ("key", "uid", "kind", "of_key")])
_COLUMNS = ["sha256", "phash", "color_grid", "url", "reason"]
_GRID_WORDS = GRID_BYTES // 8
_UNKNOWN_COLORS = "0" * (2 * GRID_BYTES)


_KINDS = tuple(DuplicateKind)


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The mark of one sample.

    Attributes:
        key: of the sample.
        kind: what it is.
        of_key: the first sample of the same source bytes (itself, for the first placeholder), or an earlier one
            whose perceptual hash and colors are close.
    """

    key: str
    kind: DuplicateKind
    of_key: str


def write_duplicates(folder: Path, places: Mapping[int, Path], samples_per_shard: int) -> dict[str, int]:
    """Write the marks of all samples into `folder`, in the order of their keys.

    Args:
        folder: gets the table, and files beside it while it is made.
        places: the folder in which each shard lies, by its number, in order.
        samples_per_shard: sources in each, at most.

    Returns:
        How many are of each kind, by the name of the count.
    """
    tables = {number: table_path(place, number) for number, place in places.items()}
    return mark_duplicates(folder, tables, samples_per_shard)


def mark_duplicates(folder: Path, tables: Mapping[int, Path], samples_per_shard: int) -> dict[str, int]:
    """Write the marks of the samples of some tables, which may be those of several datasets; see `write_duplicates`.

    Args:
        folder: likewise.
        tables: of each shard, by its number, in order; keys are made from these numbers.
        samples_per_shard: likewise.
    """
    work = folder / f".{DUPLICATES_NAME}.work"
    remove_tree(work)
    try:
        _require_numbers(folder, tables, samples_per_shard)
        search = _Search(work, tables)
        return search.run(samples_per_shard, folder / DUPLICATES_NAME)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _require_numbers(folder: Path, tables: Mapping[int, Path], samples_per_shard: int) -> None:
    """Refuse shards whose numbers leave gaps: ingest makes none, and what lies in one would take memory."""
    if not 1 <= samples_per_shard <= MAX_SAMPLES_PER_SHARD or max(tables, default=-1) != len(tables) - 1:
        raise DataError(f"{folder} was not made by ingest: its shards are not numbered from 0 on.")


def read_duplicates(folder: Path) -> Iterator[Duplicate]:
    """Read the marks of a dataset in the order of their keys.

    Raises:
        DataError: the table is gone or damaged.
    """
    path = folder / DUPLICATES_NAME
    try:
        for batch in iter_table(path, ["key", "kind", "of_key"]):
            for row in batch.to_pylist():
                yield Duplicate(row["key"], DuplicateKind(row["kind"]), row["of_key"])
    except (OSError, pa.ArrowException, ValueError, KeyError) as err:
        raise DataError(f"{path} cannot be read ({err}). Delete it and run the ingest again: it is made anew.") from err


class _Search:
    """One search through the rows of a dataset, numbered as if every shard were full."""

    def __init__(self, work: Path, tables: Mapping[int, Path]) -> None:
        self._tables = tables
        self._pictures = Spill(work / "pictures", 4)
        self._hashes = Spill(work / "hashes", 2 + _GRID_WORDS)
        self._quarters = [Spill(work / f"quarter{number}", 2 + _GRID_WORDS) for number in range(_QUARTERS)]
        self._found = Spill(work / "found", 3)

    def run(self, samples_per_shard: int, path: Path) -> dict[str, int]:
        num_rows = (max(self._tables, default=0) + 1) * samples_per_shard
        self._shift = np.uint64(64 - num_rows.bit_length())
        for shard_id, table in self._tables.items():
            self._read(table, shard_id * samples_per_shard)
        marks = self._mark_same_bytes(num_rows)
        self._mark_same_hashes(marks)
        for quarter in self._quarters:
            self._mark_close_hashes(quarter)
        return self._write(samples_per_shard, path)

    def _read(self, table_path: Path, first_row: int) -> None:
        """Take the kept rows of one shard."""
        columns = _read_columns(table_path, _COLUMNS)
        kept = [index for index, reason in enumerate(columns["reason"]) if not reason]
        rows = np.array(kept, np.uint64) + np.uint64(first_row)
        digests = np.array([int(columns["sha256"][index][:16], 16) for index in kept], np.uint64)
        looks = _looks(table_path, columns, kept)
        urls = [columns["url"][index] for index in kept]
        hosts = np.array([_number(host_of(url)) for url in urls], np.uint64)
        self._pictures.add(np.stack([digests, rows, hosts, np.array(list(map(_number, urls)), np.uint64)], axis=1))
        # A hash without a single wave says nothing about what is to be seen.
        self._hashes.add(np.insert(looks, 1, rows, axis=1)[looks[:, 0] != 0])

    def _mark_same_bytes(self, num_rows: int) -> RowMarks:
        marks = RowMarks(num_rows)
        for entries in self._pictures.buckets():
            first = _first_of_same(entries)
            rows, of = entries[:, 1], entries[first, 1]
            placeholder = np.isin(entries[:, 0], _placeholders(entries))
            self._note(rows[placeholder], of[placeholder], DuplicateKind.PLACEHOLDER)
            repeat = (rows != of) & ~placeholder
            self._note(rows[repeat], of[repeat], DuplicateKind.EXACT)
            marks.add(rows[placeholder | repeat])
        return marks

    def _mark_same_hashes(self, marks: RowMarks) -> None:
        """Mark what has the hash and the colors of an earlier row, and hand the first of each on to be compared."""
        for entries in self._hashes.buckets():
            left = entries[~marks.has(entries[:, 1])]
            while len(left):
                first = _first_of_same(left)
                leads = first == np.arange(len(left))
                alike = _alike_in_color(left, left[first])
                repeat = alike & ~leads
                self._note(left[repeat, 1], left[first[repeat], 1], DuplicateKind.NEAR)
                for number, quarter in enumerate(self._quarters):
                    quarter.add(_turned(left[leads], number * _QUARTER_BITS))
                left = left[~alike]

    def _mark_close_hashes(self, quarter: Spill) -> None:
        for entries in quarter.buckets():
            entries = entries[np.argsort(entries[:, 0], kind="stable")]
            nearest = entries[:, 1].copy()
            for left, right in _close_pairs(entries[:, 0]):
                alike = _alike_in_color(entries[left], entries[right])
                left, right = left[alike], right[alike]
                np.minimum.at(nearest, left, entries[right, 1])
                np.minimum.at(nearest, right, entries[left, 1])
            near = nearest < entries[:, 1]
            self._note(entries[near, 1], nearest[near], DuplicateKind.NEAR)

    def _note(self, rows: Entries, of: Entries, kind: DuplicateKind) -> None:
        kinds = np.full(len(rows), _KINDS.index(kind), np.uint64)
        # Leading bits that differ, so that parts of all rows come back in their order.
        self._found.add(np.stack([rows << self._shift, kinds, of], axis=1))

    def _write(self, samples_per_shard: int, path: Path) -> dict[str, int]:
        """Write the strongest mark of each row, and among equals the one that leads back furthest."""
        counts: Counter[str] = Counter()
        partial = path.with_name(f".{path.name}.partial")
        path.parent.mkdir(parents=True, exist_ok=True)
        with create_file(partial) as opened, pq.ParquetWriter(opened, _SCHEMA) as writer:
            for entries in self._found.buckets():
                entries = entries[np.lexsort(entries.T[::-1])]
                entries = entries[_first_of_same(entries) == np.arange(len(entries))]
                counts.update(f"{MARKED_PREFIX}{_KINDS[kind]}" for kind in entries[:, 1].tolist())
                rows = (entries[:, 0] >> self._shift).tolist()
                if rows:
                    table = self._described(rows, entries[:, 1].tolist(), entries[:, 2].tolist(), samples_per_shard)
                    writer.write_table(table)
        _sync(partial)
        partial.replace(path)
        return dict(sorted(counts.items()))

    def _described(self, rows: list[int], kinds: list[int], of: list[int], samples_per_shard: int) -> pa.Table:
        columns = {
            "key": _keys(rows, samples_per_shard),
            "uid": list(self._uids(rows, samples_per_shard)),
            "kind": [str(_KINDS[kind]) for kind in kinds],
            "of_key": _keys(of, samples_per_shard),
        }
        return pa.Table.from_arrays([column_of(columns[name], pa.string()) for name in _SCHEMA.names], schema=_SCHEMA)

    def _uids(self, rows: list[int], samples_per_shard: int) -> Iterator[str]:
        shard_id, uids = -1, list[str]()
        for row in rows:
            if row // samples_per_shard != shard_id:
                shard_id = row // samples_per_shard
                uids = _read_columns(self._tables[shard_id], ["uid"])["uid"]
            yield uids[row % samples_per_shard]


def _keys(rows: Iterable[int], samples_per_shard: int) -> list[str]:
    return [sample_key(*divmod(row, samples_per_shard), samples_per_shard) for row in rows]


def _read_columns(table_path: Path, names: list[str]) -> dict[str, list[str]]:
    try:
        columns: dict[str, list[str]] = read_table(table_path, names).to_pydict()
    except (OSError, pa.ArrowException, ValueError) as err:
        raise DataError(f"{table_path} cannot be read ({err}). Delete it and run the ingest again.") from err
    return columns


def _looks(table_path: Path, columns: Mapping[str, list[str]], kept: list[int]) -> Entries:
    """Give the hash and the colors of the kept rows, (N, 1 + `_GRID_WORDS`); zeros for what was not noted yet."""
    none = [""] * len(columns["reason"])
    hashes, grids = (columns.get(name) or none for name in ("phash", "color_grid"))
    try:
        words = np.array([int(hashes[index] or "0", 16) for index in kept], np.uint64)
        packed = [bytes.fromhex(grids[index] or _UNKNOWN_COLORS) for index in kept]
        if any(len(grid) != GRID_BYTES for grid in packed):
            raise ValueError(f"a color_grid that is not {GRID_BYTES} bytes long")
    except (ValueError, TypeError, OverflowError) as err:
        raise DataError(f"{table_path} is damaged ({err}). Delete it and run the ingest again.") from err
    return np.column_stack([words, np.frombuffer(b"".join(packed), np.uint64).reshape(-1, _GRID_WORDS)])


def _number(text: str) -> int:
    """Give 64 bits that stand for a text; 0 for none."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) if text else 0


def _first_of_same(entries: Entries) -> npt.NDArray[np.intp]:
    """Give for each entry the place of the first one with the same first word."""
    _, first, inverse = np.unique(entries[:, 0], return_index=True, return_inverse=True)
    return first[inverse]


def _alike_in_color(left: Entries, right: Entries) -> npt.NDArray[np.bool_]:
    """Tell of each pair of entries whether the colors are close; unknown ones are close to any."""
    one, other = (np.ascontiguousarray(entries[:, 2:]).view(np.uint8) for entries in (left, right))
    apart = np.maximum(one, other) - np.minimum(one, other)
    unknown = ~(one.any(axis=1) & other.any(axis=1))
    alike: npt.NDArray[np.bool_] = (apart.max(axis=1) <= NEAR_LEVELS) | unknown
    return alike


def _placeholders(entries: Entries) -> Entries:
    """Give the digests that one host has under `PLACEHOLDER_URLS` URLs or more; entries: digest, row, host, URL."""
    addresses = np.unique(entries[entries[:, 2] != 0][:, [0, 2, 3]], axis=0)
    on_one_host, num_urls = np.unique(addresses[:, :2], axis=0, return_counts=True)
    placeholders: Entries = on_one_host[num_urls >= PLACEHOLDER_URLS, 0]
    return placeholders


def _turned(entries: Entries, bits: int) -> Entries:
    """Turn the first word of entries by some bits, which keeps the distances between them."""
    words = entries[:, 0]
    turned = (words << np.uint64(bits)) | (words >> np.uint64(64 - bits)) if bits else words
    return np.column_stack([turned, entries[:, 1:]])


def _close_pairs(words: Entries) -> Iterator[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]]:
    """Give the places of all pairs of sorted words whose leading quarters are equal and the rest nearly."""
    leading = words >> np.uint64(64 - _QUARTER_BITS)
    left, step = np.arange(len(words)), 0
    while len(left):
        step += 1
        left = left[left + step < len(words)]
        left = left[leading[left] == leading[left + step]]
        close = np.bitwise_count(words[left] ^ words[left + step]) <= NEAR_BITS
        yield left[close], left[close] + step


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
