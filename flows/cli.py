"""The `t2i` command: a thin door to each flow, and to the same steps without Prefect.

A command's module is imported when the command is called, so that an ingest does not wait for PyTorch. Prefect is
imported only by the commands that use it, after `prepare_environment`.
"""

import gc
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from typer.core import TyperGroup

from flows.shell.adhoc import prepare_environment
from t2i_core import __version__
from t2i_core.config import describe
from t2i_core.data.bounded.disk import explain
from t2i_core.errors import ConfigError, StoppedError, T2IError, did_you_mean
from t2i_core.progress import plain

DEBUG_VARIABLE = "T2I_DEBUG"
# What typer makes of a KeyboardInterrupt.
INTERRUPTED = 130
STOPPED = "stopped; the same command goes on from here."

FIRST_STEPS = """\b
First steps:
  t2i demo --preset demo-smoke                      the whole job in a minute
  t2i ingest photos --output-dir work/dataset       your own folder of pictures
  t2i caption work/dataset --output-dir work/captions
  t2i train work/captions --output-dir work/run --max-minutes 30
  t2i evaluate work/run --output-dir work/evaluation
  t2i generate work/run --prompt "a red circle" --output-dir work/pictures
Each command lists its options and examples: t2i COMMAND --help."""

# The module of each command, and what it does in one sentence.
COMMANDS = {
    "demo": ("job", "Run the main job on the built-in site, and print the scores."),
    "ingest": ("ingest", "Fetch pictures and their texts into a dataset folder."),
    "caption": ("caption", "Clean, filter, deduplicate and split the captions of a dataset."),
    "features": ("features", "Encode captions with a frozen encoder, for recipes that read features beside pictures."),
    "train": ("train", "Train one model; the same command resumes an unfinished run."),
    "compose": ("compose", "Make a system of finished runs that draw together: a base and what enlarges its pictures."),
    "evaluate": (
        "evaluate",
        "Draw prompts with a run or system, score the pictures and write report.html.",
    ),
    "compare": ("compare", "Set the evaluations of several systems side by side: one table, one picture grid."),
    "pipeline": (
        "job",
        "Ingest, caption, train each model and evaluate, in one workspace that the pipeline owns.",
    ),
    "nightly": ("nightly", "Learn what is new in a source, compare with the champion, and promote what is better."),
    "generate": ("generate", "Draw prompts with a finished run or system; the same seed gives the same pictures."),
    "sweep": ("sweep", "Try ways of drawing with one trained run or system, and say which is best and which as good."),
    "tune": ("tune", "Try recipes on one captions folder, stop the worse ones early, and write the best one down."),
    "promote": ("promotion", "Make a finished run or system the champion, or list who is in use."),
    "rollback": ("promotion", "Make the previous champion the champion again; the two change places."),
    "presets": (
        "presets",
        "List the recipes that trainings, captions and pipelines start from, or show one, merged and checked, as JSON.",
    ),
    "dataset": ("dataset", "List the versions of a dataset, or tell how two of them differ."),
    "verify": (
        "upkeep",
        "Compare a folder with its manifest, and say what is damaged or lost.",
    ),
    "export": ("export", "Write a dataset as plain files, or as tables with the pictures in them."),
    "purge": (
        "upkeep",
        "Remove samples from a dataset for good, and name what was made with them.",
    ),
    "lineage": (
        "upkeep",
        "Follow a score or a picture to its sources, or a URL to all that was made with it.",
    ),
    "site": ("site", "Serve the built-in site on loopback until interrupted."),
    "worker": ("server", "Run the deployments of the configured Prefect server, until asked to stop."),
    "resume": ("server", "Start a flow run on the configured Prefect server again; it goes on where it stopped."),
    "doctor": ("doctor", "Say what works here, and what to do about what does not."),
}


class Commands(TyperGroup):
    """The commands by name, each imported when it is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Name all commands in the order in which they are told."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import a command; None when there is none of this name."""
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(import_module(f"flows.commands.{COMMANDS[cmd_name][0]}").app)
        return getattr(command, "commands", {cmd_name: command})[cmd_name]

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that is asked for, or name the one that may be meant."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            ctx.fail(f"No such command {args[0]!r}{did_you_mean(args[0], COMMANDS)}.")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what a wrong one is called is shown without what a terminal would obey."""
        try:
            return super().invoke(ctx)
        except Exception as err:
            if isinstance(getattr(err, "message", None), str) and hasattr(err, "format_message"):
                err.message = "\n".join(map(plain, err.message.split("\n")))  # type: ignore[attr-defined]
            raise

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Tell what each command does, without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])


app = typer.Typer(
    name="t2i",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _tell_version(asked: bool) -> None:
    if asked:
        typer.echo(f"t2i {__version__}")
        raise typer.Exit


@app.callback(epilog=FIRST_STEPS)
def t2i(
    version: Annotated[
        bool, typer.Option("--version", callback=_tell_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """From web pages to a scored text-to-image model: ingest, caption, train, evaluate."""


def run(arguments: Sequence[str]) -> int:
    """Run the command, and end every failure in one sentence on stderr.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or config, 75 stopped and resumable.
    """
    try:
        app(args=list(arguments), prog_name="t2i")
    except SystemExit as exit_request:
        code = exit_request.code if isinstance(exit_request.code, int) else T2IError.exit_code
        return _fail(STOPPED, StoppedError.exit_code) if code == INTERRUPTED else code
    except T2IError as err:
        return _fail(str(err), err.exit_code)
    except ValidationError as err:
        return _fail(describe(err), ConfigError.exit_code)
    except OSError as err:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        explained = explain(err)
        return _fail(str(explained), explained.exit_code)
    except KeyboardInterrupt:
        return _fail(STOPPED, StoppedError.exit_code)
    except Exception as err:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        return _fail(f"{type(err).__name__}: {err} (set {DEBUG_VARIABLE}=1 to see where)", T2IError.exit_code)
    return 0


def main() -> NoReturn:
    """Entry point of the `t2i` command."""
    # Imports and events make many small objects that stay; looking through them all the time finds nothing.
    gc.set_threshold(200_000, 20, 50)
    prepare_environment()
    signal.signal(signal.SIGTERM, _interrupt)
    sys.exit(run(sys.argv[1:]))


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _fail(sentence: str, code: int) -> int:
    print(f"t2i: {plain(' '.join(sentence.split()))}", file=sys.stderr)
    return code
