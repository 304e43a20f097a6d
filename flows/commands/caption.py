"""`t2i caption`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, command_app, run_step
from flows.options import config_options
from t2i_core.data.caption_config import CaptionConfig
from t2i_core.manifest import OnConflict, StepRef

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command("caption")
@config_options(CaptionConfig)
def caption_command(
    dataset_dir: Annotated[Path, typer.Argument(help="A finished dataset folder.")],
    output_dir: OutputDir,
    config: CaptionConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
) -> None:
    """Clean, filter, deduplicate and split the captions of a dataset."""

    def as_flow(on_conflict: OnConflict) -> "State[Any]":
        from flows.caption import caption

        return caption(dataset_dir, output_dir, config, on_conflict, return_state=True)

    def in_core(**how: Any) -> StepRef:
        from t2i_core.data.caption import caption

        return caption(dataset_dir, config, output_dir, **how)

    run_step(in_core, as_flow, no_prefect=no_prefect, replace=replace)
