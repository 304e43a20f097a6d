"""The first step: web pages, URL lists, a folder of pictures or other shards become a dataset.

Planning reads the source once and cuts it into parts on disk; each part becomes one shard, atomically; the manifest
comes last. So whatever ends a run, the next one goes on where it stopped, within a shard too (`journal.py`), and
deleting a shard makes only that anew.
"""

from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_core.data.account.shortfall import reached_nothing, require_kept
from t2i_core.data.bounded.disk import disk_errors
from t2i_core.data.counts import Counts
from t2i_core.data.dataset.folder import read_planning, remove_leftovers, shard_outputs, write_dataset
from t2i_core.data.dataset.parts import read_note
from t2i_core.data.shards.layout import SHARDS_DIR
from t2i_core.data.shards.stats import ShardReport, finished_shard
from t2i_core.data.shards.versions import read_log
from t2i_core.data.sources.orphans import ORPHANS_NAME
from t2i_core.errors import DataError
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepRef, describe_file
from t2i_core.folders.one_writer import one_writer
from t2i_core.ingestion.config import BESIDE, IngestConfig, IngestRequest, ingest_key
from t2i_core.ingestion.harvest import HarvestJob, harvest
from t2i_core.ingestion.limits import require_few_rejects
from t2i_core.ingestion.plan import plan_ingest, plan_opened
from t2i_core.ingestion.planning import IngestPlan, Planned, job_of, note_of, run_to_end
from t2i_core.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.data.manners.channel import CoordinatorAddress

__all__ = ["IngestConfig", "IngestPlan", "finish_ingest", "ingest", "ingest_key", "ingest_shard", "plan_ingest"]


def ingest_shard(
    plan: IngestPlan,
    shard_id: int,
    *,
    coordinator: "CoordinatorAddress | None" = None,
    on_progress: OnProgress = ignore_progress,
) -> ShardReport:
    """Make one shard, atomically; when it is done already, give its report at once.

    Args:
        plan: of the whole dataset.
        shard_id: its number, from 0.
        coordinator: keeps the manners of all who make shards of this plan, None when nobody else does.
        on_progress: told a few times a second.

    Raises:
        TransientError: the disk is full, or the coordinator is gone.
        DataError: the plan on disk is damaged.
    """
    size = plan.config.samples_per_shard
    num_records = min(size, plan.num_records - (shard_id - plan.first_shard) * size)
    job = replace(_known_job(plan.model_dump_json()), coordinator=coordinator)
    return run_to_end(harvest(job, [shard_id], num_records, on_progress))[0]


@lru_cache(maxsize=1)
def _known_job(plan_json: str) -> HarvestJob:
    """Make the job of a plan once a process, and not once a shard."""
    plan = IngestPlan.model_validate_json(plan_json)
    note = note_of(plan)
    return job_of(Planned.opened_anew(plan), note)


def finish_ingest(plan: IngestPlan) -> StepRef:
    """Check that all shards are there, and write the manifest, which says that each source has its row.

    Of a refresh that found nothing new the dataset stays as it is, and the reference is a hit.

    Raises:
        DataError: a shard is missing, or too few sources were kept. When not one could be reached, the next run asks
            again; when not one was kept for other reasons, or more were rejected for one reason than is allowed, the
            folder is finished, and a retry goes on from it.
        TransientError: another process is writing the folder.
    """
    with one_writer(plan.output_dir):
        ref = plan.hit or (_publish_version(plan) if plan.is_refresh else _publish(plan))
    if not plan.is_refresh:
        # A dataset may lose its last picture, when nobody wants to be in it any more.
        require_kept(ref.counts, plan.source, plan.output_dir)
    require_few_rejects(ref.counts, plan.config.max_reject_share, plan.source, plan.output_dir)
    return ref


def _publish_version(plan: IngestPlan) -> StepRef:
    # Few runs need it, and no run is to wait for what it does not use.
    from t2i_core.ingestion.refreshing.renewal import publish_version

    return publish_version(plan)


def _publish(plan: IngestPlan) -> StepRef:
    shards_dir = plan.output_dir / SHARDS_DIR
    reports = [finished_shard(shards_dir, shard_id) for shard_id in range(plan.num_shards)]
    seen = sum(report.seen for report in reports)
    if seen != plan.num_records:
        raise DataError(
            f"{shards_dir} holds {seen:,} sources, its plan {plan.num_records:,}. Delete it and run ingest again."
        )
    rejected: Counter[str] = Counter()
    for report in reports:
        rejected.update(report.rejected)
    kept = sum(report.kept for report in reports)
    _check_yield(plan, kept, rejected)
    _remove_strays(shards_dir, plan.num_shards)
    note = read_note(plan.output_dir)
    figures = {"seen": seen, "kept": kept, "rejected": rejected.total(), "shards": plan.num_shards}
    counts = Counts(figures | (note.counts if note else {}), rejected).noted()
    with disk_errors(plan.output_dir):
        remove_leftovers(plan.output_dir)
        files = [file for report in reports for file in shard_outputs(plan.output_dir, report)]
        if (orphans := plan.output_dir / ORPHANS_NAME).exists():
            files.append(describe_file(plan.output_dir, orphans))
        beside = {name: getattr(plan.config, name) for name in BESIDE}
        sources = {"source": plan.source} | {name: path for name, path in beside.items() if path}
        return write_dataset(
            plan.output_dir,
            key=plan.key,
            sources=sources,
            counts=counts,
            files=files,
            places=dict.fromkeys(range(plan.num_shards), shards_dir),
            planning=read_planning(plan.output_dir),
            history=read_log(plan.output_dir),
        )


def _check_yield(plan: IngestPlan, kept: int, rejected: Counter[str]) -> None:
    seen = kept + rejected.total()
    reasons = ", ".join(f"{reason} {number:,}" for reason, number in rejected.most_common(3))
    if reached_nothing(kept, rejected):
        raise DataError(
            f"none of the {seen:,} pictures of {plan.source} could be reached ({reasons}). "
            "Check that the host is up and the network works, then run again."
        )
    if kept < plan.config.min_success_rate * seen:
        raise DataError(
            f"only {kept:,} of {seen:,} pictures were kept ({kept / seen:.1%}), less than the min_success_rate of "
            f"{plan.config.min_success_rate:.1%}; most were rejected as {reasons}. Nothing is lost: run again with a "
            "lower rate, or mend the source."
        )


def _remove_strays(shards_dir: Path, num_shards: int) -> None:
    """Remove shards of an earlier, longer plan."""
    for path in shards_dir.glob("*_stats.json"):
        number = path.name.removesuffix("_stats.json")
        if number.isdecimal() and int(number) >= num_shards:
            for ending in (".tar", ".parquet", "_stats.json"):
                path.with_name(number + ending).unlink(missing_ok=True)


def ingest(
    source: str,
    config: IngestConfig,
    output_dir: Path,
    *,
    source_digest: str | None = None,
    on_conflict: OnConflict = "refuse",
    refresh: bool = False,
    on_progress: OnProgress = ignore_progress,
) -> StepRef:
    """Plan, make all shards, and finish: the whole step.

    Args:
        source: as a person named it.
        config: how to fetch, check and store the pictures.
        output_dir: the dataset folder.
        source_digest: stands for the content of a source that is known to be the same under another address.
        on_conflict: what to do with a folder that holds other work.
        refresh: look again at the source of a dataset that is finished, and make a new version of it if need be.
        on_progress: told a few times a second.

    Raises:
        ConfigError: the source or the folder cannot be used.
        TransientError: no page could be reached, or the disk is full.
        DataError: no or too few pictures were kept, or something on disk is damaged.
    """
    request = IngestRequest(
        source=source,
        config=config,
        output_dir=output_dir,
        source_digest=source_digest,
        on_conflict=on_conflict,
        refresh=refresh,
    )
    planned = plan_opened(request, on_progress)
    plan = planned.plan
    if plan.hit is None and plan.num_shards:
        run_to_end(harvest(job_of(planned, note_of(plan)), plan.shard_ids, plan.num_records, on_progress))
    return finish_ingest(plan)
