"""Evaluate as a task."""

from prefect.client.schemas.objects import State

from t2i_core.evaluation import step as core
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.manifest import StepRef
from tasks.artifacts import lineage, picture_grid, publish_markdown
from tasks.pages import page_link
from tasks.runtime import outcome, reporting, step_task

MAX_GRID_PICTURES = 48


@step_task("evaluate", "evaluate {request.run_dir}")
def evaluate(request: EvaluateRequest) -> State[StepRef]:
    """Draw the evaluation's prompts and score the pictures."""
    with reporting("evaluate-progress") as on_progress:
        ref = core.evaluate(**dict(request), on_progress=on_progress)
    publish_markdown("evaluate-report", lambda: report(ref), f"Scores of {request.run_dir}")
    publish_markdown("lineage", lambda: lineage(ref), f"What {request.output_dir} was made from")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Give the step's own report above a grid of its pictures."""
    text = (ref.path / "report.md").read_text(encoding="utf-8")
    pictures = sorted((ref.path / "images").rglob("*.png"))[:MAX_GRID_PICTURES]
    return f"{text}\n\n{picture_grid(pictures)}\n\nThe full report: {page_link(ref.path / 'report.html')}"
