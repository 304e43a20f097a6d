"""The train flow: captions and pictures to a run folder."""

from pathlib import Path

from prefect import flow
from prefect.client.schemas.objects import State

from flows.outcome import completed
from t2i_core.manifest import OnConflict, StepRef
from t2i_core.training.config import TrainConfig, TrainRequest
from tasks.steps import TaskSteps

DEFAULTS = TrainConfig()


@flow(name="train", flow_run_name="train {output_dir}")
def train(
    captions_dir: Path,
    output_dir: Path,
    config: TrainConfig = DEFAULTS,
    on_conflict: OnConflict = "refuse",
) -> State[StepRef]:
    """Train one model in a process of its own; the same call resumes an unfinished run.

    Args:
        captions_dir: A finished captions folder.
        output_dir: The run folder.
        config: The training recipe, its budget and its seed.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
    """
    request = TrainRequest(captions_dir=captions_dir, config=config, output_dir=output_dir, on_conflict=on_conflict)
    ref = TaskSteps().train(request)
    return completed(ref, {"train": ref})
