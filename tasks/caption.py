"""Caption as a task."""

from prefect.client.schemas.objects import State

from t2i_core.captioning import step as core
from t2i_core.captioning.config import CaptionRequest
from t2i_core.folders.manifest import StepRef
from tasks.artifacts import markdown_table, publish_markdown
from tasks.pages import page_link
from tasks.runtime import outcome, reporting, step_task


@step_task("caption", "caption {request.output_dir}")
def caption(request: CaptionRequest) -> State[StepRef]:
    """Clean, filter, deduplicate and split the captions of a dataset, and learn a tokenizer."""
    with reporting("caption-progress") as on_progress:
        ref = core.caption(**dict(request), on_progress=on_progress)
    publish_markdown("caption-report", lambda: report(ref), f"What became of each caption of {request.dataset_dir}")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Write the counts of splits and reasons."""
    counts = dict(sorted(ref.counts.items(), key=lambda item: -item[1]))
    return (
        f"# Captions {ref.digest[:12]}\n\n{page_link(ref.path / 'report.html')} shows lengths and truncation.\n\n"
        f"{markdown_table(counts, head=('count', 'captions'))}"
    )
