"""The evaluate step: draw the benchmark's prompts with a run, check what came out, and write the report."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.evaluation.config import EvaluateConfig, EvaluateRequest, evaluate_key
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import find_hit
from t2i_core.folders.manifest import StepRef
from t2i_core.folders.one_writer import writes_alone
from t2i_core.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.evaluation.studies.maker import PictureMaker


@tells_disk_errors
@writes_alone
def evaluate(
    run_dir: Path,
    config: EvaluateConfig,
    output_dir: Path,
    *,
    baseline_dir: Path | None = None,
    clip_dir: Path | None = None,
    captions_dir: Path | None = None,
    on_conflict: OnConflict = "refuse",
    on_progress: OnProgress = ignore_progress,
    open_run: "Callable[[Path], PictureMaker] | None" = None,
) -> StepRef:
    """Score a finished run or system and write `report.html`, `report.md`, `metrics.json`, `samples.jsonl`,
    `circumstances.json` and `images/`.

    Args:
        run_dir: the finished run or system.
        config: what to ask and how to judge.
        output_dir: the evaluation folder.
        baseline_dir: a finished run or system to compare with on the same prompts and seeds.
        clip_dir: a finished clip run; its `open_clip` folder scores unless the config names a CLIP.
        captions_dir: captions whose held-out prompts are asked; None for those that the run was trained on.
        on_conflict: what to do when `output_dir` holds another evaluation.
        on_progress: gets pictures drawn.
        open_run: makes a finished run draw; None loads the checkpoint that the config asks for.

    Raises:
        ConfigError: a folder is not what it should be, or the CLIP cannot be had.
        DataError: the captions or shards are damaged.
        TransientError: another process is writing `output_dir`.
    """
    key = evaluate_key(run_dir, config, baseline_dir=baseline_dir, clip_dir=clip_dir, captions_dir=captions_dir)
    if hit := find_hit(output_dir, key):
        return hit
    # PyTorch, which a finished folder does not wait for.
    from t2i_core.evaluation.making import make_evaluation

    request = EvaluateRequest(
        run_dir=run_dir,
        config=config,
        output_dir=output_dir,
        baseline_dir=baseline_dir,
        clip_dir=clip_dir,
        captions_dir=captions_dir,
        on_conflict=on_conflict,
    )
    return make_evaluation(request, key, on_progress, open_run)
