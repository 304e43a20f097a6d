"""Removing samples from a finished dataset on request: pictures and texts go, keys of all others stay.

A removed sample leaves a tombstone (`tombstone.py`) as its row. All shards concerned change at once or not at all. What
was asked to be removed is written down, so that no later ingest into the folder brings it back. Copies of the data that
lie beside it go too: those of damaged shards are deleted, earlier versions and the dataset that this one replaced are
purged likewise.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from t2i_core.config import Config
from t2i_core.data.attempt import Attempt
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.dataset.folder import files_by_shard, finish_rewrite, layout_of, restate, staged_rewrite
from t2i_core.data.dataset.parts import read_note, read_part, write_part
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.data.dataset.tombstone import (
    Tombstone,
    bury,
    purged_list_lines,
    read_tombstones,
    url_sha256,
    write_purged_list,
    write_tombstones,
)
from t2i_core.data.dataset.verify import DAMAGED_SUFFIX, require_whole
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import Rejection, RejectReason
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name, table_path
from t2i_core.data.shards.reader import read_rows, stored_rows
from t2i_core.data.shards.stats import ShardReport, noted_report, read_traffic
from t2i_core.data.shards.versions import held_versions
from t2i_core.data.shards.writer import ShardWriter
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.claim import PREVIOUS_SUFFIX
from t2i_core.folders.manifest import Manifest, read_manifest
from t2i_core.folders.one_writer import one_writer
from t2i_core.progress import OnProgress, Progress, ignore_progress


class PurgeResult(Config):
    """What a purge did.

    Attributes:
        dataset_dir: the dataset.
        digest: its identity now.
        num_rows: rows that this purge made tombstones, pictures or not.
        num_pictures: pictures removed with them.
        shards: names of the shards that were changed.
        uids: of all samples ever purged from this dataset.
        deleted: copies of damaged shards that `verify` had set aside; what they hold cannot be told.
        previous: the dataset that this one replaced, when there is one: it was purged as well.
        unread: what has that name and is damaged, not finished or a link, and so may still hold such pictures.
    """

    dataset_dir: Path
    digest: str
    num_rows: int
    num_pictures: int
    shards: tuple[str, ...]
    uids: frozenset[str]
    deleted: tuple[str, ...]
    previous: Path | None = None
    unread: Path | None = None


def purge(dataset_dir: Path, request: PurgeRequest, *, on_progress: OnProgress = ignore_progress) -> PurgeResult:
    """Remove samples from a finished dataset; doing it again changes nothing.

    Raises:
        ConfigError: the folder is not a finished dataset, or cannot be written.
        TransientError: the disk is full, or another process writes the dataset; it is as it was.
        DataError: a shard or the manifest is damaged; the dataset is as it was.
    """
    result = purge_folder(dataset_dir, request, on_progress)
    for folder in held_versions(dataset_dir).values():
        if folder != dataset_dir:
            # What is purged is given out in no version.
            result = result.with_changes(uids=result.uids | purge_folder(folder, request, on_progress).uids)
    previous = dataset_dir.resolve().with_name(dataset_dir.resolve().name + PREVIOUS_SUFFIX)
    if not os.path.lexists(previous):
        return result
    if previous.is_symlink():
        # Whoever made it may mean any other dataset.
        return result.with_changes(unread=previous)
    try:
        uids = purge_folder(previous, request, on_progress).uids
    except (ConfigError, DataError):
        return result.with_changes(unread=previous)
    return result.with_changes(previous=previous, uids=result.uids | uids)


def purge_folder(dataset_dir: Path, request: PurgeRequest, on_progress: OnProgress = ignore_progress) -> PurgeResult:
    """Purge one folder, and neither earlier versions in it nor one that it replaced.

    Raises:
        ConfigError: as `purge`.
        TransientError: likewise.
        DataError: likewise.
    """
    read_manifest(dataset_dir, "dataset")
    with disk_errors(dataset_dir), one_writer(dataset_dir):
        finish_rewrite(dataset_dir)
        manifest = read_manifest(dataset_dir, "dataset")
        urls = _urls_of(dataset_dir, manifest, request, on_progress)
        stones = _new_tombstones(dataset_dir, manifest, urls)
        purged = [*purged_list_lines(dataset_dir), *request.deny_list_lines()]
        digest, num_pictures = manifest.digest, 0
        if stones:
            changes, digest = _remove(dataset_dir, manifest, urls, stones, purged, on_progress)
            num_pictures = sum(before.kept - after.kept for before, after in changes)
        else:
            write_purged_list(dataset_dir, purged)
        deleted = _delete_copies(dataset_dir)
    return PurgeResult(
        dataset_dir=dataset_dir,
        digest=digest,
        num_rows=sum(map(len, stones.values())),
        num_pictures=num_pictures,
        shards=tuple(map(shard_name, stones)),
        uids=frozenset(stone.uid for stone in read_tombstones(dataset_dir)),
        deleted=deleted,
    )


def _delete_copies(dataset_dir: Path) -> tuple[str, ...]:
    """Delete the copies of shards that were damaged; all of them have been made anew since."""
    copies = sorted((dataset_dir / SHARDS_DIR).glob(f"*{DAMAGED_SUFFIX}*"))
    for path in copies:
        path.unlink()
    return tuple(path.name for path in copies)


def _urls_of(dataset_dir: Path, manifest: Manifest, request: PurgeRequest, on_progress: OnProgress) -> set[str]:
    """Give the hashes of the URLs to remove.

    A picture named by its bytes is removed wherever its URL stands, also in rows that have no picture.
    """
    found: set[str] = set()
    shards = files_by_shard(manifest)
    for done, shard_id in enumerate(shards, start=1):
        rows = read_rows(table_path(dataset_dir / SHARDS_DIR, shard_id), ["url", "final_url", "sha256"])
        found.update(url_sha256(row["url"]) for row in rows if request.names(row))
        on_progress(Progress(step="purge: search", done=done, total=len(shards), unit="shards"))
    return found


def _new_tombstones(dataset_dir: Path, manifest: Manifest, urls: set[str]) -> dict[int, list[Tombstone]]:
    """Give the rows to remove by their shard, those left out that are tombstones already."""
    stones: dict[int, list[Tombstone]] = {}
    for shard_id in files_by_shard(manifest) if urls else ():
        for row in read_rows(table_path(dataset_dir / SHARDS_DIR, shard_id), ["key", "uid", "url", "reason"]):
            url = url_sha256(row["url"])
            if url in urls and row["reason"] != RejectReason.PURGED:
                stones.setdefault(shard_id, []).append(Tombstone(key=row["key"], uid=row["uid"], url_sha256=url))
    return stones


def _remove(
    dataset_dir: Path,
    manifest: Manifest,
    urls: set[str],
    stones: Mapping[int, list[Tombstone]],
    purged: Iterable[str],
    on_progress: OnProgress,
) -> tuple[list[tuple[ShardReport, ShardReport]], str]:
    """Rewrite the shards that hold samples to remove.

    Returns:
        The report of each of them before and after, and the dataset's new digest.
    """
    files = files_by_shard(manifest)
    changes = []
    with staged_rewrite(dataset_dir) as stage:
        for done, shard_id in enumerate(stones, start=1):
            require_whole(dataset_dir, shard_id, files[shard_id])
            changes.append(_rewrite_shard(dataset_dir, stage, manifest, shard_id, urls))
            on_progress(Progress(step="purge", done=done, total=len(stones), unit="shards"))
        new = (stone for found in stones.values() for stone in found)
        write_tombstones(stage, [*read_tombstones(dataset_dir), *new])
        write_purged_list(stage, purged)
        ref = restate(stage, dataset_dir, manifest, changes)
    return changes, ref.digest


def _rewrite_shard(
    dataset_dir: Path, stage: Path, manifest: Manifest, shard_id: int, urls: set[str]
) -> tuple[ShardReport, ShardReport]:
    shards_dir = dataset_dir / SHARDS_DIR
    before = noted_report(shards_dir, shard_id)
    if before is None:
        raise DataError(f"shard {shard_name(shard_id)} in {shards_dir} is not finished. Run ingest again.")
    part_sha256 = _bury_in_part(dataset_dir, stage, before, urls)
    layout = layout_of(dataset_dir, manifest, shard_id, shards_dir=stage / SHARDS_DIR)
    with ShardWriter(layout, shard_id, part_sha256) as writer:
        for row, members in stored_rows(shards_dir, shard_id):
            if url_sha256(row["url"]) in urls:
                writer.add([_tombstone(row)])
            else:
                writer.add_stored(row, members)
        return before, writer.finish(read_traffic(shards_dir, shard_id))


def _tombstone(row: Mapping[str, Any]) -> Attempt:
    return Attempt(bury(SourceRecord(url=row["url"], uid=row["uid"])), Rejection(RejectReason.PURGED))


def _bury_in_part(dataset_dir: Path, stage: Path, report: ShardReport, urls: set[str]) -> str:
    """Remove the sources from the plan too, which a refill of the shard goes by.

    Returns:
        The digest of the part that the new shard belongs to.
    """
    if read_note(dataset_dir) is None:
        return report.part_sha256
    part = read_part(dataset_dir, report.shard_id)
    records = [bury(record) if url_sha256(record.url) in urls else record for record in part.records]
    write_part(stage, report.shard_id, records)
    return read_part(stage, report.shard_id).sha256 if part.sha256 == report.part_sha256 else report.part_sha256
