"""Reading shards as untrusted files: nothing is unpacked to disk or unpickled, and what is lost is counted."""

import json
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_core.data.picture import STORED_SUFFIXES
from t2i_core.data.shards.layout import FETCH_TIME, SHARDS_DIR, shard_name, table_path
from t2i_core.data.shards.stats import read_fetch_times
from t2i_core.data.shards.tar_reader import TarError, iter_members, read_member
from t2i_core.data.tables.table import read_table
from t2i_core.door import is_file, open_file, read_file
from t2i_core.errors import DataError, ShardError
from t2i_core.folders.layout import MAX_STATS_BYTES
from t2i_core.folders.manifest import Manifest, sha256_of

REPAIR_ADVICE = "run `t2i verify --repair` and the ingest again, then this command."
MAX_MEMBER_BYTES = 256 * 1024 * 1024
_MEMBER_NAME = re.compile(r"(?:\./)?([0-9]+)\.([a-z0-9]+)")


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of a shard.

    Attributes:
        key: its name in the dataset.
        picture: encoded bytes.
        picture_format: jpg, jpeg, png or webp.
        caption: as stored, "" when there is none.
        metadata: the sample's JSON object.
        crc32: over its members in the order of their names, as the shard's table has it.
    """

    key: str
    picture: bytes
    picture_format: str
    caption: str
    metadata: dict[str, Any]
    crc32: int


def iter_samples(tar_path: Path) -> Iterator[Sample]:
    """Read the samples of one shard in order.

    Raises:
        DataError: the tar breaks off, or holds something that is not a sample.
    """
    for key, members in _grouped(tar_path):
        yield _sample(tar_path, key, members)


def _grouped(tar_path: Path) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Give the members of each sample by suffix."""
    members: dict[str, bytes] = {}
    current = ""
    seen: set[str] = set()
    for key, suffix, body in _members(tar_path):
        if key != current:
            if members:
                yield current, members
            if key in seen:
                raise DataError(f"{tar_path}: sample {key} appears twice, or its members are not together.")
            seen.add(key)
            current, members = key, {}
        if suffix in members:
            raise DataError(f"{tar_path}: sample {key} has two members .{suffix}.")
        members[suffix] = body
    if members:
        yield current, members


def stored_rows(shards_dir: Path, shard_id: int) -> Iterator[tuple[dict[str, Any], dict[str, bytes]]]:
    """Read a shard as it was written: the row of each source, with the members of its sample if it is kept.

    What was kept in an earlier version alone may still be in the tar, and is passed over. The time of its fetch is with
    each row, as `ShardWriter` notes it.

    Raises:
        ShardError: the shard is damaged.
        DataError: its statistics are.
    """
    tar_path = shards_dir / f"{shard_name(shard_id)}.tar"
    samples = _grouped(tar_path)
    rows = read_rows(table_path(shards_dir, shard_id))
    times = read_fetch_times(shards_dir, shard_id, len(rows))
    for row, fetched_at in zip(rows, times, strict=True):
        row[FETCH_TIME] = fetched_at
        if row["status"] != "success":
            yield row, {}
            continue
        key, members = next((sample for sample in samples if sample[0] >= row["key"]), ("", {}))
        if key != row["key"] or _crc32(members) != row["sample_crc32"]:
            raise ShardError(f"shard {tar_path} is damaged: {REPAIR_ADVICE}", path=str(tar_path), num_lost=1)
        yield row, members


def read_rows(table_path: Path, columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Read the rows of a shard.

    Args:
        table_path: its parquet file.
        columns: which to read; None for all.

    Raises:
        ShardError: the table is gone or damaged.
    """
    try:
        table = read_table(table_path, columns)
        lacking = [name for name in columns or () if name not in table.schema.names]
        if lacking:
            raise ValueError(f"it lacks {', '.join(lacking)}")
        rows: list[dict[str, Any]] = table.to_pylist()
    except (OSError, pa.ArrowException, ValueError) as err:
        message = f"shard {table_path} is damaged ({err}): {REPAIR_ADVICE}"
        raise ShardError(message, path=str(table_path), num_lost=0) from err
    return rows


def _crc32(members: dict[str, bytes]) -> int:
    crc = 0
    for name in sorted(members):
        crc = zlib.crc32(members[name], crc)
    return crc


def _members(tar_path: Path) -> Iterator[tuple[str, str, bytes]]:
    try:
        with open_file(tar_path, levels=1) as tar:
            for member in iter_members(tar):
                match = _MEMBER_NAME.fullmatch(member.name)
                if not match or not member.is_file or member.size > MAX_MEMBER_BYTES:
                    raise DataError(f"{tar_path}: {member.name!r:.100} is not the member of a sample.")
                yield match[1], match[2], read_member(tar, member)
    except FileNotFoundError as err:
        raise DataError(f"no such shard: {tar_path}") from err
    except (TarError, OSError) as err:
        raise DataError(f"{tar_path} is damaged: {err}") from err


def _sample(tar_path: Path, key: str, members: dict[str, bytes]) -> Sample:
    suffix = next((suffix for suffix in members if suffix in STORED_SUFFIXES), None)
    if suffix is None:
        raise DataError(f"{tar_path}: sample {key} has no picture.")
    try:
        metadata = json.loads(members.get("json", b"{}"))
        caption = members.get("txt", b"").decode()
    except (ValueError, RecursionError) as err:
        raise DataError(f"{tar_path}: sample {key} is damaged: {err}") from err
    if not isinstance(metadata, dict):
        raise DataError(f"{tar_path}: the JSON of sample {key} is not an object.")
    return Sample(key, members[suffix], suffix, caption, metadata, _crc32(members))


def check_shard(dataset_dir: Path, manifest: Manifest, shard_id: int) -> None:
    """Check a shard of a finished dataset against its manifest.

    Raises:
        ShardError: a file of it is gone or not what was written, with the number of samples that are lost.
    """
    name = f"{SHARDS_DIR}/{shard_name(shard_id)}"
    tar_path, rows_path = dataset_dir / f"{name}.tar", dataset_dir / f"{name}.parquet"
    if not _is_intact(dataset_dir, manifest, f"{name}.parquet"):
        raise _shard_error(rows_path, _num_kept(dataset_dir, shard_id), "its rows are gone or damaged")
    if not _is_intact(dataset_dir, manifest, f"{name}.tar"):
        kept = kept_checksums(rows_path)
        lost = len(kept) - _num_readable(tar_path, kept)
        raise _shard_error(tar_path, lost, f"{lost} of its {len(kept)} samples are lost")


def _shard_error(path: Path, num_lost: int, problem: str) -> ShardError:
    advice = "Delete the file and run ingest again with the same options: only this shard is made anew."
    return ShardError(f"shard {path} is damaged: {problem}. {advice}", path=str(path), num_lost=num_lost)


def _is_intact(dataset_dir: Path, manifest: Manifest, name: str) -> bool:
    noted = manifest.files_by_path.get(name)
    path = dataset_dir / name
    if noted is None or not is_file(path) or path.lstat().st_size != noted.size:
        return False
    return sha256_of(path) == noted.sha256


def _num_kept(dataset_dir: Path, shard_id: int) -> int:
    """Count a shard's samples without its table: without rows, none of them can be used."""
    path = dataset_dir / SHARDS_DIR / f"{shard_name(shard_id)}_stats.json"
    try:
        return int(json.loads(read_file(path, MAX_STATS_BYTES, levels=1))["successes"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, DataError):
        return 0


def kept_checksums(table_path: Path) -> dict[str, int]:
    """Give the checksum of each kept sample as a shard's table has it.

    Raises:
        ShardError: the table is gone or damaged.
    """
    rows = read_rows(table_path, ["key", "status", "sample_crc32"])
    return {row["key"]: row["sample_crc32"] for row in rows if row["status"] == "success"}


def _num_readable(tar_path: Path, kept: dict[str, int]) -> int:
    """Count the samples that are still exactly what was written."""
    found, _ = read_checksums(tar_path)
    return sum(found.get(key) == crc for key, crc in kept.items())


def read_checksums(tar_path: Path) -> tuple[dict[str, int], str]:
    """Read a tar as far as it can be read.

    Returns:
        The checksum of each sample that has picture, text and JSON, and what stopped the reading, "" for nothing.
    """
    found: dict[str, int] = {}
    suffixes: dict[str, set[str]] = {}
    problem = ""
    try:
        for key, suffix, body in _members(tar_path):
            found[key] = zlib.crc32(body, found.get(key, 0))
            suffixes.setdefault(key, set()).add("picture" if suffix in STORED_SUFFIXES else suffix)
    except DataError as err:
        # What came before the damage counts.
        problem = str(err)
    return {key: crc for key, crc in found.items() if suffixes[key] >= {"picture", "json", "txt"}}, problem


def picture_places(tar_path: Path) -> dict[str, tuple[int, int]]:
    """Say where the picture of each sample of a tar lies: offset and size, in bytes.

    Raises:
        ShardError: the tar is damaged.
    """
    found = {}
    try:
        with open_file(tar_path, levels=1) as tar:
            for member in iter_members(tar):
                key, suffix = os.path.splitext(member.name)  # noqa: PTH122 - a member's name is not a path here
                if suffix[1:] in STORED_SUFFIXES and member.is_file and member.size <= MAX_MEMBER_BYTES:
                    found[key] = (member.offset, member.size)
    except (TarError, OSError) as err:
        raise ShardError(f"shard {tar_path} is damaged: {err}.", path=str(tar_path), num_lost=0) from err
    return found
