"""`t2i nightly`."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.step import NoPrefect, OutputDir, command_app, run_here
from flows.config import PipelineRequest
from flows.nights.config import NIGHTLY_GROUPS, NightlyConfig
from flows.nights.recipe import describe, run_nightly
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from flows.shell.terminal import say
from t2i_core.errors import ConfigError
from t2i_core.nights.page import HISTORY_NAME
from t2i_core.nights.record import Night
from t2i_core.promotion.registry import DEFAULT_REGISTRY

app = command_app()


@app.command(
    "nightly",
    cls=PlainCommand,
    epilog=examples(
        "t2i nightly --preset demo-smoke --output-dir work/nightly",
        "t2i nightly --source photos --start warm --warm-images 20000",
        "t2i nightly --job job.json --when-better ask",
        't2i generate champion --prompt "a red circle" --output-dir work/pictures',
        notes=("The deployment nightly/demo runs it by a schedule (deployments/README.md).",),
    ),
)
@config_options(NightlyConfig, NIGHTLY_GROUPS)
def nightly_command(
    config: NightlyConfig,
    output_dir: OutputDir = DEFAULT_REGISTRY,
    job: Annotated[Path | None, typer.Option(help="Complete pipeline config, JSON.")] = None,
    preset: Annotated[str, typer.Option(help="Complete settings to start from. [default: demo]")] = "",
    source: Annotated[str, typer.Option(help="Page, URL list or folder in place of the job's own.")] = "",
    minutes: Annotated[float, typer.Option(min=0, help="Aim for the trainings, minutes. [default: the job's]")] = 0,
    no_prefect: NoPrefect = False,
) -> None:
    """Learn what is new in a source, compare with the champion, and promote what is better."""
    if job and preset:
        raise ConfigError("give --job or --preset, not both.")
    request = PipelineRequest.parse(
        {"preset": preset or "demo", "config_file": str(job or ""), "source": source, "minutes": minutes}
    )
    resolved, today = request.resolve(), datetime.now(UTC).strftime("%Y-%m-%d")

    def as_flow() -> Night:
        from flows.nights.flow import nightly

        return Night.model_validate(nightly(output_dir, request, config, return_state=True).result())

    night = run_here(
        lambda steps: run_nightly(steps, resolved, config, output_dir, today), as_flow, no_prefect=no_prefect
    )
    say(describe(night, output_dir))
    say(f"history: {output_dir / HISTORY_NAME}")
