"""The recovery drill: a worker is ended in the middle of a training, and another finishes it, untouched.

    make drill                     kill -9 of the worker and of its flow
    make drill ARGS="--signal TERM"    the worker is asked to stop, as systemd does

A server, two workers and a training of a minute, all in a throw-away folder. It ends with a line for each thing that
was promised, and with exit code 1 if one was not kept.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from stage import WORKER, account, deploy, stage, started, wait_for

from flows.config import PipelineConfig
from flows.recipe import ingest_source
from flows.steps import CoreSteps
from t2i_core.captioning.config import CaptionRequest

TRAINING_MINUTES = 0.4
# What the second worker may take, from the signal to the finished run.
MAX_SECONDS = 180


def main() -> int:
    """Do the drill, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL", help="how the worker is ended")
    asked = parser.parse_args()
    with stage() as (folder, client):
        run = start_training(client, folder, make_captions(folder))
        return account(end_and_recover(client, folder, run, signal.Signals[f"SIG{asked.signal}"]))


def make_captions(folder: Path) -> Path:
    """Make a small dataset and its captions."""
    config = PipelineConfig.preset("demo-smoke")
    config = config.with_changes(site=config.site.with_changes(num_pictures=100))
    dataset = ingest_source(CoreSteps(), config, folder / "dataset")
    request = CaptionRequest(dataset_dir=dataset.path, config=config.caption, output_dir=folder / "captions")
    return CoreSteps().caption(request).path


def start_training(client: SyncPrefectClient, folder: Path, captions: Path) -> FlowRun:
    """Deploy a training, and ask for a run of it."""
    config = {"preset": "cnn-smoke", "max_minutes": TRAINING_MINUTES, "checkpoint_seconds": 2, "log_every": 5}
    parameters = {"captions_dir": str(captions), "output_dir": str(folder / "run"), "config": config}
    return client.create_flow_run_from_deployment(deploy(client, folder, "flows.train.train", parameters))


def end_and_recover(client: SyncPrefectClient, folder: Path, run: FlowRun, number: signal.Signals) -> dict[str, bool]:
    """End the first worker in the middle of the training, start a second, and say what came of it."""
    checkpoints = folder / "run" / "checkpoints"
    with started(folder, "worker-1", *WORKER) as worker:
        wait_for(lambda: len(list(checkpoints.glob("step_*"))) >= 2, 180, "the training writes no checkpoints")
        below = descendants(worker.pid)
        end(worker.pid, below, number)
        ended_at, before = time.monotonic(), last_step(checkpoints)
        worker.wait(90)
        left = client.read_flow_run(run.id).state
    with started(folder, "worker-2", *WORKER):
        wait_for(lambda: not alive(below), 60, "processes of the first worker live on")
        orphans_gone = time.monotonic() - ended_at
        written = last_step(checkpoints)
        final = wait_for(lambda: completed(client, run.id), 300, "the run is not finished")
    seconds = time.monotonic() - ended_at
    rows = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    # Beside the line of a step there may be one of what validation found there.
    lines = [(row["step"], *sorted(row)) for row in rows]
    print(f"{number.name} at step {before}, last checkpoint {written}, finished at {rows[-1]['step']}: {seconds:.0f} s")
    promises = {
        f"no process of the first worker lives on ({orphans_gone:.0f} s)": orphans_gone < 60,
        f"another worker finished the run within {MAX_SECONDS} s ({seconds:.0f} s)": seconds < MAX_SECONDS,
        f"it is the same run, started again ({final.run_count} starts)": final.run_count == 2,
        "it went on from the checkpoint, and no line was written twice": len(set(lines)) == len(lines),
    }
    if number is signal.SIGTERM:
        promises["the trainer wrote a checkpoint"] = written > before
        promises["the run said what became of it"] = left is not None and not left.is_running()
    return promises


def end(worker: int, below: dict[int, str], number: signal.Signals) -> None:
    """Kill the worker and the flow, whose trainer must end by itself; or ask the worker to stop."""
    flows = [pid for pid, command in below.items() if "t2i_core.training" not in command]
    for pid in [worker, *flows] if number is signal.SIGKILL else [worker]:
        os.kill(pid, number)


def completed(client: SyncPrefectClient, run_id: UUID) -> FlowRun | None:
    """Give the run if it is completed."""
    run = client.read_flow_run(run_id)
    return run if run.state and run.state.is_completed() else None


def last_step(checkpoints: Path) -> int:
    """Give the step of the newest checkpoint."""
    return max(int(path.name.removeprefix("step_")) for path in checkpoints.glob("step_*"))


def descendants(pid: int) -> dict[int, str]:
    """Give the command lines of all processes below one, by their ids."""
    found: dict[int, str] = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            found |= {child: command} | descendants(child)
    return found


def alive(processes: dict[int, str]) -> bool:
    """Tell whether one of them still runs."""
    return any(Path(f"/proc/{pid}/cmdline").exists() and Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes)


if __name__ == "__main__":
    sys.exit(main())
