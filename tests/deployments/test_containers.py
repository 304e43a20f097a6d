"""The containers and the Kubernetes pool fit the checkout, the services and the deployments."""

import asyncio
import json
import re
import shlex
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import typer
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.utilities.templating import find_placeholders
from prefect_kubernetes.worker import KubernetesWorkerJobConfiguration

from flows.cli import app
from flows.operations.pools import POOL, QUEUES

DEPLOYMENTS = Path(__file__).parents[2] / "deployments"
ROOT = DEPLOYMENTS.parent
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "compose.yaml").read_text())
POOL_TEMPLATE: dict[str, Any] = json.loads((DEPLOYMENTS / "kubernetes.json").read_text())
DEFINITIONS: dict[str, Any] = yaml.safe_load((DEPLOYMENTS / "prefect.yaml").read_text())["definitions"]


def instructions(name: str) -> list[list[str]]:
    text = (DEPLOYMENTS / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [shlex.split(line) for line in text.splitlines() if line and not line.startswith("#")]
    return [line[1:] for line in lines if line[0] == name]


def test_the_image_holds_all_packages_and_runs_as_nobody_special() -> None:
    copied = {source for line in instructions("COPY") for source in line[1:-1]}
    assert {"t2i_core", "tasks", "flows", "deployments", "pyproject.toml"} <= copied
    assert all((ROOT / source).exists() for source in copied)
    assert instructions("USER") == [["1000"]]


def test_a_worker_works_for_each_queue_and_has_time_to_stop() -> None:
    commands = [service["command"] for name, service in COMPOSE["services"].items() if name.startswith("worker")]
    assert {command[-1] for command in commands} == QUEUES.keys()
    group = typer.main.get_command(app)
    for _, name, *options in commands:
        sub = group.get_command(group.make_context("t2i", [name]), name)  # type: ignore[attr-defined]
        assert sub.make_context(name, options).params["queue"]
    assert all(COMPOSE["services"][f"worker-{queue}"]["stop_grace_period"] == "90s" for queue in QUEUES)


def test_the_server_keeps_its_state_in_postgresql_and_lets_in_who_has_the_password() -> None:
    server = COMPOSE["services"]["server"]
    database = COMPOSE["services"]["database"]["environment"]
    assert server["environment"]["PREFECT_SERVER_DATABASE_DRIVER"] == "postgresql+asyncpg"
    assert server["environment"]["PREFECT_SERVER_DATABASE_HOST"] == "database"
    for end, told in (("NAME", "DB"), ("USER", "USER")):
        assert server["environment"][f"PREFECT_SERVER_DATABASE_{end}"] == database[f"POSTGRES_{told}"]
    assert "T2I_AUTH" in server["environment"]["PREFECT_SERVER_API_AUTH_STRING"]
    assert [port.split(":")[0] for port in server["ports"]] == ["127.0.0.1"]
    assert server["env_file"] == "server.env" and (DEPLOYMENTS / "server.env").is_file()
    worker = COMPOSE["services"]["worker-heavy"]["environment"]
    assert worker["PREFECT_API_URL"] == "http://server:4200/api" and "T2I_AUTH" in worker["PREFECT_API_AUTH_STRING"]


def test_every_variable_of_the_kubernetes_pool_is_explained_and_used() -> None:
    variables = POOL_TEMPLATE["variables"]["properties"]
    used = {placeholder.name for placeholder in find_placeholders(POOL_TEMPLATE["job_configuration"])}
    assert used == variables.keys()
    assert all(variable["title"] and variable["description"] for variable in variables.values())


def test_the_deployments_fit_the_kubernetes_pool(client: SyncPrefectClient) -> None:
    values = DEFINITIONS["run"]["work_pool"]["job_variables"] | {"gpus": "1"}
    jsonschema.validate(values, POOL_TEMPLATE["variables"])
    run = FlowRun(flow_id=uuid4(), name="a-run")
    # Prefect's own worker refuses a template that lacks what it needs.
    made = asyncio.run(KubernetesWorkerJobConfiguration.from_template_and_values(POOL_TEMPLATE, values))
    made.prepare_for_flow_run(run)

    job = made.job_manifest["spec"]
    (container,) = job["template"]["spec"]["containers"]
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    assert env["DO_NOT_TRACK"] == "1" and env["PREFECT__FLOW_RUN_ID"] == str(run.id)
    assert container["args"] == ["prefect", "flow-run", "execute"] and container["image"] == "t2i"
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    # Prefect starts it again, on the same folder, and knows about it.
    assert job["backoffLimit"] == 0 and job["template"]["spec"]["restartPolicy"] == "Never"
    assert job["template"]["spec"]["terminationGracePeriodSeconds"] >= 60


def test_the_readme_says_how_each_is_used() -> None:
    text = (DEPLOYMENTS / "README.md").read_text()
    for name in ("compose.yaml", "Dockerfile", "kubernetes.json", f"create {POOL} --type kubernetes"):
        assert re.search(re.escape(name), text), name
