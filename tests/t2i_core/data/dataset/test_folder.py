"""The folder of a dataset: what may lie in it beside the data."""

from pathlib import Path

import pytest

from t2i_core.data.dataset.folder import remove_leftovers
from t2i_core.folders.atomic import other_name

WRITTEN = ("manifest.json", "README.md", "purged.jsonl", "purged_deny_list.txt", "_parts/plan.json",
           "_parts/00000.parquet", "shards/00000.parquet", "shards/00000_stats.json")  # fmt: skip


@pytest.fixture
def dataset_dir(tmp_path: Path) -> Path:
    for name in (*WRITTEN, "shards/00000.tar", "shards/.DS_Store", ".notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"whole")
    return tmp_path


def test_what_killed_runs_left_goes_and_all_else_stays(dataset_dir: Path) -> None:
    whole = set(dataset_dir.rglob("*"))
    unfinished = [other_name(dataset_dir / name) for name in WRITTEN]
    unfinished += [dataset_dir / f"shards/.00001.{ending}" for ending in ("journal", "tar.partial")]
    for path in unfinished:
        path.write_bytes(b"ha")
    remove_leftovers(dataset_dir)
    assert set(dataset_dir.rglob("*")) == whole
