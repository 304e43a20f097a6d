"""`t2i compose`."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.commands.step import NoPrefect, OutputDir, Replace, VerifyHits, command_app, conflict, run_step
from flows.shell.help import PlainCommand, examples
from t2i_core.composition.config import ROLES, ComposeRequest, by_role

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

app = command_app()


@app.command(
    "compose",
    cls=PlainCommand,
    epilog=examples(
        "t2i compose base=work/small upsampler=work/large --output-dir work/system",
        't2i generate work/system --prompt "a red circle" --output-dir work/pictures',
        notes=(f"Roles: {', '.join(ROLES)}. The folder names the runs and copies nothing.",),
    ),
)
def compose_command(
    runs: Annotated[list[str], typer.Argument(metavar="ROLE=RUN...", help="A finished run folder for each role.")],
    output_dir: OutputDir,
    no_prefect: NoPrefect = False,
    replace: Replace = False,
    verify_hits: VerifyHits = "size",
) -> None:
    """Make a system of finished runs that draw together: a base and what enlarges its pictures."""
    request = ComposeRequest(runs=by_role(runs), output_dir=output_dir, on_conflict=conflict(replace=replace))

    def as_flow() -> "State[Any]":
        from flows.compose import compose

        return compose(**dict(request), return_state=True)

    run_step(lambda steps: steps.compose(request), as_flow, no_prefect=no_prefect, verify_hits=verify_hits)
