"""Progress for a person: a bar on a terminal, a plain line now and then elsewhere."""

import json
import time
from types import TracebackType
from typing import Any, Self

import typer
from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from t2i_core.progress import Progress, describe_figures, describe_progress, describe_seconds, plain

LINE_SECONDS = 10.0


def say(line: str) -> None:
    """Write one line on standard output, with nothing in it that a terminal would obey."""
    typer.echo(plain(line))


def say_json(data: Any, indent: int | None = 2) -> None:
    """Write JSON on standard output, likewise: what a terminal would obey is spelled as JSON spells it."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    typer.echo("\n".join("".join(map(_json_visible, line)) for line in text.split("\n")))


def _json_visible(char: str) -> str:
    return char if plain(char) == char else json.dumps(char)[1:-1]


class TimeLeftColumn(TimeRemainingColumn):
    """The time left as the step tells it, or else as the pace of the bar tells it."""

    def render(self, task: Task) -> Text:
        """Show the time left of one bar."""
        seconds = task.fields["seconds_left"]
        return super().render(task) if seconds is None else Text(describe_seconds(seconds), style="progress.remaining")


class ProgressView:
    """Shows progress records on a console; use as a context manager, and call it with each record."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._step = ""
        self._shown_at = 0.0
        self._display = Bars(
            SpinnerColumn(),
            # Never markup: a name may hold brackets.
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=16),
            # Takes what the others leave, and a second line where that is little, so that no figure is cut off.
            TextColumn("{task.fields[text]}", markup=False, style="dim", table_column=Column(ratio=1)),
            TimeElapsedColumn(),
            TimeLeftColumn(),
            console=console,
            expand=True,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def __call__(self, progress: Progress) -> None:
        """Show one record."""
        if self._console.is_terminal:
            self._update_bar(progress)
        else:
            self._print_line(progress)

    def _update_bar(self, progress: Progress) -> None:
        shown: dict[str, Any] = {"text": describe_figures(progress), "seconds_left": progress.seconds_left}
        if progress.step not in self._bars:
            self._bars[progress.step] = self._display.add_task(plain(progress.step), total=progress.total, **shown)
        self._display.update(self._bars[progress.step], completed=progress.done, total=progress.total, **shown)

    def _print_line(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.step != self._step or now - self._shown_at >= LINE_SECONDS:
            self._step, self._shown_at = progress.step, now
            self._console.print(describe_progress(progress), highlight=False, markup=False, soft_wrap=True)
