"""The drill of three nights: a site that changes is learned from by a schedule, and each night is held to the truth.

    make nights                        a night every 90 seconds
    make nights ARGS="--every 300"     on a machine that is slow or busy

The built-in site, a server, a worker and a deployment of `nightly` with a schedule, all in a throw-away folder. Nobody
starts a run. In the second night pictures come, change and go; in the third a host opts out and a page moves; after
that nothing changes. It ends with a line for each thing that was promised, and with exit code 1 if one was not kept.
"""

import argparse
import sys
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, DeploymentUpdate
from prefect.client.schemas.objects import FlowRun
from prefect.client.schemas.schedules import IntervalSchedule
from promises import asked_the_truth, followed_the_interval, forgot_who_opted_out, night_of
from stage import WORKER, account, deploy, stage, started, wait_for

from flows.config import PipelineConfig
from flows.nights.config import NightlyConfig
from flows.shell.server import free_port
from t2i_core.nights.record import NIGHTS_DIR, RECORD_NAME, Night, read_nights
from t2i_core.samples.nights import HOST
from t2i_core.samples.site import SiteConfig, serve_site

NIGHTS = 3
# What the interval has to lie above: until the second night, and in the third, where anybody passes.
MARGINS = (0.0, -1.0)
MAX_SECONDS = 900


def main() -> int:
    """Do the drill, and give the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=90, help="seconds from one scheduled night to the next")
    asked = parser.parse_args()
    with stage() as (folder, client):
        smoke = PipelineConfig.preset("demo-smoke")
        site = smoke.site.with_changes(port=free_port(), slow_seconds=0.0)
        job = smoke.with_changes(source=f"http://{HOST}:{site.port}/")
        (folder / "job.json").write_text(job.model_dump_json())
        with started(folder, "worker", *WORKER):
            spend_nights(client, folder, site, asked.every)
        promises = {
            **as_scheduled(client, folder),
            **asked_the_truth(folder, site, NIGHTS, job.ingest.retries),
            **forgot_who_opted_out(folder / "work" / "dataset", night_of(folder, site, NIGHTS - 1)),
            **followed_the_interval(folder / "work", rules_of(client, folder / "work")),
        }
    return account(promises)


def spend_nights(client: SyncPrefectClient, folder: Path, site: SiteConfig, every: int) -> None:
    """Serve the site of each night until a run has looked at it, and that of the day after until one found nothing.

    A night is written down as soon as the source was looked at, while its training still keeps other runs waiting: the
    next run, on time or late, finds the next night's site.
    """
    deployment = deploy(client, folder, "flows.nights.flow.nightly", parameters_of(folder, MARGINS[0]))
    for number in range(NIGHTS + 1):
        with serve_site(night_of(folder, site, number)):
            if number == 0:
                schedule(client, deployment, every)
            wait_for(partial(came, folder / "work", number), MAX_SECONDS, f"night {number + 1} does not come")
        if number == 1:
            client.update_deployment(deployment, DeploymentUpdate(parameters=parameters_of(folder, MARGINS[1])))


def parameters_of(folder: Path, margin: float) -> dict[str, Any]:
    """Give what the deployment's runs do."""
    config = NightlyConfig(margin=margin).model_dump(mode="json")
    return {"output_dir": str(folder / "work"), "request": {"config_file": str(folder / "job.json")}, "config": config}


def schedule(client: SyncPrefectClient, deployment: UUID, every: int) -> None:
    """Let a night begin soon, and then again and again."""
    soon = datetime.now(UTC) + timedelta(seconds=20)
    interval = IntervalSchedule(interval=timedelta(seconds=every), anchor_date=soon)
    client.create_deployment_schedules(deployment, [DeploymentScheduleCreate(schedule=interval, active=True)])


def came(workspace: Path, number: int) -> bool:
    """Say whether a run has looked at a night's site; of the one in which nothing changed, whether it said so."""
    if number == NIGHTS:
        last = read_nights(workspace)[-1]
        return bool(last.quiet)
    return len(list((workspace / NIGHTS_DIR).glob(f"*/{RECORD_NAME}"))) > number


def as_scheduled(client: SyncPrefectClient, folder: Path) -> dict[str, bool]:
    """Say whether each night was a run of its own that the schedule began."""
    nights = read_nights(folder / "work")
    runs = [run_of(client, night) for night in nights]
    print(f"{len(nights)} nights, {nights[-1].quiet} runs that found nothing new")
    return {
        f"{NIGHTS} nights came, each by its schedule, and no run that found nothing new made one": len(nights) == NIGHTS
        and len({run.id for run in runs}) == NIGHTS
        and all(run.auto_scheduled and run.run_count == 1 for run in runs),
    }


def run_of(client: SyncPrefectClient, night: Night) -> FlowRun:
    """Give the flow run that did a night."""
    return client.read_flow_run(UUID(night.asked_by))


def rules_of(client: SyncPrefectClient, workspace: Path) -> list[NightlyConfig]:
    """Give by what rule each night after the first decided."""
    runs = [run_of(client, night) for night in read_nights(workspace)[1:]]
    return [NightlyConfig.model_validate(run.parameters["config"]) for run in runs]


if __name__ == "__main__":
    sys.exit(main())
