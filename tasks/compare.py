"""Compare as a task."""

from prefect.client.schemas.objects import State

from t2i_core.comparison import step as core
from t2i_core.comparison.config import CompareRequest
from t2i_core.folders.manifest import StepRef
from t2i_core.report.pictures import open_picture
from tasks.artifacts import embedded_picture, lineage, publish_markdown
from tasks.pages import page_link
from tasks.runtime import outcome, step_task


@step_task("compare", "compare {request.output_dir}")
def compare(request: CompareRequest) -> State[StepRef]:
    """Set the evaluations of several systems side by side."""
    ref = core.compare(**dict(request))
    publish_markdown("compare-report", lambda: report(ref), "Several systems side by side")
    publish_markdown("lineage", lambda: lineage(ref), f"What {request.output_dir} was made from")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Give the step's own report above its picture grid."""
    text = (ref.path / "report.md").read_text(encoding="utf-8")
    grid = embedded_picture(open_picture(ref.path / "grid.png"))
    return f"{text}\n\n{grid}\n\nThe full report: {page_link(ref.path / 'report.html')}"
