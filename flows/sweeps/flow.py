"""The sweep flow: ways of drawing with one trained run, each judged by a task."""

from pathlib import Path
from typing import Annotated

from prefect.client.schemas.objects import State
from prefect.states import Completed
from pydantic import Field

from flows.forms import Grouped
from flows.job import job
from flows.sweeps.recipe import run_sweep
from t2i_core.promotion.registry import model_folder
from t2i_core.sweeps.config import SWEEP_GROUPS, SweepConfig
from tasks.artifacts import publish_markdown
from tasks.steps import TaskSteps


@job("sweep", "sweep {run_dir}")
def sweep(
    run_dir: Path,
    output_dir: Path,
    config: Annotated[SweepConfig, Grouped(SWEEP_GROUPS)],
    clip_dir: str = "",
    num_at_once: Annotated[int, Field(ge=1, le=64)] = 1,
) -> State[str]:
    """Try ways of drawing with a finished run, and say which is best and which is as good and faster.

    Args:
        run_dir: The finished run or system; champion or FOLDER/champion for the one in use.
        output_dir: The sweep's folder; ways that are in it already are not judged again.
        config: What is tried, and how it is judged.
        clip_dir: A finished CLIP run that scores; empty for none.
        num_at_once: Ways that are judged side by side, where the machine has room for so many.
    """
    scorer = Path(clip_dir) if clip_dir else None
    told = run_sweep(TaskSteps(num_at_once), model_folder(run_dir), config, output_dir, scorer)
    publish_markdown(
        "sweep-report",
        lambda: (output_dir / "report.md").read_text(encoding="utf-8"),
        f"Ways of drawing with {run_dir}",
    )
    return Completed(message=told, data=told)
