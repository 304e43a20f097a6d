"""What one version of a dataset has more, less, or otherwise than another: sample by sample, by their identities."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2i_core.config import Config
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.shards.layout import SHARDS_DIR, table_path
from t2i_core.data.shards.reader import read_rows
from t2i_core.folders.manifest import Manifest, read_manifest

_COLUMNS = ("key", "uid", "url", "reason", "sha256")


class Change(Config):
    """One sample that differs.

    Attributes:
        uid: of the sample.
        url: of its picture.
        key: in the one version, "" where it is not a sample of it.
        other_key: in the other, likewise.
        reason: why it is no sample of the other any more, where its row there says so.
    """

    uid: str
    url: str
    key: str = ""
    other_key: str = ""
    reason: str = ""


class Difference(Config):
    """How the other version differs from the one.

    Attributes:
        added: samples that only the other has.
        removed: samples that only the one has.
        changed: samples whose picture is not the same in both.
        restated: samples with the same picture that have another key, since something else is said of them.
    """

    added: tuple[Change, ...]
    removed: tuple[Change, ...]
    changed: tuple[Change, ...]
    restated: tuple[Change, ...]


def difference(folder: Path, other: Path) -> Difference:
    """Compare two datasets, which may be versions of one; shards that they share are not read.

    Args:
        folder: the one.
        other: the other.

    Raises:
        ConfigError: one is not a finished dataset.
        DataError: one is damaged.
    """
    before, after = read_manifest(folder, "dataset"), read_manifest(other, "dataset")
    shared = _tables(before) & _tables(after)
    old, _ = _samples(folder, before, shared)
    new, reasons = _samples(other, after, shared)
    both = [(old[uid], new[uid]) for uid in old if uid in new]
    return Difference(
        added=tuple(_change(row, other_key=row["key"]) for uid, row in new.items() if uid not in old),
        removed=tuple(
            _change(row, key=row["key"], reason=reasons.get(uid, "")) for uid, row in old.items() if uid not in new
        ),
        changed=tuple(_pair(one, two) for one, two in both if one["sha256"] != two["sha256"]),
        restated=tuple(_pair(a, b) for a, b in both if a["sha256"] == b["sha256"] and a["key"] != b["key"]),
    )


def _tables(manifest: Manifest) -> set[tuple[str, str]]:
    """Give the tables of a dataset by name and content."""
    return {(file.path, file.sha256) for file in manifest.files if file.path.startswith(SHARDS_DIR)}


def _samples(
    folder: Path, manifest: Manifest, shared: set[tuple[str, str]]
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    """Give the samples in the shards that are not shared, by their uids, and why others are none."""
    samples, reasons = dict[str, dict[str, Any]](), dict[str, str]()
    for row in _rows(folder, manifest, shared):
        if row["reason"]:
            reasons[row["uid"]] = row["reason"]
        else:
            samples[row["uid"]] = row
    return samples, reasons


def _rows(folder: Path, manifest: Manifest, shared: set[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    for shard_id, files in files_by_shard(manifest).items():
        if (files[".parquet"].path, files[".parquet"].sha256) not in shared:
            yield from read_rows(table_path(folder / SHARDS_DIR, shard_id), _COLUMNS)


def _change(row: dict[str, Any], **told: str) -> Change:
    return Change(uid=row["uid"], url=row["url"], **told)


def _pair(one: dict[str, Any], other: dict[str, Any]) -> Change:
    return _change(other, key=one["key"], other_key=other["key"])
