"""Ingest as tasks: cut the source into parts, fetch each part into a shard, publish the dataset."""

import json

from prefect.client.schemas.objects import State

from t2i_core.data.account.ledger import HOSTS_NAME
from t2i_core.data.account.shortfall import shortfalls
from t2i_core.data.account.survey import CROISSANT_NAME, REPORT_NAME
from t2i_core.data.counts import Counts
from t2i_core.data.manners.channel import CoordinatorAddress
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.stats import ShardReport
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion import step as core
from t2i_core.ingestion.config import IngestRequest
from t2i_core.ingestion.step import IngestPlan
from tasks.artifacts import markdown_rows, markdown_table, publish_markdown
from tasks.pages import page_link
from tasks.runtime import outcome, reporting, step_task

MAX_HOSTS = 10


@step_task("plan ingest", "plan {request.source}")
def plan_ingest(request: IngestRequest) -> IngestPlan:
    """Crawl the pages or read the list, and cut what was found into parts."""
    with reporting("ingest-plan-progress") as on_progress:
        return core.plan_ingest(request, on_progress=on_progress)


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
    """Write what was kept, what was rejected and why, and where the whole account is."""
    counts = Counts.read(ref.counts)
    reasons = [(name, RejectReason(name).meaning, number) for name, number in counts.ranked().items()]
    hosts = json.loads((ref.path / HOSTS_NAME).read_bytes())["hosts"]
    figures = ("sources", "kept", "requests", "bytes")
    rows = [(host["host"] or "(none)", *(host[name] for name in figures)) for host in hosts[:MAX_HOSTS]]
    return "\n\n".join(
        [
            f"# Dataset {ref.digest[:12]}",
            f"`{ref.path}`",
            *(f"{'**Not all of it.** ' if missing.is_grave else ''}{missing}" for missing in shortfalls(ref.counts)),
            markdown_table(counts.figures, head=("count", "")),
            "## Left out",
            markdown_rows(reasons, head=("reason", "meaning", "sources")) if reasons else "Nothing.",
            "## Hosts",
            markdown_rows(rows, head=("host", *figures)),
            f"{max(0, len(hosts) - MAX_HOSTS):,} more in `{ref.path / HOSTS_NAME}`.",
            f"Pictures, sizes, licenses: {page_link(ref.path / REPORT_NAME)}; data card: `{ref.path / CROISSANT_NAME}`",
        ]
    )
