"""Compose as a task."""

from prefect.client.schemas.objects import State

from t2i_core.composition import step as core
from t2i_core.composition.config import ComposeRequest
from t2i_core.folders.manifest import StepRef
from tasks.artifacts import lineage, publish_markdown
from tasks.runtime import outcome, step_task


@step_task("compose", "compose {request.output_dir}")
def compose(request: ComposeRequest) -> State[StepRef]:
    """Make a system of finished runs that draw together."""
    ref = core.compose(**dict(request))
    publish_markdown("compose", lambda: lineage(ref), f"What {request.output_dir} is made of")
    return outcome(ref)
