"""Ingest as tasks: cut the source into parts, fetch each part into a shard, publish the dataset."""

from pathlib import Path

from prefect.client.schemas.objects import State

from t2i_core.data import ingest as core
from t2i_core.data.channel import CoordinatorAddress
from t2i_core.data.ingest import IngestConfig, IngestPlan
from t2i_core.data.shard import ShardReport
from t2i_core.manifest import OnConflict, StepRef
from tasks.artifacts import markdown_table, publish_markdown
from tasks.runtime import outcome, reporting, step_task


@step_task("plan ingest", "plan {source}")
def plan_ingest(
    source: str, config: IngestConfig, output_dir: Path, source_digest: str | None, on_conflict: OnConflict
) -> IngestPlan:
    """Crawl the pages or read the list, and cut what was found into parts."""
    with reporting("ingest-plan-progress") as on_progress:
        return core.plan_ingest(
            source,
            config,
            output_dir,
            source_digest=source_digest,
            on_conflict=on_conflict,
            on_progress=on_progress,
        )


@step_task("ingest shard", "shard {shard_id}")
def ingest_shard(plan: IngestPlan, shard_id: int, coordinator: CoordinatorAddress | None = None) -> ShardReport:
    """Fetch one part into one shard; a shard that is there is left alone."""
    with reporting("ingest-shard-progress") as on_progress:
        return core.ingest_shard(plan, shard_id, coordinator=coordinator, on_progress=on_progress)


@step_task("finish ingest", "finish")
def finish_ingest(plan: IngestPlan) -> State[StepRef]:
    """Publish the dataset: its manifest comes last."""
    ref = core.finish_ingest(plan)
    publish_markdown("ingest-report", lambda: report(ref), f"What became of each picture of {ref.path}")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Write what was kept and what was rejected, and why."""
    counts = dict(sorted(ref.counts.items(), key=lambda item: -item[1]))
    return f"# Dataset {ref.digest[:12]}\n\n`{ref.path}`\n\n{markdown_table(counts, head=('count', 'pictures'))}"
