"""A sweep, written once: evaluate each way of drawing, and compare all of them. Steps decide how."""

from pathlib import Path

from flows.steps import Steps
from t2i_core.comparison.judged import Judged
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.layout import require_workspace
from t2i_core.sweeps.config import SweepConfig
from t2i_core.sweeps.page import describe, judge_ways, write_sweep

WAYS_DIR = "ways"


def run_sweep(steps: Steps, run_dir: Path, config: SweepConfig, output_dir: Path, clip_dir: Path | None = None) -> str:
    """Try all ways of drawing; what was evaluated already is not evaluated again.

    Args:
        steps: how each evaluation is done.
        run_dir: a finished run or system.
        config: what is tried, and how it is judged.
        output_dir: `ways/NAME/`, `report.html`, `best.json` and `fastest.json` are made in it.
        clip_dir: a finished CLIP run that scores.

    Returns:
        What came out, in a sentence or two.
    """
    points = config.points
    require_workspace(output_dir, [f"{WAYS_DIR}/{name}" for name in points])
    # PyTorch, which nobody waits for who only imports the flow.
    from t2i_core.sweeps.drawable import require_drawable

    require_drawable(run_dir, points.values())
    refs = steps.evaluate_all(
        [
            EvaluateRequest(
                run_dir=run_dir,
                config=point,
                output_dir=output_dir / WAYS_DIR / name,
                clip_dir=clip_dir,
                on_conflict="replace",
            )
            for name, point in points.items()
        ]
    )
    judged = {name: Judged.read(name, ref.path) for name, ref in zip(points, refs, strict=True)}
    figure, ways = judge_ways(judged, config.tried, config.figure)
    write_sweep(output_dir, figure, ways)
    return describe(figure, ways)
