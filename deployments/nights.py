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
from stage import WORKER, account, deploy, stage, started, wait_for
from yarl import URL

from flows.config import PipelineConfig
from flows.nights.config import NightlyConfig
from flows.server import free_port
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.history import read_opt_outs
from t2i_core.data.dataset.tombstone import url_sha256
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.data.shards.reader import stored_rows
from t2i_core.data.shards.versions import held_versions, read_log
from t2i_core.folders.manifest import read_manifest
from t2i_core.nights.record import NIGHTS_DIR, RECORD_NAME, Night, read_nights
from t2i_core.promotion.registry import promotions
from t2i_core.samples.nights import HOST, SECOND_HOST
from t2i_core.samples.site import SiteConfig, serve_site
from t2i_core.samples.truth import closed, denied, due, news, requests_in, sent_in

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
            **asked_the_truth(folder, site, job.ingest.retries),
            **forgot_who_opted_out(folder, site),
            **followed_the_interval(client, folder),
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


def night_of(folder: Path, site: SiteConfig, number: int) -> SiteConfig:
    """Give the site of a night, with a log of its own."""
    return site.with_changes(night=number, request_log=str(folder / f"requests-{number}.txt"))


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


def asked_the_truth(folder: Path, site: SiteConfig, retries: int) -> dict[str, bool]:
    """Say whether each night asked for what there was, was sent what was new, and asked for nothing denied."""
    kept: dict[str, bool] = {}
    for number in range(NIGHTS):
        there = night_of(folder, site, number)
        log = Path(there.request_log)
        asked, sent = requests_in(log), sent_in(log, there)
        kept |= {
            f"night {number + 1}: {asked.total():,} requests for {len(asked):,} rules, pages and pictures are "
            "those of the truth": asked == due(there, retries, holds_earlier=True),
            f"night {number + 1}: {len(sent):,} pictures were sent, those that are new": sent == news(there),
            f"night {number + 1}: none of {len(denied(there)):,} denied pictures was asked for": not (
                asked.keys() & denied(there)
            ),
        }
    return kept


def forgot_who_opted_out(folder: Path, site: SiteConfig) -> dict[str, bool]:
    """Say whether the pictures of the host that closed its doors are gone from all versions, and whether that is said.

    What it had taken away before that is among them: as long as a version has a picture, its host is heard.
    """
    dataset, gone = folder / "work" / "dataset", closed(night_of(folder, site, NIGHTS - 1))
    report, last = (dataset / "report.html").read_text(encoding="utf-8"), read_log(dataset)[-1]
    held = {number: pictures_of(SECOND_HOST, place) for number, place in held_versions(dataset).items()}
    named = read_opt_outs(dataset)
    urls = {url_sha256(f"http://{address.replace('/', f':{site.port}/', 1)}") for address in gone}
    return {
        f"none of the {len(gone):,} pictures that the host which opted out ever showed is in any of {len(held)} "
        "versions": not any(held.values()),
        f"all {len(gone):,} are named one by one": {each.url_sha256 for each in named} == urls,
        f"the report names the host, and says: {last.story}": last.removed.keys() == {"robots"}
        and last.removed["robots"] + last.erased == len(named)
        and all(words in report for words in (SECOND_HOST, last.story)),
    }


def pictures_of(host: str, dataset: Path) -> frozenset[str]:
    """Give the pictures of a host that a dataset holds, by host and path."""
    shards = files_by_shard(read_manifest(dataset, "dataset"))
    rows = (row for shard in shards for row, members in stored_rows(dataset / SHARDS_DIR, shard) if members)
    urls = (URL(row["url"]) for row in rows)
    return frozenset(f"{host}{url.path}" for url in urls if url.host == host)


def followed_the_interval(client: SyncPrefectClient, folder: Path) -> dict[str, bool]:
    """Say whether the champion changed exactly in those nights whose interval lies above their margin."""
    first, *later = read_nights(folder / "work")
    better = []
    for night in later:
        rule = NightlyConfig.model_validate(run_of(client, night).parameters["config"])
        seen = night.evidence
        passed = seen is not None and seen.prompts >= rule.min_prompts and seen.difference.low > rule.margin
        print(f"night {night.name}, margin {rule.margin:g}: {night.outcome}: {night.why}")
        better += [night] * passed
    due_champions = [night.challenger for night in (first, *better)]
    champions = [change.champion for change in promotions(folder / "work")]
    return {
        f"the champion changed {len(champions) - 1} times, exactly when the interval said so": first.outcome == "first"
        and champions == due_champions,
    }


if __name__ == "__main__":
    sys.exit(main())
