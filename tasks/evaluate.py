"""Evaluate as a task."""

from pathlib import Path

from prefect.client.schemas.objects import State

from t2i_core.evaluation import step as core
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.manifest import OnConflict, StepRef
from tasks.artifacts import lineage, picture_grid, publish_markdown
from tasks.runtime import outcome, reporting, step_task

MAX_GRID_PICTURES = 48


@step_task("evaluate", "evaluate {run_dir}")
def evaluate(
    run_dir: Path,
    config: EvaluateConfig,
    output_dir: Path,
    baseline_dir: Path | None,
    clip_dir: Path | None,
    on_conflict: OnConflict,
) -> State[StepRef]:
    """Draw the evaluation's prompts and score the pictures."""
    with reporting("evaluate-progress") as on_progress:
        ref = core.evaluate(
            run_dir,
            config,
            output_dir,
            baseline_dir=baseline_dir,
            clip_dir=clip_dir,
            on_conflict=on_conflict,
            on_progress=on_progress,
        )
    publish_markdown("evaluate-report", lambda: report(ref), f"Scores of {run_dir}")
    publish_markdown("lineage", lambda: lineage(ref), f"What {output_dir} was made from")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Give the step's own report above a grid of its pictures."""
    text = (ref.path / "report.md").read_text(encoding="utf-8")
    pictures = sorted((ref.path / "images").rglob("*.png"))[:MAX_GRID_PICTURES]
    return f"{text}\n\n{picture_grid(pictures)}\n\nThe full report: `{ref.path / 'report.html'}`"
