"""The pipeline flow: the main job from pages to scores in one workspace."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.config import PipelineRequest
from flows.outcome import completed
from flows.recipe import run_pipeline
from t2i_core.manifest import StepRef
from tasks.steps import TaskSteps

DEFAULTS = PipelineRequest()


@flow(name="pipeline", flow_run_name="pipeline in {output_dir}")
def pipeline(
    output_dir: Path = Path("workspace/demo"), request: PipelineRequest = DEFAULTS
) -> State[dict[str, StepRef]]:
    """Ingest, caption, train each model and evaluate; what is done already is not done again.

    Args:
        output_dir: The workspace. The pipeline owns it: folders made with other options are replaced.
        request: What to do.
    """
    refs = run_pipeline(TaskSteps(), request.resolve(), output_dir)
    return completed(refs, refs)
