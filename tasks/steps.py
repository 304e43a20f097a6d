"""The four steps as Prefect tasks, in the shape that the recipes in `flows` call."""

from dataclasses import dataclass
from pathlib import Path

from t2i_core.captioning.config import CaptionConfig
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.ingestion.config import IngestConfig
from t2i_core.manifest import OnConflict, StepRef
from t2i_core.training.config import TrainConfig
from tasks.caption import caption
from tasks.evaluate import evaluate
from tasks.runtime import reference
from tasks.shards import ingest_in_shards
from tasks.train import train


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskSteps:
    """The steps as tasks; works inside a flow only.

    Attributes:
        on_conflict: what to do with a folder that holds other work.
    """

    on_conflict: OnConflict = "refuse"

    def ingest(
        self, source: str, config: IngestConfig, output_dir: Path, *, source_digest: str | None = None
    ) -> StepRef:
        """Fetch the pictures of a source into a dataset folder; the task is the shard."""
        return ingest_in_shards(source, config, output_dir, source_digest=source_digest, on_conflict=self.on_conflict)

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
