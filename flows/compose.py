"""The compose flow: finished runs to a system that draws with all of them."""

from pathlib import Path

from prefect.client.schemas.objects import State

from flows.job import job
from flows.outcome import completed
from t2i_core.composition.config import ComposeRequest, Role
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from tasks.steps import TaskSteps


@job("compose", "compose {output_dir}")
def compose(
    runs: dict[Role, Path], output_dir: Path, on_conflict: OnConflict = "refuse", verify_hits: HitCheck = "size"
) -> State[StepRef]:
    """Make a system of finished runs that draw together.

    Args:
        runs: Finished run folders by role: base (needed), upsampler, second_upsampler, clip, inpaint,
            inpaint_upsampler, prior.
        output_dir: The system folder, which names the runs; nothing is copied.
        on_conflict: What to do with a folder made of other runs: refuse, or replace (kept as NAME.previous).
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    with hits_checked(verify_hits):
        ref = TaskSteps().compose(ComposeRequest(runs=runs, output_dir=output_dir, on_conflict=on_conflict))
    return completed(ref, {"compose": ref})
