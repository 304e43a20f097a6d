"""The verify flow: whether a folder still holds what was written."""

from pathlib import Path

from prefect.client.schemas.objects import State

from flows.job import job
from flows.outcome import completed
from t2i_core.folders.manifest import StepRef
from tasks.runtime import reference
from tasks.upkeep import verify as compare_with_manifest


@job("verify", "verify {folder}")
def verify(folder: Path, repair: bool = False) -> State[StepRef]:
    """Compare every byte of a finished folder with its manifest; damage fails the run and is listed in an artifact.

    Args:
        folder: What a step made.
        repair: Move damaged shards of a dataset aside, so that the same ingest refills only them.
    """
    ref = reference(compare_with_manifest(folder, repair))
    return completed(ref, {"verify": ref})
