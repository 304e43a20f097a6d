"""A Prefect worker that, asked to stop, first lets its runs end well.

Prefect's own worker kills them at once: the trainer still writes its checkpoint, but the run stays `Running`, and keeps
its slot, until its heartbeats are missed. Here the flows are asked to stop while the worker still listens. Each gives
its trainer time for a checkpoint, and reports that it crashed, which is what starts it again: on another worker, or on
this one when it is back.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from flows.operations.pools import POOL
from t2i_core.children import start

# A trainer has 20 s for its checkpoint, and the flow reports after that.
GRACE_SECONDS = 40.0
WORKER_SECONDS = 15.0
POLL_SECONDS = 0.3
# The worker speaks where this process does.
STDOUT, STDERR = 1, 2
PROGRAM = """
from t2i_core.lifeline import die_with_parent
die_with_parent()
from prefect.__main__ import app
app()
"""


def run_worker(queues: Sequence[str] = (), variables: Mapping[str, str] | None = None) -> int:
    """Work until asked to stop, and give the exit code.

    Args:
        queues: of the pool that it works for; none for all of them.
        variables: for the environment of its runs.
    """
    command = [sys.executable, "-P", "-c", PROGRAM, "worker", "start", "--pool", POOL]
    command += [option for queue in queues for option in ("--work-queue", queue)]
    worker = start(command, stdout=STDOUT, stderr=STDERR, extra=variables)
    try:
        return worker.wait()
    except KeyboardInterrupt:
        # What `t2i` makes of a SIGTERM, too. A second one changes nothing: all is given its time, and no more.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        return 0
    finally:
        _stop(worker)


def _stop(worker: "subprocess.Popen[bytes]") -> None:
    """End the runs of a worker, then the worker."""
    if worker.poll() is not None:
        return
    for flow in children(worker.pid):
        with suppress(ProcessLookupError, PermissionError):
            _ask(flow)
    _wait(lambda: not children(worker.pid), GRACE_SECONDS)
    worker.terminate()
    try:
        worker.wait(WORKER_SECONDS)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def _ask(flow: int) -> None:
    """Ask a flow to stop: its whole group if it has one, for what a worker starts there is only the flow's supervisor.

    Trainers have groups of their own, and are stopped by their flow.
    """
    if os.getpgid(flow) == flow:
        os.killpg(flow, signal.SIGTERM)
    else:
        os.kill(flow, signal.SIGTERM)


def children(pid: int) -> list[int]:
    """List the processes that one has started and that have not ended; none of one that is gone."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return [child for child in found if _runs(child)]


def _runs(pid: int) -> bool:
    """Tell whether a process is there and is no zombie, which has no command line any more."""
    try:
        return bool(Path(f"/proc/{pid}/cmdline").read_bytes())
    except OSError:
        return False


def _wait(until: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not until() and time.monotonic() < end:
        time.sleep(POLL_SECONDS)
