"""The four steps as Prefect tasks, in the shape that the recipes in `flows` call."""

from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from prefect.futures import as_completed, wait

from t2i_core.data.caption import CaptionConfig
from t2i_core.data.channel import CoordinatorAddress
from t2i_core.data.coordinator import coordinating
from t2i_core.data.ingest import IngestConfig, IngestPlan
from t2i_core.evaluation.evaluate import EvaluateConfig
from t2i_core.manifest import OnConflict, StepRef
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.training.train import TrainConfig
from tasks.caption import caption
from tasks.cluster import Crew, Spread
from tasks.evaluate import evaluate
from tasks.ingest import finish_ingest, ingest_shard, plan_ingest
from tasks.runtime import reference, reporting
from tasks.train import train

IN_TURN = Spread()


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSteps:
    """The steps as tasks; works inside a flow only.

    Attributes:
        on_conflict: what to do with a folder that holds other work.
        spread: who makes the shards of an ingest.
    """

    on_conflict: OnConflict = "refuse"
    spread: Spread = IN_TURN

    def ingest(
        self, source: str, config: IngestConfig, output_dir: Path, *, source_digest: str | None = None
    ) -> StepRef:
        """Fetch the pictures of a source into a dataset folder; the task is the shard."""
        plan = plan_ingest(source, config, output_dir, source_digest, self.on_conflict)
        if plan.hit is None:
            self._ingest_shards(plan)
        return reference(finish_ingest(plan))

    def _ingest_shards(self, plan: IngestPlan) -> None:
        """Make all shards; the hosts are asked no more than one shard alone may, however many are under way."""
        with self.spread.crew() as crew, coordinating(plan.config.fetching().host_limits, crew.host) as coordinator:
            if self.spread.in_turn:
                # On the flow's own thread, where a cancel or an interrupt ends the fetching at once.
                for shard_id in range(plan.num_shards):
                    ingest_shard(plan, shard_id, coordinator)
            elif crew.is_elsewhere:
                with reporting("ingest-progress") as on_progress:
                    _make_shards(crew, plan.from_anywhere(), coordinator, on_progress)
            else:
                _make_shards(crew, plan, coordinator, ignore_progress)

    def caption(self, dataset_dir: Path, config: CaptionConfig, output_dir: Path) -> StepRef:
        """Turn a dataset's captions into a captions folder."""
        return reference(caption(dataset_dir, config, output_dir, self.on_conflict))

    def train(self, name: str, captions_dir: Path, config: TrainConfig, output_dir: Path) -> StepRef:
        """Train one model into a run folder, on the calling thread."""
        return reference(train(name, captions_dir, config, output_dir, self.on_conflict))

    def evaluate(
        self,
        run_dir: Path,
        config: EvaluateConfig,
        output_dir: Path,
        *,
        baseline_dir: Path | None = None,
        clip_dir: Path | None = None,
    ) -> StepRef:
        """Score a run into an evaluation folder."""
        return reference(evaluate(run_dir, config, output_dir, baseline_dir, clip_dir, self.on_conflict))


def _make_shards(crew: Crew, plan: IngestPlan, coordinator: CoordinatorAddress, on_progress: OnProgress) -> None:
    """Keep as many shards under way as the crew can make; after a failure, finish those."""
    waiting = ({"plan": plan, "shard_id": shard_id, "coordinator": coordinator} for shard_id in range(plan.num_shards))
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
