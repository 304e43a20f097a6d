"""The compare flow: evaluations of several systems to one table and one picture grid."""

from pathlib import Path

from prefect.client.schemas.objects import State

from flows.job import job
from flows.outcome import completed
from t2i_core.comparison.config import CompareConfig, CompareRequest
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from tasks.steps import TaskSteps

DEFAULTS = CompareConfig()


@job("compare", "compare {output_dir}")
def compare(
    evaluations: tuple[str, ...],
    output_dir: Path,
    config: CompareConfig = DEFAULTS,
    on_conflict: OnConflict = "refuse",
    verify_hits: HitCheck = "size",
) -> State[StepRef]:
    """Set the evaluations of several systems side by side: one table, one picture grid.

    Args:
        evaluations: Two or more finished evaluation folders in the order of the rows; NAME=FOLDER names one.
        output_dir: The comparison folder.
        config: How many prompts the grid shows, and whether with real pictures.
        on_conflict: What to do with a folder made of other evaluations: refuse, or replace (kept as NAME.previous).
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    request = CompareRequest(evaluations=evaluations, config=config, output_dir=output_dir, on_conflict=on_conflict)
    with hits_checked(verify_hits):
        ref = TaskSteps().compare(request)
    return completed(ref, {"compare": ref})
