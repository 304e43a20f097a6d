"""The tune flow: recipes tried on one captions folder, each training and each evaluation a task."""

from pathlib import Path
from typing import Annotated

from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.forms import Grouped
from flows.job import job
from flows.tuning.recipe import run_tune
from t2i_core.tuning.config import TUNE_GROUPS, TuneConfig
from tasks.artifacts import publish_markdown
from tasks.steps import TaskSteps


@job("tune", "tune {output_dir}")
def tune(
    captions_dir: Path,
    output_dir: Path,
    config: Annotated[TuneConfig, Grouped(TUNE_GROUPS)],
    preset_file: str = "",
    clip_dir: str = "",
    num_at_once: Annotated[int, Field(ge=1, le=64)] = 1,
) -> State[str]:
    """Try recipes on one captions folder, stop the worse ones early, and write the best one down.

    Args:
        captions_dir: A finished captions folder.
        output_dir: The tune's folder; trials that are in it already are not trained again.
        config: The recipe, what of it is tried, and how that is judged.
        preset_file: A recipe of one's own, JSON, in the place of the preset; empty for none.
        clip_dir: A finished CLIP run that scores; empty for none.
        num_at_once: Trials side by side, where the machine has room for so many.
    """
    if preset_file:
        config = config.with_changes(preset=str(Path(preset_file).absolute()))
    scorer = Path(clip_dir) if clip_dir else None
    found = run_tune(TaskSteps(num_at_once), captions_dir, config, output_dir, scorer)
    publish_markdown(
        "tune-report",
        lambda: (output_dir / "report.md").read_text(encoding="utf-8"),
        f"Recipes tried on {captions_dir}",
    )
    return Completed(message=found, data=found)
