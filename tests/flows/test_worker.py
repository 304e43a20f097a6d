"""A worker that is asked to stop asks its flows first, and waits for them."""

import signal
import subprocess
import sys
import time
from pathlib import Path

from flows.operations.worker import _stop, children

# Like a Prefect worker: starts a flow in a group of its own, and ends at a SIGTERM without asking it anything.
WORKER = """
import subprocess, sys
flow = subprocess.Popen([sys.executable, "-c", sys.argv[1], *sys.argv[2:]], start_new_session=True)
flow.wait()
import time; time.sleep(600)
"""
# Like a flow: says when it is asked to stop, after a while, for it has a trainer.
FLOW = """
import pathlib, signal, sys, time
def stop(number, frame):
    time.sleep(0.5)
    pathlib.Path(sys.argv[1]).write_text("the trainer wrote a checkpoint")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[2]).touch()
time.sleep(600)
"""


def wait_for(path: Path) -> None:
    for _ in range(600):
        if path.exists():
            return
        time.sleep(0.1)
    raise AssertionError(f"no {path}")


def test_the_flow_ends_well_and_then_the_worker(tmp_path: Path) -> None:
    said, ready = tmp_path / "said", tmp_path / "ready"
    worker = subprocess.Popen([sys.executable, "-c", WORKER, FLOW, str(said), str(ready)])
    wait_for(ready)
    (flow,) = children(worker.pid)

    _stop(worker)

    assert said.read_text() == "the trainer wrote a checkpoint"
    assert worker.returncode == -signal.SIGTERM
    assert not Path(f"/proc/{flow}").exists()


def test_a_worker_that_has_ended_is_left_alone() -> None:
    worker = subprocess.Popen([sys.executable, "-c", ""])
    worker.wait()
    _stop(worker)
    assert worker.returncode == 0 and children(worker.pid) == []
