"""`t2i doctor`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from flows.commands.step import command_app
from flows.operations.connection import server_client
from flows.shell.help import PlainCommand, examples
from flows.shell.server import try_server
from t2i_core.doctor import Finding, examine
from t2i_core.progress import plain

app = command_app()


@app.command("doctor", cls=PlainCommand, epilog=examples("t2i doctor", "t2i doctor --quick", "t2i doctor --server"))
def doctor_command(
    quick: Annotated[bool, typer.Option("--quick", help="Skip starting a Prefect server.")] = False,
    server: Annotated[
        bool,
        typer.Option("--server", help="Look at the configured Prefect server instead: pool, worker, automations, ..."),
    ] = False,
) -> None:
    """Say what works here, and what to do about what does not."""
    console = Console()
    findings = _server_findings() if server else examine(Path()) + ([] if quick else [try_server()])
    for finding in findings:
        mark = "[green]ok  [/]" if finding.works else "[red]FAIL[/]" if finding.required else "[yellow]--  [/]"
        console.print(f"{mark} [bold]{finding.name}[/]: ", end="")
        console.print(plain(finding.detail), markup=False, highlight=False, soft_wrap=True)
        if finding.advice:
            console.print(f"       {plain(finding.advice)}", markup=False, highlight=False, soft_wrap=True)
    if any(finding.required and not finding.works for finding in findings):
        raise typer.Exit(1)


def _server_findings() -> list[Finding]:
    with server_client() as client:
        from flows.operations.findings import examine_server

        return examine_server(client)
