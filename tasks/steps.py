"""The four steps as Prefect tasks, in the shape that the recipes in `flows` call."""

from collections import deque
from dataclasses import dataclass
from pathlib import Path

from prefect.futures import PrefectFuture, wait

from t2i_core.data.caption import CaptionConfig
from t2i_core.data.ingest import IngestConfig, IngestPlan
from t2i_core.data.shard import ShardReport
from t2i_core.evaluation.evaluate import EvaluateConfig
from t2i_core.manifest import OnConflict, StepRef
from t2i_core.training.train import TrainConfig
from tasks.caption import caption
from tasks.evaluate import evaluate
from tasks.ingest import finish_ingest, ingest_shard, plan_ingest
from tasks.runtime import reference
from tasks.train import train


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSteps:
    """The steps as tasks; works inside a flow only.

    Attributes:
        on_conflict: what to do with a folder that holds other work.
        num_shards_at_once: shards fetched side by side. Each keeps to the per-host limits by itself, so more than one
            is polite only to a source that is spread over many hosts.
    """

    on_conflict: OnConflict = "refuse"
    num_shards_at_once: int = 1

    def ingest(
        self, source: str, config: IngestConfig, output_dir: Path, *, source_digest: str | None = None
    ) -> StepRef:
        """Fetch the pictures of a source into a dataset folder; the task is the shard."""
        plan = plan_ingest(source, config, output_dir, source_digest, self.on_conflict)
        if plan.hit is None:
            self._ingest_shards(plan)
        return reference(finish_ingest(plan))

    def _ingest_shards(self, plan: IngestPlan) -> None:
        if self.num_shards_at_once == 1:
            # On the flow's own thread, where a cancel or an interrupt ends the fetching at once.
            for shard_id in range(plan.num_shards):
                ingest_shard(plan, shard_id)
            return
        in_flight: deque[PrefectFuture[ShardReport]] = deque()
        try:
            for shard_id in range(plan.num_shards):
                if len(in_flight) == self.num_shards_at_once:
                    in_flight.popleft().result()
                in_flight.append(ingest_shard.submit(plan, shard_id))
            while in_flight:
                in_flight.popleft().result()
        finally:
            wait(list(in_flight))

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
