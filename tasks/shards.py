"""A whole ingest as tasks: the plan, a task for each shard, the manifest.

Apart from the other steps, for the workers of a cluster import this and need no PyTorch.
"""

from itertools import islice

from prefect.futures import as_completed, wait

from t2i_core.data.manners.channel import CoordinatorAddress
from t2i_core.data.manners.coordinator import coordinating
from t2i_core.data.manners.denylist import NOTHING_DENIED
from t2i_core.folders.manifest import StepRef
from t2i_core.ingestion.config import IngestRequest
from t2i_core.ingestion.step import IngestPlan
from t2i_core.progress import OnProgress, Progress, ignore_progress
from tasks.cluster import IN_TURN, Crew, Spread
from tasks.ingest import finish_ingest, ingest_shard, plan_ingest
from tasks.runtime import reference, reporting


def ingest_in_shards(request: IngestRequest, spread: Spread = IN_TURN) -> StepRef:
    """Fetch the pictures of a source into a dataset folder; works inside a flow only.

    Raises:
        ConfigError: the source, the folder or the cluster cannot be used.
        TransientError: nothing could be reached, the cluster does not answer, or the disk is full.
        DataError: too few pictures were kept, or something on disk is damaged.
    """
    spread.check()
    plan: IngestPlan = plan_ingest(request, return_state=True).result()
    if plan.hit is None and plan.num_shards:
        _ingest_shards(plan, spread)
    return reference(finish_ingest(plan))


def _ingest_shards(plan: IngestPlan, spread: Spread) -> None:
    """Make all shards; the hosts are asked no more than one shard alone may, however many are under way."""
    with (
        spread.crew() as crew,
        coordinating(plan.config.fetching(NOTHING_DENIED).host_limits, crew.host) as coordinator,
    ):
        if spread.in_turn:
            # On the flow's own thread, where a cancel or an interrupt ends the fetching at once.
            for shard_id in plan.shard_ids:
                ingest_shard(plan, shard_id, coordinator, return_state=True).result()
        elif crew.is_elsewhere:
            with reporting("ingest-progress") as on_progress:
                _make_shards(crew, plan.from_anywhere(), coordinator, on_progress)
        else:
            _make_shards(crew, plan, coordinator, ignore_progress)


def _make_shards(crew: Crew, plan: IngestPlan, coordinator: CoordinatorAddress, on_progress: OnProgress) -> None:
    """Keep as many shards under way as the crew can make; after a failure, finish those."""
    waiting = ({"plan": plan, "shard_id": shard_id, "coordinator": coordinator} for shard_id in plan.shard_ids)
    in_flight = {crew.submit(parameters) for parameters in islice(waiting, crew.num_at_once)}
    seen = kept = 0
    try:
        while in_flight:
            future = next(as_completed(list(in_flight)))
            in_flight.remove(future)
            report = future.result()
            seen, kept = seen + report.seen, kept + report.kept
            on_progress(
                Progress(step="ingest", done=seen, total=plan.num_records, unit="pictures", fields={"kept": kept})
            )
            in_flight.update(crew.submit(parameters) for parameters in islice(waiting, 1))
    except Exception:
        wait(list(in_flight))
        raise
