"""`t2i tune`."""

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.step import NoPrefect, OutputDir, command_app, run_here
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from flows.tuning.recipe import run_tune
from t2i_core.errors import ConfigError
from t2i_core.tuning.config import TUNE_GROUPS, TuneConfig

app = command_app()


@app.command(
    "tune",
    cls=PlainCommand,
    epilog=examples(
        "t2i tune work/captions --grid drop.text=0.1,0.2 --output-dir work/tune",
        "t2i tune work/captions --search drop.text=0..0.3 --output-dir work/tune",
        "t2i tune captions --grid system.num_steps=9,20 --judge strict --output-dir w",
        "t2i train work/captions --preset work/tune/best.json --output-dir work/run",
        notes=("Of --rungs budgets the last is --max-images, or the preset's own number of pictures.",),
    ),
)
@config_options(TuneConfig, TUNE_GROUPS)
def tune_command(
    captions_dir: Annotated[Path, typer.Argument(help="A finished captions folder.")],
    output_dir: OutputDir,
    config: TuneConfig,
    clip_dir: Annotated[Path | None, typer.Option(help="A finished CLIP run that scores.")] = None,
    num_at_once: Annotated[int, typer.Option(min=1, max=64, help="Trials side by side, if the machine has room.")] = 1,
    no_prefect: NoPrefect = False,
) -> None:
    """Try recipes on one captions folder, stop the worse ones early, and write the best one down."""
    if no_prefect and num_at_once > 1:
        raise ConfigError("--num-at-once is for tasks: leave it out, or --no-prefect.")

    def as_flow() -> str:
        from flows.tuning.flow import tune

        asked = (captions_dir, output_dir, config, "", str(clip_dir or ""), num_at_once)
        return str(tune(*asked, return_state=True).result())

    say(
        run_here(
            lambda steps: run_tune(steps, captions_dir, config, output_dir, clip_dir), as_flow, no_prefect=no_prefect
        )
    )
    say(f"recipe: {output_dir / 'best.json'}, for `t2i train --preset`")
    say(f"report: {output_dir / 'report.html'}")
