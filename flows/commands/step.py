"""What the commands of the steps share: their options, and doing a step as a flow or straight from the core."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from flows.shell.adhoc import adhoc_run
from flows.shell.terminal import LineView, say
from flows.steps import CoreSteps
from t2i_core.data.account.shortfall import shortfalls
from t2i_core.errors import ConfigError
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.hits import HitCheck, hits_checked
from t2i_core.folders.layout import require_local
from t2i_core.folders.manifest import StepRef
from t2i_core.progress import OnProgress
from t2i_core.training.curve import validation_curve, verdict

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

T = TypeVar("T")


def local_folder(folder: Path) -> Path:
    """Check that a folder to write is one of this machine, before anything is started.

    Raises:
        typer.BadParameter: it is the URL of a store.
    """
    try:
        require_local(folder)
    except ConfigError as err:
        raise typer.BadParameter(str(err)) from err
    return folder


OutputDir = Annotated[
    Path, typer.Option("--output-dir", callback=local_folder, help="Folder to write; an unfinished one is resumed.")
]


RunDir = Annotated[Path, typer.Argument(help="A finished run or system folder, or champion.")]
NoPrefect = Annotated[bool, typer.Option("--no-prefect", help="Straight from the core, without a Prefect server.")]
Replace = Annotated[
    bool, typer.Option("--replace", help="Replace a folder made with other options; it is kept as NAME.previous.")
]


VerifyHits = Annotated[
    HitCheck,
    typer.Option(
        "--verify-hits", help="How what is there already is looked at: sizes, the bytes of a sample, or of all files."
    ),
]


def command_app() -> typer.Typer:
    """Give a module's commands their common looks: plain help, for the boxes cut long option names short."""
    return typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def conflict(*, replace: bool) -> OnConflict:
    """Say what to do with a folder that holds other work."""
    return "replace" if replace else "refuse"


def run_step(
    in_core: Callable[[CoreSteps], StepRef],
    as_flow: "Callable[[], State[Any]]",
    *,
    no_prefect: bool,
    verify_hits: HitCheck = "size",
) -> None:
    """Do one step, straight from the core or as a flow run here, and tell what came of it."""

    def referred() -> StepRef:
        from tasks.runtime import reference

        return reference(as_flow())

    with hits_checked(verify_hits):
        ref = run_here(in_core, referred, no_prefect=no_prefect)
    tell_result(ref)


def run_here(in_core: Callable[[CoreSteps], T], as_flow: Callable[[], T], *, no_prefect: bool) -> T:
    """Do something straight from the core, or as a flow run here, with its progress shown, and give what came of it.

    Args:
        in_core: does it by the given steps.
        as_flow: does it as a flow, which it imports itself: Prefect's settings are made before.
        no_prefect: which of the two.
    """
    with progress() as view:
        if no_prefect:
            return in_core(CoreSteps(on_progress=view))
        with adhoc_run(view):
            return as_flow()


def tell_result(ref: StepRef) -> None:
    """Say where the result lies, what it holds, and what a dataset lacks."""
    missing = shortfalls(ref.counts) if ref.kind == "dataset" else []
    done = "done in part" if any(shortfall.is_grave for shortfall in missing) else "done"
    counts = ", ".join(f"{name} {count:,}" for name, count in sorted(ref.counts.items()))
    say(f"{ref.path}: {'already ' if ref.hit else ''}{done} ({counts})")
    for shortfall in missing:
        say(f"{'not all of it: ' if shortfall.is_grave else 'note: '}{shortfall}")
    if ref.kind == "run" and (told := verdict(validation_curve(ref.path))):
        say(told)
    report = ref.path / "report.html"
    if report.is_file():
        say(f"report: {report}")


@contextmanager
def progress() -> Iterator[OnProgress]:
    """Show progress on stderr while the block runs."""
    if not sys.stderr.isatty():
        yield LineView()
        return
    from rich.console import Console

    from flows.shell.bars import BarView

    with BarView(Console(stderr=True)) as view:
        yield view
