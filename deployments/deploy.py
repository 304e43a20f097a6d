"""Brings the configured Prefect server in line with this folder: pool, limits, automation, deployments.

Run it as often as you like (`make deploy`): what is there is updated, nothing is made twice.
"""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import httpx
import yaml
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import EventTrigger, Posture
from prefect.events.actions import ChangeFlowRunState
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker

from tasks.train import TRAIN_TAG

CHECKOUT = Path(__file__).resolve().parents[1]
PREFECT_FILE = Path(__file__).with_name("prefect.yaml")
POOL = "t2i"
# One job at a time: a training uses the whole machine.
POOL_CONCURRENCY = 1
# Holds over all pools of a server; the tag is the train task's.
TAG_LIMITS = {TRAIN_TAG: 1}
# Four heartbeats of 30 s (prefect.yaml) without a sign of life.
ZOMBIE_SECONDS = 120
ZOMBIE_AUTOMATION = "t2i: give up runs whose process is gone"


def main() -> int:
    """Do it all, and give the exit code."""
    url = PREFECT_API_URL.value()
    if not url:
        print(
            "no Prefect server is configured. Start one with `prefect server start`, and name it:"
            " export PREFECT_API_URL=http://127.0.0.1:4200/api",
            file=sys.stderr,
        )
        return 2
    with get_client(sync_client=True) as client:
        if error := client.api_healthcheck():
            print(f"no Prefect server answers at {url}: {error}", file=sys.stderr)
            return 1
        if lets_everybody_in(url):
            print(
                f"the Prefect server at {url} lets everybody in, also web pages open in your browser, which could have"
                " its workers run anything. Run `make auth`, start the server again, then this.",
                file=sys.stderr,
            )
            return 2
        set_pool(client)
        for tag, limit in TAG_LIMITS.items():
            client.create_concurrency_limit(tag=tag, concurrency_limit=limit)
        set_automation(client)
        if code := deploy_flows():
            return code
        suggest_schedules(client)
    return 0


def lets_everybody_in(url: str) -> bool:
    """Ask the server something without a password."""
    return httpx.get(f"{url}/admin/version", timeout=30, follow_redirects=True).status_code == 200


def set_pool(client: SyncPrefectClient) -> None:
    """Make the work pool, or set its limit."""
    try:
        client.read_work_pool(POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        pool = WorkPoolCreate(name=POOL, type="process", base_job_template=template, concurrency_limit=POOL_CONCURRENCY)
        client.create_work_pool(pool)
    else:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=POOL_CONCURRENCY))


def zombie_automation() -> AutomationCore:
    """Mark a run as crashed when its heartbeats end without a final state, so that it frees its slot.

    Without it, a run whose machine lost power stays `Running` for ever, and the pool's only slot with it.
    """
    return AutomationCore(
        name=ZOMBIE_AUTOMATION,
        description=f"Crashes runs that sent no heartbeat for {ZOMBIE_SECONDS} s.",
        trigger=EventTrigger(
            posture=Posture.Proactive,
            after={"prefect.flow-run.heartbeat"},
            expect={"prefect.flow-run.*"},
            match={"prefect.resource.id": "prefect.flow-run.*"},
            for_each={"prefect.resource.id"},
            threshold=1,
            within=timedelta(seconds=ZOMBIE_SECONDS),
        ),
        actions=[
            ChangeFlowRunState(
                state=StateType.CRASHED,
                message=f"No heartbeat for {ZOMBIE_SECONDS} s: its process is gone. Run it again; it resumes.",
            )
        ],
    )


def set_automation(client: SyncPrefectClient) -> None:
    """Make the automation, or bring it up to date."""
    automation = zombie_automation()
    known = client.read_automations_by_name(ZOMBIE_AUTOMATION)
    if known:
        client.update_automation(known[0].id, automation)
    else:
        client.create_automation(automation)


def deploy_flows(file: Path = PREFECT_FILE) -> int:
    """Register the deployments of prefect.yaml, and give the exit code."""
    command = [sys.executable, "-P", "-m", "prefect", "--no-prompt", "deploy", "--all"]
    command += ["--prefect-file", str(file)]
    # What a shell would say of the folder, and what prefect.yaml has runs start in.
    return subprocess.run(command, cwd=CHECKOUT, env={**os.environ, "PWD": str(CHECKOUT)}, check=False).returncode


def suggest_schedules(client: SyncPrefectClient, file: Path = PREFECT_FILE) -> None:
    """Give each deployment that has no schedule the one that prefect.yaml suggests, switched off; leave all others."""
    for planned in yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]:
        flow = planned["entrypoint"].rsplit(".", 1)[1]
        deployment = client.read_deployment_by_name(f"{flow}/{planned['name']}")
        if not deployment.schedules:
            suggested = CronSchedule(cron=planned["suggested_cron"], timezone="UTC")
            client.create_deployment_schedules(deployment.id, [(suggested, False)])


if __name__ == "__main__":
    sys.exit(main())
