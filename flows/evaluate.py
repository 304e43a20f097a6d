"""The evaluate flow: a finished run or system to scores and a report."""

from pathlib import Path
from typing import Annotated

from prefect.client.schemas.objects import State

from flows.forms import Grouped
from flows.job import job
from flows.outcome import completed
from t2i_core.evaluation.config import EvaluateConfig, EvaluateRequest
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.manifest import StepRef
from t2i_core.generation.config import DRAW_GROUPS
from t2i_core.promotion.registry import model_folder
from tasks.steps import TaskSteps

DEFAULTS = EvaluateConfig()


@job("evaluate", "evaluate {run_dir}")
def evaluate(
    run_dir: Path,
    output_dir: Path,
    config: Annotated[EvaluateConfig, Grouped(DRAW_GROUPS)] = DEFAULTS,
    baseline_dir: str = "",
    clip_dir: str = "",
    captions_dir: str = "",
    on_conflict: OnConflict = "refuse",
    verify_hits: HitCheck = "size",
) -> State[StepRef]:
    """Draw the evaluation's prompts with a run and score the pictures.

    Args:
        run_dir: The finished run or system to score; champion or FOLDER/champion for the one in use.
        output_dir: The evaluation folder.
        config: What to draw and how to score it.
        baseline_dir: A finished run or system to print beside it, such as the CNN; empty for none.
        clip_dir: A finished CLIP run that scores; empty for none.
        captions_dir: A finished captions folder that is asked of in place of the run's own; empty for that one.
        on_conflict: What to do with a folder made with other options: refuse, or replace (kept as NAME.previous).
        verify_hits: How what is there already is looked at: by sizes, by the bytes of a sample, or by all bytes.
    """
    request = EvaluateRequest(
        run_dir=model_folder(run_dir),
        config=config,
        output_dir=output_dir,
        baseline_dir=model_folder(Path(baseline_dir)) if baseline_dir else None,
        clip_dir=Path(clip_dir) if clip_dir else None,
        captions_dir=Path(captions_dir) if captions_dir else None,
        on_conflict=on_conflict,
    )
    with hits_checked(verify_hits):
        ref = TaskSteps().evaluate(request)
    return completed(ref, {"evaluate": ref})
