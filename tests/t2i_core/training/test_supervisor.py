"""The trainer is ended with its supervisor, and its end is told truly."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextvars import copy_context
from pathlib import Path

import pytest

from t2i_core.door import open_to_append
from t2i_core.errors import ConfigError, StoppedError, T2IError, TrainingError, TransientError
from t2i_core.progress import Progress
from t2i_core.training.supervisor import ProgressWatch, failure, last_message, side_by_side, supervise

# A stand-in for the trainer: real processes, a real progress file, a real checkpoint on SIGTERM.
TRAINER = """
import json, os, shutil, signal, subprocess, sys, time
from pathlib import Path
run_dir, mode = Path(sys.argv[1]), sys.argv[2]
from t2i_core.lifeline import die_with_parent
die_with_parent(grace_seconds=1.0)
def stop(*_):
    if mode != "stubborn":
        (run_dir / "checkpoint").write_text("safe")
        print("stopped at step 7; the same command resumes", file=sys.stderr, flush=True)
        sys.exit(75)
signal.signal(signal.SIGTERM, stop)
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
print("noise before the message")
progress = dict(step="train cnn", done=3, total=10, unit="images", fields={"loss": 0.5})
part = run_dir / f"progress.json.{os.getpid()}"
part.write_text(json.dumps(progress))
part.replace(run_dir / "progress.json")
with (run_dir / "pids").open("a") as pids:
    pids.write(f"{os.getpid()} {worker.pid} ")
if mode in ("wait", "stubborn"):
    (run_dir / "ready").touch()
    time.sleep(300)
if mode == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
if mode == "gone":
    worker.kill()
    shutil.rmtree(run_dir)
print(f"the message of {mode}", file=sys.stderr, flush=True)
sys.exit({"good": 0, "config": 2, "stopped": 75, "bad": 1, "gone": 1, "left": 3}[mode])
"""
SUPERVISOR = """
import sys
from pathlib import Path
from t2i_core.training.supervisor import supervise
supervise([[sys.executable, *sys.argv[2:]]], Path(sys.argv[1]))
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    pytest.fail(f"waited in vain until {what}")


def pids(run_dir: Path) -> list[int]:
    return [int(pid) for pid in (run_dir / "pids").read_text().split()]


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    path = tmp_path / "trainer.py"
    path.write_text(TRAINER)
    return path


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    path = tmp_path / "run"
    path.mkdir()
    return path


def command(trainer: Path, run_dir: Path, mode: str) -> list[str]:
    return [sys.executable, str(trainer), str(run_dir), mode]


def test_a_good_trainer_reports_progress_and_leaves_no_worker_behind(trainer: Path, run_dir: Path) -> None:
    seen: list[Progress] = []
    supervise([command(trainer, run_dir, "good")], run_dir, on_progress=seen.append)
    (run_dir / "progress.json").unlink()
    ProgressWatch(run_dir / "progress.json", seen.append, last=b"the file before").look()
    assert seen == [Progress(step="train cnn", done=3, total=10, unit="images", fields={"loss": 0.5})]
    assert "noise before the message" in (run_dir / "train.log").read_text()
    wait_until(lambda: not any(map(alive, pids(run_dir))), "the data worker is gone")


@pytest.mark.parametrize(
    ("mode", "error"),
    [("config", ConfigError), ("stopped", StoppedError), ("bad", TrainingError), ("kill", TransientError)],
)
def test_each_end_has_its_error(trainer: Path, run_dir: Path, mode: str, error: type[T2IError]) -> None:
    with pytest.raises(error) as caught:
        supervise([command(trainer, run_dir, mode)], run_dir)
    expected = "SIGKILL" if mode == "kill" else f"the message of {mode}"
    assert expected in str(caught.value)
    wait_until(lambda: not any(map(alive, pids(run_dir))), "the data worker is gone")


def test_the_cause_is_told_though_its_log_was_deleted(trainer: Path, run_dir: Path) -> None:
    with pytest.raises(TrainingError, match="the message of gone"):
        supervise([command(trainer, run_dir, "gone")], run_dir)


@pytest.mark.parametrize(("modes", "told"), [(["left", "config"], "config"), (["wait", "bad"], "bad")])
def test_of_several_trainers_the_one_that_failed_is_asked_and_all_end(
    trainer: Path, run_dir: Path, modes: list[str], told: str
) -> None:
    with pytest.raises(T2IError, match=f"the message of {told}"):
        supervise([command(trainer, run_dir, mode) for mode in modes], run_dir)
    wait_until(lambda: not any(map(alive, pids(run_dir))), "both are gone")


def test_a_crash_in_native_code_is_not_retried() -> None:
    error = failure(-signal.SIGSEGV, "", Path("run/train.log"))
    assert isinstance(error, TrainingError)
    assert "SIGSEGV" in str(error)
    assert "run/train.log" in str(error)


def test_the_message_is_the_last_line_of_this_attempt(tmp_path: Path) -> None:
    (tmp_path / "train.log").write_bytes(b"old attempt\n")
    with open_to_append(tmp_path / "train.log") as log:
        start = log.seek(0, os.SEEK_END)
        assert last_message(log, start) == ""
        log.write(b"noise\nthe cause\n\n")
        assert last_message(log, start) == "the cause"


@pytest.mark.parametrize("mode", ["wait", "stubborn"])
def test_nothing_survives_a_killed_supervisor(trainer: Path, run_dir: Path, mode: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, str(run_dir), *command(trainer, run_dir, mode)[1:]],
        stdout=subprocess.PIPE,
    )
    wait_until((run_dir / "ready").exists, "the trainer is ready")
    process.kill()
    # Would block for as long as a survivor held an inherited pipe.
    process.communicate(timeout=30)
    trainer_pid, worker_pid = pids(run_dir)
    wait_until(lambda: not alive(trainer_pid), "the trainer is gone")
    assert (run_dir / "checkpoint").exists() == (mode == "wait")
    if mode == "stubborn":
        wait_until(lambda: not alive(worker_pid), "the data worker is gone")
    else:
        os.kill(worker_pid, signal.SIGKILL)


def test_an_interrupt_stops_the_trainer_after_its_checkpoint(trainer: Path, run_dir: Path) -> None:
    def interrupt() -> None:
        wait_until((run_dir / "ready").exists, "the trainer is ready")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        supervise([command(trainer, run_dir, "wait")], run_dir)
    thread.join()
    assert (run_dir / "checkpoint").exists()
    wait_until(lambda: not any(map(alive, pids(run_dir))), "the whole group is gone")


def test_a_trainer_that_ignores_the_signal_is_killed(trainer: Path, run_dir: Path) -> None:
    def interrupt() -> None:
        wait_until((run_dir / "ready").exists, "the trainer is ready")
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        supervise([command(trainer, run_dir, "stubborn")], run_dir, grace_seconds=0.5)
    thread.join()
    wait_until(lambda: not any(map(alive, pids(run_dir))), "the whole group is gone")


def test_a_stop_from_outside_is_resumable(trainer: Path, run_dir: Path) -> None:
    def stop() -> None:
        wait_until((run_dir / "ready").exists, "the trainer is ready")
        os.kill(pids(run_dir)[0], signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    with pytest.raises(StoppedError, match="step 7"):
        supervise([command(trainer, run_dir, "wait")], run_dir)
    thread.join()


def test_trainings_side_by_side_stop_together_after_their_checkpoints(trainer: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    ends: list[StoppedError] = []

    def train(folder: Path) -> None:
        folder.mkdir()
        try:
            supervise([command(trainer, folder, "wait")], folder)
        except StoppedError as err:
            ends.append(err)

    with pytest.raises(KeyboardInterrupt), side_by_side(2):
        threads = [threading.Thread(target=copy_context().run, args=(train, folder)) for folder in folders]
        for thread in threads:
            thread.start()
        for folder in folders:
            wait_until((folder / "ready").exists, "both trainers are ready")
        raise KeyboardInterrupt
    for thread in threads:
        thread.join()

    assert len(ends) == 2 and all("with those beside it" in str(err) for err in ends)
    for folder in folders:
        assert (folder / "checkpoint").exists()
        wait_until(lambda folder=folder: not any(map(alive, pids(folder))), "the whole group is gone")


def test_a_supervisor_in_a_thread_may_end_its_thread(trainer: Path, run_dir: Path) -> None:
    thread = threading.Thread(target=supervise, args=([command(trainer, run_dir, "good")], run_dir))
    thread.start()
    thread.join()
    assert "the message of good" in (run_dir / "train.log").read_text()
