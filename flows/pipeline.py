"""The pipeline flow: the main job from pages to scores in one workspace."""

from pathlib import Path

from prefect.client.schemas.objects import State

from flows.config import PipelineRequest
from flows.job import job
from flows.outcome import completed
from flows.recipe import run_pipeline
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from tasks.steps import TaskSteps

DEFAULTS = PipelineRequest()


@job("pipeline", "pipeline in {output_dir}")
def pipeline(
    output_dir: Path = Path("workspace/demo"), request: PipelineRequest = DEFAULTS, verify_hits: HitCheck = "size"
) -> State[dict[str, StepRef]]:
    """Ingest, caption, train each model and evaluate; what is done already is not done again.

    Args:
        output_dir: The workspace. The pipeline owns it: folders made with other options are replaced.
        request: What to do.
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    with hits_checked(verify_hits):
        refs = run_pipeline(TaskSteps(), request.resolve(), output_dir)
    return completed(refs, refs)
