"""`t2i train`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, VerifyHits, command_app, conflict, run_step
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from t2i_core.training.config import TrainConfig, TrainRequest
from t2i_core.training.preset import preset_names

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command(
    "train",
    cls=PlainCommand,
    epilog=examples(
        "t2i train work/captions --output-dir work/run --max-minutes 30",
        "t2i train work/captions --output-dir work/clip --preset clip-demo",
        "t2i train work/captions --output-dir work/own --preset mine.json",
        "t2i train work/captions --output-dir work/run --set optim.learning_rate=1e-3",
        notes=(f"Presets: {', '.join(preset_names())}. `t2i presets show NAME` prints one as JSON.",),
    ),
)
@config_options(TrainConfig)
def train_command(
    captions_dir: Annotated[Path, typer.Argument(help="A finished captions folder.")],
    output_dir: OutputDir,
    config: TrainConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Train one model; the same command resumes an unfinished run."""

    request = TrainRequest(
        captions_dir=captions_dir, config=config, output_dir=output_dir, on_conflict=conflict(replace=replace)
    )

    def as_flow() -> "State[Any]":
        from flows.train import train

        return train(captions_dir, output_dir, config, on_conflict=request.on_conflict, return_state=True)

    run_step(lambda steps: steps.train(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
