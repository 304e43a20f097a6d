"""What `make deploy` does to a server, and what it leaves alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.schedules import CronSchedule

from flows.operations.automations import planned_automations, set_automations
from flows.operations.deployments import deploy_flows, suggest_schedules
from flows.operations.pools import POOL, QUEUES, set_pool

ROOT = Path(__file__).parents[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """The first two deployments of the real file."""
    content = yaml.safe_load((ROOT / "deployments" / "prefect.yaml").read_text())
    path = tmp_path / "prefect.yaml"
    path.write_text(yaml.safe_dump(content | {"deployments": content["deployments"][:2]}))
    return path


def schedules(client: SyncPrefectClient, name: str) -> dict[str, bool]:
    found = client.read_deployment_by_name(name).schedules
    return {schedule.schedule.cron: schedule.active for schedule in found}  # type: ignore[union-attr]


def test_what_the_operator_scheduled_stays(file: Path, client: SyncPrefectClient) -> None:
    set_pool(client)
    assert deploy_flows(file, ROOT) == 0
    suggest_schedules(client, file)
    assert schedules(client, "ingest/pages") == schedules(client, "ingest/list") == {"15 2 * * *": False}

    pages = client.read_deployment_by_name("ingest/pages")
    client.update_deployment_schedule(pages.id, pages.schedules[0].id, active=True)
    client.create_deployment_schedules(pages.id, [(CronSchedule(cron="5 5 * * *"), True)])
    assert deploy_flows(file, ROOT) == 0
    suggest_schedules(client, file)

    assert schedules(client, "ingest/pages") == {"15 2 * * *": True, "5 5 * * *": True}
    assert schedules(client, "ingest/list") == {"15 2 * * *": False}


def test_limits_of_the_operator_stay(client: SyncPrefectClient) -> None:
    set_pool(client)
    limits = {queue: client.read_work_queue_by_name(queue, POOL) for queue in QUEUES}
    assert {name: queue.concurrency_limit for name, queue in limits.items()} == QUEUES
    client.request("PATCH", "/work_queues/{id}", path_params={"id": limits["heavy"].id}, json={"concurrency_limit": 2})

    set_pool(client)

    assert client.read_work_queue_by_name("heavy", POOL).concurrency_limit == 2


def test_automations_are_made_once_and_one_that_is_off_stays_off(client: SyncPrefectClient) -> None:
    planned = planned_automations()
    old = planned[0].model_copy(update={"name": "t2i: of an earlier version"})
    foreign = planned[0].model_copy(update={"name": "of somebody else"})
    set_automations(client, [*planned, old])
    client.create_automation(foreign)
    client.pause_automation(client.read_automations_by_name(planned[0].name)[0].id)

    set_automations(client, planned)

    found = {automation.name: automation.enabled for automation in client.read_automations()}
    assert found == {automation.name: automation is not planned[0] for automation in planned} | {foreign.name: True}


def test_prefect_finds_the_deployments_from_the_root(client: SyncPrefectClient) -> None:
    assert (ROOT / "prefect.yaml").read_text() == (ROOT / "deployments" / "prefect.yaml").read_text()
    set_pool(client)

    command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--name", "demo-emoji"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PWD": str(ROOT)}, check=True, capture_output=True)

    deployment = client.read_deployment_by_name("pipeline/demo-emoji")
    assert deployment.job_variables["working_dir"] == str(ROOT)
    assert deployment.schedules == []
