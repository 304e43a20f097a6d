"""`t2i compare`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, VerifyHits, command_app, conflict, run_step
from flows.shell.help import PlainCommand, examples
from flows.shell.options import config_options
from t2i_core.comparison.config import CompareConfig, CompareRequest

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command(
    "compare",
    cls=PlainCommand,
    epilog=examples(
        "t2i compare work/evaluation work/other --output-dir work/comparison",
        "t2i compare small=work/a large=work/b --output-dir work/comparison",
        notes=("The evaluations are of the same prompts and seeds, scored by the same CLIP.",),
    ),
)
@config_options(CompareConfig)
def compare_command(
    evaluations: Annotated[
        list[str],
        typer.Argument(metavar="EVALUATION...", help="A finished evaluation folder; NAME=FOLDER names its row."),
    ],
    output_dir: OutputDir,
    config: CompareConfig,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Set the evaluations of several systems side by side: one table, one picture grid."""
    request = CompareRequest(
        evaluations=tuple(evaluations), config=config, output_dir=output_dir, on_conflict=conflict(replace=replace)
    )

    def as_flow() -> "State[Any]":
        from flows.compare import compare

        return compare(**dict(request), return_state=True)

    run_step(lambda steps: steps.compare(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
