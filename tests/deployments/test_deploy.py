"""What `make deploy` does to a server, and what it leaves alone."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.schedules import CronSchedule

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def deploy() -> Any:
    spec = importlib.util.spec_from_file_location("deploy", ROOT / "deployments" / "deploy.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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


def test_what_the_operator_scheduled_stays(deploy: Any, file: Path, client: SyncPrefectClient) -> None:
    deploy.set_pool(client)
    assert deploy.deploy_flows(file) == 0
    deploy.suggest_schedules(client, file)
    assert schedules(client, "ingest/pages") == schedules(client, "ingest/list") == {"15 2 * * *": False}

    pages = client.read_deployment_by_name("ingest/pages")
    client.update_deployment_schedule(pages.id, pages.schedules[0].id, active=True)
    client.create_deployment_schedules(pages.id, [(CronSchedule(cron="5 5 * * *"), True)])
    assert deploy.deploy_flows(file) == 0
    deploy.suggest_schedules(client, file)

    assert schedules(client, "ingest/pages") == {"15 2 * * *": True, "5 5 * * *": True}
    assert schedules(client, "ingest/list") == {"15 2 * * *": False}


def test_prefect_finds_the_deployments_from_the_root(deploy: Any, client: SyncPrefectClient) -> None:
    assert (ROOT / "prefect.yaml").read_text() == (ROOT / "deployments" / "prefect.yaml").read_text()
    deploy.set_pool(client)

    command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--name", "demo-emoji"]
    subprocess.run(command, cwd=ROOT, env={**os.environ, "PWD": str(ROOT)}, check=True, capture_output=True)

    deployment = client.read_deployment_by_name("pipeline/demo-emoji")
    assert deployment.job_variables["working_dir"] == str(ROOT)
    assert deployment.schedules == []
