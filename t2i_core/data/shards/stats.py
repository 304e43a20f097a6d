"""The statistics beside a shard, and the report that stands in for it."""

import json
from pathlib import Path
from typing import Any

from t2i_core.config import Config
from t2i_core.data.shards.layout import FETCH_TIME, shard_name
from t2i_core.data.traffic import Traffic
from t2i_core.door import is_file, read_file
from t2i_core.errors import DataError
from t2i_core.folders.layout import MAX_STATS_BYTES

MAX_STATUSES = 100_000


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


def finished_shard(shards_dir: Path, shard_id: int) -> ShardReport:
    """Give the report of a shard that has to be there.

    Raises:
        DataError: it is not finished.
    """
    report = read_report(shards_dir, shard_id)
    if report is None:
        raise DataError(
            f"shard {shard_name(shard_id)} in {shards_dir} is not finished. Run ingest again: only it is made."
        )
    return report


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
