"""`t2i sweep`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.step import NoPrefect, OutputDir, RunDir, command_app, run_here
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from flows.sweeps.recipe import run_sweep
from t2i_core.errors import ConfigError
from t2i_core.promotion.registry import model_folder
from t2i_core.sweeps.config import SWEEP_GROUPS, SweepConfig

app = command_app()

NumAtOnce = Annotated[int, typer.Option(min=1, max=64, help="Ways judged side by side, if the machine has room.")]


@app.command(
    "sweep",
    cls=PlainCommand,
    epilog=examples(
        "t2i sweep work/run --guidance-scales 1 --guidance-scales 3 --output-dir w",
        "t2i sweep work/run --step-counts 8 --step-counts 24 --output-dir work/sweep",
        't2i generate work/run --config w/best.json --prompt "a cat" --output-dir p',
        notes=("All combinations of what is given are tried, and the run's own settings.",),
    ),
)
@config_options(SweepConfig, SWEEP_GROUPS)
def sweep_command(
    run_dir: RunDir,
    output_dir: OutputDir,
    config: SweepConfig,
    clip_dir: Annotated[Path | None, typer.Option(help="A finished CLIP run that scores.")] = None,
    num_at_once: NumAtOnce = 1,
    no_prefect: NoPrefect = False,
) -> None:
    """Try ways of drawing with one trained run or system, and say which is best and which as good."""
    if no_prefect and num_at_once > 1:
        raise ConfigError("--num-at-once is for tasks: leave it out, or --no-prefect.")

    def as_flow() -> str:
        from flows.sweeps.flow import sweep

        asked = (run_dir, output_dir, config, str(clip_dir or ""), num_at_once)
        return str(sweep(*asked, return_state=True).result())

    say(
        run_here(
            lambda steps: run_sweep(steps, model_folder(run_dir), config, output_dir, clip_dir),
            as_flow,
            no_prefect=no_prefect,
        )
    )
    say(f"report: {output_dir / 'report.html'}")
