"""The caption flow: a dataset's raw texts to clean captions, splits and a tokenizer."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.outcome import completed
from t2i_core.captioning.config import CaptionConfig, CaptionRequest
from t2i_core.manifest import OnConflict, StepRef
from tasks.steps import TaskSteps

DEFAULTS = CaptionConfig()


@flow(name="caption", flow_run_name="caption {dataset_dir}")
def caption(
    dataset_dir: Path,
    output_dir: Path,
    config: CaptionConfig = DEFAULTS,
    joined_with: tuple[str, ...] = (),
    on_conflict: OnConflict = "refuse",
) -> State[StepRef]:
    """Clean, filter, deduplicate and split the captions of a dataset, or of several joined into one.

    Args:
        dataset_dir: A finished dataset folder.
        output_dir: The captions folder.
        config: The rules.
        joined_with: Other finished dataset folders, joined with it into one; NAME=FOLDER names one.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
    """
    request = CaptionRequest(
        dataset_dir=dataset_dir,
        config=config,
        output_dir=output_dir,
        joined_with=joined_with,
        on_conflict=on_conflict,
    )
    ref = TaskSteps().caption(request)
    return completed(ref, {"caption": ref})
