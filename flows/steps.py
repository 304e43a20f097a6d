"""The four steps as a recipe sees them, and as the core does them; `tasks.steps` does them as Prefect tasks.

A recipe written against `Steps` runs either way: same folders, same keys. A step is imported when it is done, so that
nobody waits for PyTorch who does not need it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from t2i_core.captioning.config import CaptionConfig
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.ingestion.config import IngestConfig
from t2i_core.manifest import OnConflict, StepRef
from t2i_core.progress import OnProgress, ignore_progress
from t2i_core.training.config import TrainConfig
from t2i_core.training.supervisor import supervise_training


class Steps(Protocol):
    """Ingest, caption, train, evaluate: each reads a folder and writes a folder."""

    def ingest(
        self, source: str, config: IngestConfig, output_dir: Path, *, source_digest: str | None = None
    ) -> StepRef:
        """Fetch the pictures of a source into a dataset folder."""
        ...

    def caption(self, dataset_dir: Path, config: CaptionConfig, output_dir: Path) -> StepRef:
        """Turn a dataset's captions into a captions folder."""
        ...

    def train(self, name: str, captions_dir: Path, config: TrainConfig, output_dir: Path) -> StepRef:
        """Train one model into a run folder."""
        ...

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
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class CoreSteps:
    """The steps straight from the core, with no Prefect."""

    on_conflict: OnConflict = "refuse"
    on_progress: OnProgress = ignore_progress

    def ingest(
        self, source: str, config: IngestConfig, output_dir: Path, *, source_digest: str | None = None
    ) -> StepRef:
        """See `Steps.ingest`."""
        from t2i_core.ingestion.step import ingest

        return ingest(
            source,
            config,
            output_dir,
            source_digest=source_digest,
            on_conflict=self.on_conflict,
            on_progress=self.on_progress,
        )

    def caption(self, dataset_dir: Path, config: CaptionConfig, output_dir: Path) -> StepRef:
        """See `Steps.caption`."""
        from t2i_core.captioning.step import caption

        return caption(dataset_dir, config, output_dir, on_conflict=self.on_conflict, on_progress=self.on_progress)

    def train(self, name: str, captions_dir: Path, config: TrainConfig, output_dir: Path) -> StepRef:
        """See `Steps.train`."""
        return supervise_training(
            captions_dir, config, output_dir, on_conflict=self.on_conflict, on_progress=self.on_progress
        )

    def evaluate(
        self,
        run_dir: Path,
        config: EvaluateConfig,
        output_dir: Path,
        *,
        baseline_dir: Path | None = None,
        clip_dir: Path | None = None,
    ) -> StepRef:
        """See `Steps.evaluate`."""
        from t2i_core.evaluation.step import evaluate

        return evaluate(
            run_dir,
            config,
            output_dir,
            baseline_dir=baseline_dir,
            clip_dir=clip_dir,
            on_conflict=self.on_conflict,
            on_progress=self.on_progress,
        )
