"""`t2i caption`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, VerifyHits, command_app, conflict, run_step
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from t2i_core.captioning.config import CAPTION_GROUPS, PRESETS, CaptionConfig, CaptionRequest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command(
    "caption",
    cls=PlainCommand,
    epilog=examples(
        "t2i caption work/dataset --output-dir work/captions",
        "t2i caption work/dataset --output-dir work/captions --drop-near-duplicates",
        "t2i caption work/dataset --output-dir work/captions --preset openclipart",
        "t2i caption a=work/a/dataset b=work/b/dataset --output-dir work/joined",
    ),
)
@config_options(CaptionConfig, CAPTION_GROUPS, PRESETS)
def caption_command(
    datasets: Annotated[
        list[str],
        typer.Argument(
            metavar="DATASET_DIR...",
            help="A finished dataset folder; several are joined into one, and NAME=FOLDER names one of them.",
        ),
    ],
    output_dir: OutputDir,
    config: CaptionConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Clean, filter, deduplicate and split the captions of a dataset, or of several joined into one."""

    first, *others = datasets
    request = CaptionRequest(
        dataset_dir=Path(first),
        config=config,
        output_dir=output_dir,
        joined_with=tuple(others),
        on_conflict=conflict(replace=replace),
    )

    def as_flow() -> "State[Any]":
        from flows.caption import caption

        return caption(**dict(request), return_state=True)

    run_step(lambda steps: steps.caption(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
