"""What drills share: a throw-away server and folder, what runs beside them, and the account of what was promised."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.operations.automations import planned_automations, set_automations
from flows.operations.deployments import deploy_flows
from flows.operations.pools import set_pool
from flows.shell.server import free_port
from t2i_core.children import start

CHECKOUT = Path(__file__).resolve().parents[1]
PASSWORD = "t2i:drill"
WORKER = ("-c", "from flows.cli import main; main()", "worker")


@contextmanager
def stage() -> Iterator[tuple[Path, SyncPrefectClient]]:
    """Give a throw-away folder, and a client of a server in it."""
    with tempfile.TemporaryDirectory(prefix="t2i-drill-") as folder, ExitStack() as stack:
        url = stack.enter_context(server(Path(folder)))
        stack.enter_context(temporary_settings({PREFECT_API_URL: url, PREFECT_API_AUTH_STRING: PASSWORD}))
        yield Path(folder), stack.enter_context(get_client(sync_client=True))


@contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a Prefect server with all of its services on a free port."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    os.environ |= {
        "PREFECT_HOME": str(folder / "prefect"),
        "PREFECT_API_URL": url,
        "PREFECT_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_API_AUTH_STRING": PASSWORD,
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    command = ("-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port), "--no-ui")
    with started(folder, "server", *command):
        with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
            wait_for(lambda: client.api_healthcheck() is None, 120, "the server does not answer")
        yield url


@contextmanager
def started(folder: Path, name: str, *arguments: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Run Python beside this process, its words in a log."""
    with (folder / f"{name}.log").open("wb") as log:
        process = start([sys.executable, "-P", *arguments], stdout=log, stderr=log)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(60)


def deploy(client: SyncPrefectClient, folder: Path, entrypoint: str, parameters: Mapping[str, Any]) -> UUID:
    """Deploy a flow under the name "drill" as prefect.yaml deploys those that are heavy, and give the deployment."""
    set_pool(client)
    set_automations(client, planned_automations())
    content = yaml.safe_load((CHECKOUT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    planned = {"name": "drill", "entrypoint": entrypoint, "parameters": dict(parameters)}
    file = folder / "prefect.yaml"
    file.write_text(yaml.safe_dump(content | {"deployments": [content["definitions"]["run"] | planned]}))
    if deploy_flows(file, CHECKOUT):
        raise SystemExit(f"{entrypoint} could not be deployed")
    return client.read_deployment_by_name(f"{entrypoint.rpartition('.')[2]}/drill").id


def wait_for(ask: Callable[[], Any], seconds: float, otherwise: str) -> Any:
    """Ask once a second until the answer is truthy, and give it."""
    end_at = time.monotonic() + seconds
    while time.monotonic() < end_at:
        if answer := ask():
            return answer
        time.sleep(1)
    raise SystemExit(f"{otherwise}, after {seconds:.0f} s")


def account(promises: Mapping[str, bool]) -> int:
    """Print a line for each promise, and give the exit code: 1 if one was not kept."""
    for promise, kept in promises.items():
        print(f"{'kept  ' if kept else 'BROKEN'} {promise}")
    return 0 if all(promises.values()) else 1
