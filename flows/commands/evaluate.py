"""`t2i evaluate`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, RunDir, VerifyHits, command_app, conflict, run_step
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from t2i_core.evaluation.config import EvaluateConfig, EvaluateRequest
from t2i_core.generation.config import DRAW_GROUPS
from t2i_core.promotion.registry import model_folder

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command(
    "evaluate",
    cls=PlainCommand,
    epilog=examples(
        "t2i evaluate work/run --output-dir work/evaluation",
        "t2i evaluate work/run --output-dir work/evaluation --clip-dir work/clip",
        "t2i evaluate work/run --output-dir work/scores --clip ViT-B-32/openai",
        "t2i evaluate champion --captions-dir work/captions --output-dir work/again",
    ),
)
@config_options(EvaluateConfig, DRAW_GROUPS)
def evaluate_command(
    run_dir: RunDir,
    output_dir: OutputDir,
    config: EvaluateConfig,
    baseline_dir: Annotated[Path | None, typer.Option(help="A finished run or system to print beside it.")] = None,
    clip_dir: Annotated[Path | None, typer.Option(help="A finished CLIP run that scores.")] = None,
    captions_dir: Annotated[
        Path | None, typer.Option(help="A finished captions folder that is asked of in place of the run's own.")
    ] = None,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Draw prompts with a run or system, score the pictures and write report.html."""

    request = EvaluateRequest(
        run_dir=model_folder(run_dir),
        config=config,
        output_dir=output_dir,
        baseline_dir=model_folder(baseline_dir) if baseline_dir else None,
        clip_dir=clip_dir,
        captions_dir=captions_dir,
        on_conflict=conflict(replace=replace),
    )

    def as_flow() -> "State[Any]":
        from flows.evaluate import evaluate

        named = {"baseline_dir": baseline_dir, "clip_dir": clip_dir, "captions_dir": captions_dir}
        others = {name: str(folder or "") for name, folder in named.items()}
        return evaluate(run_dir, output_dir, config, **others, on_conflict=request.on_conflict, return_state=True)

    run_step(lambda steps: steps.evaluate(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
