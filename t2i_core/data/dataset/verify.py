"""Whether a finished dataset is still what was written, and exactly which samples are lost where it is not."""

import os
from collections.abc import Iterator, Mapping
from itertools import count
from pathlib import Path

from t2i_core.config import Config
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.dataset.folder import files_by_shard, finish_rewrite
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name
from t2i_core.data.shards.reader import REPAIR_ADVICE, kept_checksums, read_checksums
from t2i_core.data.shards.stats import noted_report
from t2i_core.door import is_file, open_folder
from t2i_core.errors import DataError, ShardError
from t2i_core.folders.hits import change_of
from t2i_core.folders.manifest import OutputFile, read_manifest
from t2i_core.progress import OnProgress, Progress, ignore_progress

ENDINGS = (".tar", ".parquet", "_stats.json")
DAMAGED_SUFFIX = ".damaged"


class ShardDamage(Config):
    """What is wrong with one shard.

    Attributes:
        shard: its name.
        problems: one sentence each.
        num_samples: that it was written with; those of a shard that can tell no longer count as 0.
        num_lost: samples that cannot be used any more. Without its table that is all of them.
        lost: their keys, as far as anything in the shard still names them.
        moved_to: the names that its files have now, when the shard was moved aside.
    """

    shard: str
    problems: tuple[str, ...]
    num_samples: int
    num_lost: int
    lost: tuple[str, ...]
    moved_to: tuple[str, ...] = ()


class Verification(Config):
    """What was checked and what is damaged."""

    dataset_dir: Path
    num_shards: int
    num_samples: int
    damaged: tuple[ShardDamage, ...]

    @property
    def num_lost(self) -> int:
        """Samples lost over all shards."""
        return sum(damage.num_lost for damage in self.damaged)


def verify(dataset_dir: Path, *, repair: bool = False, on_progress: OnProgress = ignore_progress) -> Verification:
    """Read every shard of a finished dataset and compare it with its table, its statistics and the manifest.

    Args:
        dataset_dir: the dataset.
        repair: move the files of damaged shards aside, so that the ingest that made the dataset makes only them anew.
        on_progress: gets shards checked.

    Raises:
        ConfigError: the folder is not a finished dataset, or cannot be written.
        DataError: its manifest is damaged.
    """
    read_manifest(dataset_dir, "dataset")
    with disk_errors(dataset_dir):
        finish_rewrite(dataset_dir)
    manifest = read_manifest(dataset_dir, "dataset")
    shards = files_by_shard(manifest)
    damaged = []
    for done, (shard_id, files) in enumerate(shards.items(), start=1):
        damage = _check(dataset_dir, shard_id, files)
        if damage and repair:
            with disk_errors(dataset_dir):
                damage = damage.with_changes(moved_to=tuple(_move_aside(dataset_dir / SHARDS_DIR, shard_id)))
        damaged += [damage] if damage else []
        fields = {"damaged": len(damaged)}
        on_progress(Progress(step="verify", done=done, total=len(shards), unit="shards", fields=fields))
    return Verification(
        dataset_dir=dataset_dir,
        num_shards=len(shards),
        num_samples=manifest.counts.get("kept", 0),
        damaged=tuple(damaged),
    )


def _check(dataset_dir: Path, shard_id: int, files: Mapping[str, OutputFile]) -> ShardDamage | None:
    problems = _changed_files(dataset_dir, shard_id, files)
    tar_path, table_path, _ = _places(dataset_dir / SHARDS_DIR, shard_id)
    found, stopped = read_checksums(tar_path)
    if stopped and is_file(tar_path):
        problems[".tar"] = stopped
    # Rows that changed cannot say what a sample was, so without the table as written none of them can be used.
    kept = None if ".parquet" in problems else kept_checksums(table_path)
    if kept is None:
        lost, num_samples = sorted(found), max(_noted_kept(dataset_dir, shard_id), len(found))
    else:
        lost, num_samples = [key for key, crc in kept.items() if found.get(key) != crc], len(kept)
    if not problems and not lost:
        return None
    return ShardDamage(
        shard=shard_name(shard_id),
        problems=tuple(problems.values()) or ("samples differ from the checksums in the table",),
        num_samples=num_samples,
        num_lost=num_samples if kept is None else len(lost),
        lost=tuple(lost),
    )


def _changed_files(dataset_dir: Path, shard_id: int, files: Mapping[str, OutputFile]) -> dict[str, str]:
    """Say for each file of a shard, by its ending, why it is not the one that was written."""
    problems = {}
    for ending, path in zip(ENDINGS, _places(dataset_dir / SHARDS_DIR, shard_id), strict=True):
        noted = files.get(ending)
        problem = change_of(path, noted) if noted else "is not in the manifest"
        if problem:
            problems[ending] = f"{path.name} {problem}"
    return problems


def require_whole(dataset_dir: Path, shard_id: int, files: Mapping[str, OutputFile]) -> None:
    """Refuse to work on a shard that is not what was written.

    Raises:
        ShardError: one of its files has changed or is gone.
    """
    problems = _changed_files(dataset_dir, shard_id, files)
    if problems:
        path = dataset_dir / SHARDS_DIR / shard_name(shard_id)
        message = f"shard {path} is damaged ({', '.join(problems.values())}): {REPAIR_ADVICE}"
        raise ShardError(message, path=str(path), num_lost=0)


def _places(shards_dir: Path, shard_id: int) -> list[Path]:
    return [shards_dir / f"{shard_name(shard_id)}{ending}" for ending in ENDINGS]


def _noted_kept(dataset_dir: Path, shard_id: int) -> int:
    """Count a shard's samples by its statistics; 0 when these are damaged too."""
    try:
        report = noted_report(dataset_dir / SHARDS_DIR, shard_id)
    except DataError:
        return 0
    return report.kept if report else 0


def _move_aside(shards_dir: Path, shard_id: int) -> Iterator[str]:
    """Rename the files of a shard, the statistics first: without them the shard is no longer done."""
    with open_folder(shards_dir, levels=1) as folder:
        for path in reversed(_places(shards_dir, shard_id)):
            if is_file(path):
                name = _free_name(path)
                os.replace(path.name, name, src_dir_fd=folder, dst_dir_fd=folder)
                yield name


def _free_name(path: Path) -> str:
    names = (f"{path.name}{DAMAGED_SUFFIX}{number or ''}" for number in count())
    return next(name for name in names if not os.path.lexists(path.with_name(name)))
