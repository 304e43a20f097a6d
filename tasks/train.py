"""Training as a task: a supervised process of its own. Call it directly, on the flow's main thread, or submit it within
`side_by_side`: else no cancel reaches it.
"""

from pathlib import Path
from typing import Any

from prefect.client.schemas.objects import State

from t2i_core.folders.manifest import StepRef
from t2i_core.report.pictures import open_picture
from t2i_core.training.config import TrainRequest
from t2i_core.training.curve import log_rows, validation_curve, verdict
from t2i_core.training.supervisor import supervise_training
from tasks.artifacts import embedded_picture, markdown_table, publish_markdown
from tasks.runtime import outcome, reporting, step_task


@step_task("train", "train {request.name}")
def train(request: TrainRequest) -> State[StepRef]:
    """Train one model; an unfinished run of the same key goes on from its last checkpoint."""
    name = request.name
    with reporting(f"train-{name}-progress") as on_progress:
        ref = supervise_training(**dict(request), on_progress=on_progress)
    publish_markdown(f"train-{name}", lambda: report(name, ref), f"How the training of {name} went")
    return outcome(ref)


def report(name: str, ref: StepRef) -> str:
    """Write the last figures of a run above its latest sample grid."""
    figures = {
        key: f"{value:.4g}" if isinstance(value, float) else value for key, value in last_metrics(ref.path).items()
    }
    grids = sorted((ref.path / "samples").rglob("*.png"))
    parts = [f"# Run {name} {ref.digest[:12]}", f"`{ref.path}`", verdict(validation_curve(ref.path))]
    parts.append(markdown_table(figures, head=("figure", "last value")))
    if grids:
        parts.append(embedded_picture(open_picture(grids[-1])))
    return "\n\n".join(filter(None, parts))


def last_metrics(run_dir: Path) -> dict[str, Any]:
    """Read the newest value of each metric of a run."""
    latest: dict[str, Any] = {}
    for row in log_rows(run_dir):
        latest |= row
    return latest
