"""Two who would write one folder at once: the second is refused, whichever step it is."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2i_core.captioning.config import CaptionConfig
from t2i_core.captioning.step import caption
from t2i_core.comparison.config import CompareConfig
from t2i_core.comparison.step import compare
from t2i_core.composition.step import compose
from t2i_core.data.dataset.export import export
from t2i_core.data.dataset.purge import purge
from t2i_core.data.dataset.purge_request import PurgeRequest
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.encoding.step import features
from t2i_core.errors import DataError, TransientError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.step import evaluate
from t2i_core.folders.manifest import read_manifest
from t2i_core.folders.one_writer import one_writer
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.edits.config import EditConfig, EditRequest
from t2i_core.generation.edits.edit import edit
from t2i_core.generation.generate import generate
from t2i_core.ingestion.config import IngestConfig, IngestRequest
from t2i_core.ingestion.retry import retry_ingest
from t2i_core.ingestion.step import finish_ingest, ingest_shard, plan_ingest
from t2i_core.training.config import TrainConfig
from t2i_core.training.step import train
from t2i_core.training.supervisor import supervise_training

NOWHERE = Path("nowhere")
TRAINING = TrainConfig(preset="cnn-smoke")
STEPS: dict[str, Callable[[Path], Any]] = {
    "ingest": lambda place: plan_ingest(IngestRequest(source="nowhere", config=IngestConfig(), output_dir=place)),
    "retry": lambda place: retry_ingest("nowhere", IngestConfig(), place, frozenset()),
    "caption": lambda place: caption(NOWHERE, CaptionConfig(), place),
    "features": lambda place: features(NOWHERE, NOWHERE, FeaturesConfig(), place),
    "train": lambda place: train(NOWHERE, TRAINING, place),
    "supervised train": lambda place: supervise_training(NOWHERE, TRAINING, place),
    "compose": lambda place: compose({"base": NOWHERE}, place),
    "evaluate": lambda place: evaluate(NOWHERE, EvaluateConfig(), place),
    "compare": lambda place: compare(("a", "b"), CompareConfig(), place),
    "export": lambda place: export(NOWHERE, place, "files"),
    "generate": lambda place: generate(NOWHERE, ["a"], place, GenerateConfig()),
    "edit": lambda place: edit(
        EditRequest(run_dir=NOWHERE, kind="upscale", picture=NOWHERE, prompts=(), output_dir=place, config=EditConfig())
    ),
}


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_refused_while_another_writes_its_folder(name: str, tmp_path: Path) -> None:
    place = tmp_path / "out"
    with one_writer(place), pytest.raises(TransientError, match=rf"process \(number {os.getpid()}\) is writing .*out"):
        STEPS[name](place)
    assert list(tmp_path.iterdir()) == []


def test_what_changes_a_dataset_waits_for_its_writer(tmp_path: Path, make_png: Callable[..., bytes]) -> None:
    pictures, place = tmp_path / "pictures", tmp_path / "dataset"
    pictures.mkdir()
    (pictures / "a.png").write_bytes(make_png((255, 0, 0)))
    plan = plan_ingest(IngestRequest(source=str(pictures), config=IngestConfig(), output_dir=place))
    ingest_shard(plan, 0)
    with one_writer(place), pytest.raises(TransientError, match="is writing"):
        finish_ingest(plan)
    digest = finish_ingest(plan).digest
    request = PurgeRequest.parse(urls=["a.png"])
    with one_writer(place), pytest.raises(TransientError, match="is writing"):
        purge(place, request)
    assert read_manifest(place, "dataset").digest == digest != purge(place, request).digest


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with one_writer(tmp_path / "a" / "b" / "out"):
        assert (tmp_path / "a" / "b" / ".out.lock").read_text() == str(os.getpid())
    assert list(tmp_path.iterdir()) == []
    with one_writer(tmp_path / "a" / "out"):
        (tmp_path / "a" / "out").mkdir()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["out"]


def test_a_link_to_a_folder_is_the_folder(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    with one_writer(tmp_path / "link"), pytest.raises(TransientError), one_writer(tmp_path / "real"):
        pass


def test_a_lock_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "letters").write_text("mine")
    (tmp_path / ".out.lock").symlink_to(tmp_path / "letters")
    with pytest.raises(DataError, match="is a link"), one_writer(tmp_path / "out"):
        pass
    assert (tmp_path / "letters").read_text() == "mine"


def test_where_there_can_be_no_lock_the_step_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with one_writer(tmp_path / "file" / "out"), one_writer(tmp_path / "file" / "out"):
        pass


HOLD = "import sys, time; from pathlib import Path; from t2i_core.folders.one_writer import one_writer\n"
HOLD += "with one_writer(Path(sys.argv[1])): print('held', flush=True); time.sleep(600)"


def test_the_lock_of_a_killed_process_is_gone(tmp_path: Path) -> None:
    place = tmp_path / "out"
    with subprocess.Popen([sys.executable, "-c", HOLD, str(place)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(TransientError, match=f"number {holder.pid}"), one_writer(place):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    with one_writer(place):
        assert (tmp_path / ".out.lock").read_text() == str(os.getpid())


CONTEND = """
import sys, time
from pathlib import Path
from t2i_core.errors import TransientError
from t2i_core.folders.manifest import read_manifest
from t2i_core.folders.one_writer import one_writer
place, tries = Path(sys.argv[1]), 0
while tries < 50:
    try:
        with one_writer(place / "out"):
            (place / "inside").mkdir()
            (place / "inside").rmdir()
            tries += 1
    except TransientError:
        time.sleep(0.0005)
"""


def test_many_that_come_and_go_are_never_inside_together(tmp_path: Path) -> None:
    """Whoever is inside makes a folder, which would be there already if another were."""
    contenders = [subprocess.Popen([sys.executable, "-c", CONTEND, str(tmp_path)]) for _ in range(4)]
    end = time.monotonic() + 120
    assert [each.wait(max(0.0, end - time.monotonic())) for each in contenders] == [0] * 4
