"""What is done for a shard does not grow with the number of shards: work is counted, never timed."""

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.data.batches.split import load_split
from t2i_core.data.manners.denylist import DenyList
from t2i_core.data.shards.reader import check_shard
from t2i_core.folders.manifest import MANIFEST_NAME, read_manifest
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.step import finish_ingest, ingest, ingest_shard, plan_ingest

MakePng = Callable[..., bytes]
CONFIG = IngestConfig(image_size=16, encode_format="png", samples_per_shard=1, reject_blank=False)
CAPTIONS = CaptionConfig(validation_share=0, test_share=0)


class Work:
    """Counts, while the block runs, the lines of Python that this thread goes through, and all calls of the system."""

    def __enter__(self) -> "Work":
        self.lines = self.system_calls = 0
        threading.setprofile(self._count_call)
        sys.setprofile(self._count_call)
        sys.settrace(self._count_line)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)
        sys.setprofile(None)
        threading.setprofile(None)

    def _count_call(self, _: FrameType, event: str, called: Any) -> None:
        self.system_calls += event == "c_call" and getattr(called, "__module__", "") == "posix"

    def _count_line(self, _: FrameType, event: str, __: Any) -> Any:
        self.lines += event == "line"
        return self._count_line


def pictures(folder: Path, number: int, make_png: MakePng) -> str:
    folder.mkdir()
    for name in range(number):
        (folder / f"{name:03}.png").write_bytes(make_png((name, 99, 255 - name)))
        (folder / f"{name:03}.txt").write_text(f"thing number {name}")
    return str(folder)


def work_of_each_step(root: Path, num_shards: int, make_png: MakePng) -> dict[str, int]:
    root.mkdir()
    source = pictures(root / "pictures", num_shards, make_png)
    dataset, captions = root / "dataset", root / "captions"
    done: dict[str, int] = {}
    with Work() as work:
        plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=dataset))
    done["plan"] = work.system_calls
    with Work() as work:
        ingest(source, CONFIG, dataset)
    done["make"] = work.system_calls
    (dataset / MANIFEST_NAME).unlink()
    plan = plan_ingest(IngestRequest(source=source, config=CONFIG, output_dir=dataset))
    with Work() as work:
        for shard_id in range(num_shards):
            ingest_shard(plan, shard_id)
    done["make each alone"] = work.system_calls
    with Work() as work:
        finish_ingest(plan)
    done["finish"] = work.system_calls
    manifest = read_manifest(dataset, "dataset")
    with Work() as work:
        for shard_id in range(num_shards):
            check_shard(dataset, manifest, shard_id)
    done["check"] = work.lines
    with Work() as work:
        caption(dataset, CAPTIONS, captions)
    done["caption"] = work.system_calls
    with Work() as work:
        load_split(captions, "train")
    done["load"] = work.lines
    return done


def test_work_grows_no_faster_than_the_number_of_shards(tmp_path: Path, make_png: MakePng) -> None:
    # The first time, modules are imported as well.
    _, few, more, most = (work_of_each_step(tmp_path / f"{number}", number, make_png) for number in (4, 12, 24, 48))

    # Twice as many more shards are twice as much more work; were each one to look at all others, four times.
    grown = {step: (most[step] - more[step]) / (more[step] - few[step]) for step in most if more[step] - few[step] > 5}
    assert {"make", "make each alone", "finish", "check", "load"} <= grown.keys()
    assert {step: ratio for step, ratio in grown.items() if ratio > 2.2} == {}


def test_the_deny_list_is_read_once_a_process(
    tmp_path: Path, make_png: MakePng, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = pictures(tmp_path / "pictures", 3, make_png)
    (tmp_path / "denied.txt").write_text("bad.example\n")
    config = CONFIG.with_changes(deny_list=str(tmp_path / "denied.txt"))
    readings = []
    read = DenyList.read.__func__  # type: ignore[attr-defined]
    monkeypatch.setattr(DenyList, "read", classmethod(lambda cls, path: readings.append(path) or read(cls, path)))

    ingest(source, config, tmp_path / "whole")
    assert len(readings) == 1

    plan = plan_ingest(IngestRequest(source=source, config=config, output_dir=tmp_path / "parts"))
    readings.clear()
    for shard_id in range(plan.num_shards):
        ingest_shard(plan, shard_id)
    assert len(readings) == 1


def test_a_plan_made_anew_is_not_taken_for_the_one_before(tmp_path: Path, make_png: MakePng) -> None:
    """A process that makes shards for long keeps what it opened for one plan, and for that plan only."""
    source = pictures(tmp_path / "pictures", 1, make_png)
    (tmp_path / "denied.txt").write_text("bad.example\n")
    config = CONFIG.with_changes(deny_list=str(tmp_path / "denied.txt"))
    tokens = set()
    for _ in range(2):
        plan = plan_ingest(IngestRequest(source=source, config=config, output_dir=tmp_path / "dataset"))
        ingest_shard(plan, 0)
        tokens.add(plan.token)
    assert len(tokens) == 2
