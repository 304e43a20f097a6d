"""Brings the deployments of a server in line with a prefect.yaml, and leaves alone what the operator set."""

import os
import subprocess
import sys
from pathlib import Path

import yaml
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule


def deploy_flows(file: Path, checkout: Path) -> int:
    """Register the deployments of a file, and give the exit code.

    Args:
        file: a prefect.yaml.
        checkout: the folder in which runs start.
    """
    command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(file)]
    # What a shell would say of the folder, and what prefect.yaml has runs start in.
    return subprocess.run(command, cwd=checkout, env={**os.environ, "PWD": str(checkout)}, check=False).returncode


def suggest_schedules(client: SyncPrefectClient, file: Path) -> None:
    """Give each deployment that has no schedule the one that the file suggests, switched off; leave all others."""
    for planned in yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]:
        flow = planned["entrypoint"].rsplit(".", 1)[1]
        deployment = client.read_deployment_by_name(f"{flow}/{planned['name']}")
        if not deployment.schedules:
            cron = CronSchedule(cron=planned["suggested_cron"], timezone="UTC")
            client.create_deployment_schedules(deployment.id, [DeploymentScheduleCreate(schedule=cron, active=False)])
