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
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import FlowRun
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.config import PipelineConfig
from flows.operations.automations import planned_automations, set_automations
from flows.operations.deployments import deploy_flows
from flows.operations.pools import set_pool
from flows.recipe import ingest_source
from flows.server import free_port
from flows.steps import CoreSteps
from t2i_core.captioning.config import CaptionRequest
from t2i_core.children import start

CHECKOUT = Path(__file__).resolve().parents[1]
TRAINING_MINUTES = 0.4
# What the second worker may take, from the signal to the finished run.
MAX_SECONDS = 180
PASSWORD = "t2i:drill"
WORKER = ("-c", "from flows.cli import main; main()", "worker")


def main() -> int:
    """Do the drill, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signal", choices=("KILL", "TERM"), default="KILL", help="how the worker is ended")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="t2i-drill-") as folder, ExitStack() as stack:
        stage = Path(folder)
        captions = make_captions(stage)
        url = stack.enter_context(server(stage))
        stack.enter_context(temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: PASSWORD}))
        client = stack.enter_context(get_client(sync_client=True))
        run = start_training(client, stage, captions)
        promises = end_and_recover(client, stage, run, signal.Signals[f"SIG{asked.signal}"])
    for promise, kept in promises.items():
        print(f"{'kept  ' if kept else 'BROKEN'} {promise}")
    return 0 if all(promises.values()) else 1


def make_captions(stage: Path) -> Path:
    """Make a small dataset and its captions."""
    config = PipelineConfig.preset("demo-smoke")
    config = config.with_changes(site=config.site.with_changes(num_pictures=100))
    dataset = ingest_source(CoreSteps(), config, stage / "dataset")
    request = CaptionRequest(dataset_dir=dataset.path, config=config.caption, output_dir=stage / "captions")
    return CoreSteps().caption(request).path


@contextmanager
def server(stage: Path) -> Iterator[str]:
    """Run a Prefect server with all of its services on a free port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    os.environ |= {
        "PREFECT_HOME": str(stage / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    with started(stage, "server", *command):
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            wait_for(lambda: client.api_healthcheck() is None, 120, "the server does not answer")
        yield url


@contextmanager
def started(stage: Path, name: str, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run Python beside this process, its words in a log."""
    with (stage / f"{name}.log").open("wb") as log:
        process = start([sys.executable, "-P", *arguments], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def start_training(client: SyncPrefectClient, stage: Path, captions: Path) -> FlowRun:
    """Deploy a training as prefect.yaml does, and ask for a run of it."""
    set_pool(client)
    set_automations(client, planned_automations())
    content = yaml.safe_load((CHECKOUT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    config = {"preset": "cnn-smoke", "max_minutes": TRAINING_MINUTES, "checkpoint_seconds": 2, "log_every": 5}
    parameters = {"captions_dir": str(captions), "output_dir": str(stage / "run"), "config": config}
    deployment = content["definitions"]["run"] | {"name": "drill", "entrypoint": "flows.train.train"}
    file = stage / "prefect.yaml"
    file.write_text(yaml.safe_dump(content | {"deployments": [deployment | {"parameters": parameters}]}))
    if deploy_flows(file, CHECKOUT):
        raise SystemExit("the training could not be deployed")
    return client.create_flow_run_from_deployment(client.read_deployment_by_name("train/drill").id)


def end_and_recover(client: SyncPrefectClient, stage: Path, run: FlowRun, number: signal.Signals) -> dict[str, bool]:
    """End the first worker in the middle of the training, start a second, and say what came of it."""
    checkpoints = stage / "run" / "checkpoints"
    with started(stage, "worker-1", *WORKER) as worker:
        wait_for(lambda: len(list(checkpoints.glob("step_*"))) >= 2, 180, "the training writes no checkpoints")
        below = descendants(worker.pid)
        end(worker.pid, below, number)
        ended_at, before = time.monotonic(), last_step(checkpoints)
        worker.wait(90)
        left = client.read_flow_run(run.id).state
    with started(stage, "worker-2", *WORKER):
        wait_for(lambda: not alive(below), 60, "processes of the first worker live on")
        orphans_gone = time.monotonic() - ended_at
        written = last_step(checkpoints)
        final = wait_for(lambda: completed(client, run.id), 300, "the run is not finished")
    seconds = time.monotonic() - ended_at
    rows = [json.loads(line) for line in (stage / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
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


def wait_for(ask: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    """Ask once a second until the answer is truthy, and give it."""
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        if answer := ask():
            return answer
        time.sleep(1)
    raise SystemExit(f"{otherwise}, after {seconds:.0f} s")


if __name__ == "__main__":
    sys.exit(main())
