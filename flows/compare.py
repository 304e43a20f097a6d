"""The compare flow: evaluations of several systems to one table and one picture grid."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.outcome import completed
from t2i_core.comparison.config import CompareConfig, CompareRequest
from t2i_core.manifest import OnConflict, StepRef
from tasks.steps import TaskSteps

DEFAULTS = CompareConfig()


@flow(name="compare", flow_run_name="compare {output_dir}")
def compare(
    evaluations: tuple[str, ...],
    output_dir: Path,
    config: CompareConfig = DEFAULTS,
    on_conflict: OnConflict = "refuse",
) -> State[StepRef]:
    """Set the evaluations of several systems side by side: one table, one picture grid.

    Args:
        evaluations: Two or more finished evaluation folders in the order of the rows; NAME=FOLDER names one.
        output_dir: The comparison folder.
        config: How many prompts the grid shows, and whether with real pictures.
        on_conflict: What to do with a folder made of other evaluations: refuse, or replace (kept as NAME.previous).
    """
    request = CompareRequest(evaluations=evaluations, config=config, output_dir=output_dir, on_conflict=on_conflict)
    ref = TaskSteps().compare(request)
    return completed(ref, {"compare": ref})
