"""Caption as a task."""

from pathlib import Path

from prefect.client.schemas.objects import State

from t2i_core.captioning import step as core
from t2i_core.captioning.config import CaptionConfig
from t2i_core.manifest import OnConflict, StepRef
from tasks.artifacts import markdown_table, publish_markdown
from tasks.runtime import outcome, reporting, step_task


@step_task("caption", "caption {output_dir}")
def caption(dataset_dir: Path, config: CaptionConfig, output_dir: Path, on_conflict: OnConflict) -> State[StepRef]:
    """Clean, filter, deduplicate and split the captions of a dataset, and learn a tokenizer."""
    with reporting("caption-progress") as on_progress:
        ref = core.caption(dataset_dir, config, output_dir, on_conflict=on_conflict, on_progress=on_progress)
    publish_markdown("caption-report", lambda: report(ref), f"What became of each caption of {dataset_dir}")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Write the counts of splits and reasons."""
    counts = dict(sorted(ref.counts.items(), key=lambda item: -item[1]))
    return (
        f"# Captions {ref.digest[:12]}\n\n`{ref.path / 'report.html'}` shows lengths and truncation.\n\n"
        f"{markdown_table(counts, head=('count', 'captions'))}"
    )
