"""The train flow: captions and pictures to a run folder."""

from pathlib import Path

from prefect.client.schemas.objects import State

from flows.job import job
from flows.outcome import completed
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from t2i_core.training.config import TrainConfig, TrainRequest
from tasks.steps import TaskSteps

DEFAULTS = TrainConfig()


@job("train", "train {output_dir}")
def train(
    captions_dir: Path,
    output_dir: Path,
    config: TrainConfig = DEFAULTS,
    preset_file: str = "",
    on_conflict: OnConflict = "refuse",
    verify_hits: HitCheck = "size",
) -> State[StepRef]:
    """Train one model in a process of its own; the same call resumes an unfinished run.

    Args:
        captions_dir: A finished captions folder.
        output_dir: The run folder.
        config: The training recipe, its budget and its seed.
        preset_file: A recipe of one's own, JSON, in the place of the preset; empty for none.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    if preset_file:
        config = config.with_changes(preset=str(Path(preset_file).absolute()))
    request = TrainRequest(captions_dir=captions_dir, config=config, output_dir=output_dir, on_conflict=on_conflict)
    with hits_checked(verify_hits):
        ref = TaskSteps().train(request)
    return completed(ref, {"train": ref})
