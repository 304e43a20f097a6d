"""Several processes train one model as one process does, and end together."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest
from t2i_core.training.checkpoint import list_checkpoints
from t2i_core.training.config import TrainConfig, train_key
from t2i_core.training.device import Compute
from t2i_core.training.step import train
from t2i_core.training.supervisor import supervise_training

in_proc = pytest.mark.skipif(sys.platform != "linux", reason="finds processes in /proc")
CPU = Compute(device="cpu", precision="float32")


def config(devices: int, **others: object) -> TrainConfig:
    given = {"preset": "diffusion-smoke", "devices": devices, "set": ["micro_batch_size=3"], "precision": "float32"}
    return TrainConfig.parse(given | {"max_images": 240, "log_every": 1} | others)


def logged(run_dir: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not name.startswith("perf/")} for row in rows]


@pytest.fixture(scope="module")
def two(captions_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes trained."""
    return supervise_training(captions_dir, config(2), tmp_path_factory.mktemp("runs") / "two").path


def test_two_processes_find_what_one_finds(captions_dir: Path, two: Path, tmp_path: Path) -> None:
    one = train(captions_dir, config(1), tmp_path / "one", compute=CPU).path

    rows = [logged(run) for run in (one, two)]
    assert len(rows[0]) == len(rows[1]) >= 15
    assert rows[0][0]["train/loss"] == pytest.approx(rows[1][0]["train/loss"], rel=1e-6)
    for mine, others in zip(*rows, strict=True):
        assert mine.keys() == others.keys()
        assert mine == pytest.approx(others, rel=1e-3)
    weights, other = (load_file(list_checkpoints(run)[-1] / "model.safetensors") for run in (one, two))
    for name, weight in weights.items():
        assert torch.allclose(weight, other[name], atol=1e-3), name


def test_how_many_processes_is_not_part_of_the_key_and_shares_must_be_equal(captions_dir: Path) -> None:
    assert train_key(captions_dir, config(1)) == train_key(captions_dir, config(2))
    with pytest.raises(ConfigError, match=r"a batch of 16 pictures has no 3 equal shares"):
        config(3).resolve()
    with pytest.raises(ConfigError, match="clip system compares the pictures of a batch"):
        config(2, preset="clip-smoke", set=[]).resolve()


SUPERVISED = """
import json, sys
from pathlib import Path
from t2i_core.errors import T2IError
from t2i_core.training.config import TrainConfig
from t2i_core.training.supervisor import supervise_training
try:
    supervise_training(Path(sys.argv[1]), TrainConfig.parse(json.loads(sys.argv[3])), Path(sys.argv[2]))
except T2IError as err:
    sys.exit(f"{type(err).__name__}: {err}")
"""


def trainers(pid: int) -> list[int]:
    """Give the processes that train, in order."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    by_rank = {Path(f"/proc/{child}/cmdline").read_bytes().split(b"--rank\0")[-1]: int(child) for child in children}
    return [by_rank[rank] for rank in sorted(by_rank)]


def alive(pid: int) -> bool:
    try:
        return "zombie" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def listens_at(pid: int) -> set[str]:
    """Give the addresses, as the kernel writes them, at which a process can be reached."""
    sockets = {str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir() if file.is_symlink()}
    rows = [row.split() for name in ("tcp", "tcp6") for row in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and f"socket:[{row[9]}]" in sockets}


def started(captions_dir: Path, run_dir: Path, wanted: TrainConfig) -> "subprocess.Popen[bytes]":
    """Give a supervisor of a training that has begun."""
    command = [sys.executable, "-c", SUPERVISED, str(captions_dir), str(run_dir), wanted.model_dump_json()]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not list_checkpoints(run_dir):
        assert process.poll() is None
        time.sleep(0.01)
    return process


@in_proc
@pytest.mark.parametrize("rank", [0, 1])
def test_the_others_end_with_one_that_is_killed(captions_dir: Path, tmp_path: Path, rank: int) -> None:
    endless = config(2, preset="cnn-smoke", set=[], max_images=1_000_000, checkpoint_seconds=0.01)
    process = started(captions_dir, tmp_path / "run", endless)
    pids = trainers(process.pid)
    assert len(pids) == 2
    assert {address for pid in pids for address in listens_at(pid)} == {"0100007F"}

    os.kill(pids[rank], signal.SIGKILL)

    assert b"TransientError: the trainer was killed by SIGKILL" in process.communicate()[1]
    assert not any(map(alive, pids))


@in_proc
def test_two_processes_go_on_where_they_were_stopped(captions_dir: Path, two: Path, tmp_path: Path) -> None:
    process = started(captions_dir, tmp_path / "run", config(2, checkpoint_seconds=0.01))
    pids = trainers(process.pid)
    os.kill(pids[0], signal.SIGTERM)
    assert b"StoppedError: stopped at step" in process.communicate()[1]
    assert not any(map(alive, pids))

    again = supervise_training(captions_dir, config(2), tmp_path / "run").path

    assert read_manifest(again).digest == read_manifest(two).digest
    assert logged(again) == logged(two)
