"""Samples that a new version of a dataset does not have any more: their rows say why, their keys stay taken.

A tar is not written anew for a few of them: what its table does not name as kept is no sample, and earlier versions
share the file. It is written anew without them where one must not be kept anywhere, and where half of it would be past.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from t2i_core.data.attempt import Attempt
from t2i_core.data.dataset.folder import layout_of
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import FETCH_TIME, SHARDS_DIR, ShardLayout, shard_name, table_path
from t2i_core.data.shards.reader import read_rows, stored_rows
from t2i_core.data.shards.stats import ShardReport, noted_report, read_fetch_times, read_traffic
from t2i_core.data.shards.writer import ShardWriter, publish_rows, without_picture
from t2i_core.door import link_file
from t2i_core.errors import DataError
from t2i_core.folders.manifest import Manifest

MAX_PAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Removal:
    """What is to become of one row.

    Attributes:
        attempt: what came of its source, a rejection; None where the row stays as it is.
        erase: its picture must not stay anywhere.
    """

    attempt: Attempt | None
    erase: bool = False


def remove_samples(
    dataset_dir: Path, stage: Path, manifest: Manifest, shard_id: int, removals: Mapping[int, Removal], part_sha256: str
) -> tuple[ShardReport, ShardReport]:
    """Write the new form of a shard.

    Args:
        dataset_dir: the dataset as it is.
        stage: the folder for new forms of its files.
        manifest: of the dataset as it is.
        shard_id: number of the shard.
        removals: by the place of the row in the shard.
        part_sha256: digest of the part of the plan that the new form belongs to.

    Returns:
        The report of the shard before and after.

    Raises:
        ShardError: the shard is damaged.
    """
    shards_dir = dataset_dir / SHARDS_DIR
    before = noted_report(shards_dir, shard_id)
    if before is None:
        raise DataError(f"shard {shard_name(shard_id)} in {shards_dir} is not finished. Run ingest again.")
    layout = layout_of(dataset_dir, manifest, shard_id, shards_dir=stage / SHARDS_DIR)
    num_past = len(removals) + sum(n for reason, n in before.rejected.items() if RejectReason(reason).is_past)
    if num_past > MAX_PAST_SHARE * (before.kept + num_past) or any(removal.erase for removal in removals.values()):
        return before, _written_anew(shards_dir, layout, shard_id, removals, part_sha256)
    return before, _restated(shards_dir, layout, before, removals, part_sha256)


def _written_anew(
    shards_dir: Path, layout: ShardLayout, shard_id: int, removals: Mapping[int, Removal], part_sha256: str
) -> ShardReport:
    with ShardWriter(layout, shard_id, part_sha256) as writer:
        for place, (row, members) in enumerate(stored_rows(shards_dir, shard_id)):
            changed = _changed(row, removals.get(place))
            writer.add_stored(changed, members if changed is row else {})
        return writer.finish(read_traffic(shards_dir, shard_id))


def _restated(
    shards_dir: Path, layout: ShardLayout, before: ShardReport, removals: Mapping[int, Removal], part_sha256: str
) -> ShardReport:
    """Write the rows anew, beside the tar that there is."""
    started, shard_id = time(), before.shard_id
    rows = read_rows(table_path(shards_dir, shard_id))
    times = read_fetch_times(shards_dir, shard_id, len(rows))
    rows = [
        _changed(row | {FETCH_TIME: fetched_at}, removals.get(place))
        for place, (row, fetched_at) in enumerate(zip(rows, times, strict=True))
    ]
    link_file(shards_dir / f"{shard_name(shard_id)}.tar", layout.shards_dir / f"{shard_name(shard_id)}.tar")
    rejected = [row["reason"] for row in rows if row["reason"]]
    report = before.with_changes(
        kept=len(rows) - len(rejected),
        rejected={reason: rejected.count(reason) for reason in sorted(set(rejected))},
        part_sha256=part_sha256,
    )
    return publish_rows(layout, rows, report, read_traffic(shards_dir, shard_id), started)


def _changed(row: dict[str, Any], removal: Removal | None) -> dict[str, Any]:
    return row if removal is None or removal.attempt is None else without_picture(row, removal.attempt)
