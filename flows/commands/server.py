"""`t2i worker` and `t2i resume`: what belongs to a Prefect server that runs deployments."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated

import typer

from flows.commands.step import command_app
from flows.shell.help import PlainCommand, examples
from flows.shell.terminal import say

app = command_app()


@app.command(
    "worker",
    cls=PlainCommand,
    epilog=examples("t2i worker", "t2i worker --reports workspace", "t2i worker --queue heavy"),
)
def worker_command(
    queue: Annotated[
        list[str] | None, typer.Option(help="Take only runs of this queue of the pool, heavy or light; again for more.")
    ] = None,
    reports: Annotated[
        Path | None,
        typer.Option(help="Workspace whose reports and pictures are served on loopback, for links in the UI."),
    ] = None,
) -> None:
    """Run the deployments of the configured Prefect server, until asked to stop; then let runs end well first."""
    from flows.operations.connection import server_client
    from flows.operations.reports import serving_reports
    from flows.operations.worker import run_worker

    with server_client():
        # Asked before the worker starts, which would only repeat that nobody answers.
        pass
    serving: AbstractContextManager[dict[str, str]] = serving_reports(reports) if reports else nullcontext({})
    with serving as variables:
        code = run_worker(queue or (), variables)
    raise typer.Exit(code)


@app.command(
    "resume",
    cls=PlainCommand,
    epilog=examples(
        "t2i resume polite-otter",
        "t2i resume 0199a3f2-7c1e-7000-8000-000000000000",
        notes=("A run without a server or deployment needs none of this: the same command goes on.",),
    ),
)
def resume_command(
    run: Annotated[
        str, typer.Argument(help="Id or name of a flow run that crashed, failed, was cancelled, or stays pending.")
    ],
) -> None:
    """Start a flow run on the configured Prefect server again; it goes on where it stopped."""
    from flows.operations.connection import server_client

    with server_client() as client:
        from flows.operations.resume import resume

        found = resume(client, run)
    say(f"{found.name} ({found.id}) is scheduled; a worker takes it up.")
