"""Features as a task."""

from prefect.client.schemas.objects import State

from t2i_core.encoding import step as core
from t2i_core.encoding.config import FeaturesRequest
from t2i_core.folders.manifest import StepRef
from tasks.artifacts import markdown_table, publish_markdown
from tasks.runtime import outcome, reporting, step_task


@step_task("features", "features {request.output_dir}")
def features(request: FeaturesRequest) -> State[StepRef]:
    """Encode the captions of a folder with a frozen encoder."""
    with reporting("features-progress") as on_progress:
        ref = core.features(**dict(request), on_progress=on_progress)
    publish_markdown("features", lambda: report(ref), f"What {request.encoder_dir} made of {request.captions_dir}")
    return outcome(ref)


def report(ref: StepRef) -> str:
    """Write the counts of captions and tokens."""
    return f"# Features {ref.digest[:12]}\n\n{markdown_table(ref.counts, head=('what', 'count'))}"
