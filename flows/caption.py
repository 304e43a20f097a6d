"""The caption flow: a dataset's raw texts to clean captions, splits and a tokenizer."""

from pathlib import Path
from typing import Annotated

from prefect.client.schemas.objects import State

from flows.forms import Grouped
from flows.job import job
from flows.outcome import completed
from t2i_core.captioning.config import CAPTION_GROUPS, CaptionConfig, CaptionRequest
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from tasks.steps import TaskSteps

DEFAULTS = CaptionConfig()


@job("caption", "caption {dataset_dir}")
def caption(
    dataset_dir: Path,
    output_dir: Path,
    config: Annotated[CaptionConfig, Grouped(CAPTION_GROUPS)] = DEFAULTS,
    joined_with: tuple[str, ...] = (),
    on_conflict: OnConflict = "refuse",
    verify_hits: HitCheck = "size",
) -> State[StepRef]:
    """Clean, filter, deduplicate and split the captions of a dataset, or of several joined into one.

    Args:
        dataset_dir: A finished dataset folder.
        output_dir: The captions folder.
        config: The rules.
        joined_with: Other finished dataset folders, joined with it into one; NAME=FOLDER names one.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    request = CaptionRequest(
        dataset_dir=dataset_dir,
        config=config,
        output_dir=output_dir,
        joined_with=joined_with,
        on_conflict=on_conflict,
    )
    with hits_checked(verify_hits):
        ref = TaskSteps().caption(request)
    return completed(ref, {"caption": ref})
