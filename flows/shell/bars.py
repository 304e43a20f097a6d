"""Progress on a terminal: a bar for each step. Only a terminal needs it, and it takes a while to import."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, Task, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars
from rich.table import Column
from rich.text import Text

from t2i_core.progress import Progress, describe_figures, describe_seconds, plain


class TimeLeftColumn(TimeRemainingColumn):
    """The time left as the step tells it, or else as the pace of the bar tells it."""

    def render(self, task: Task) -> Text:
        """Show the time left of one bar."""
        seconds = task.fields["seconds_left"]
        return super().render(task) if seconds is None else Text(describe_seconds(seconds), style="progress.remaining")


class BarView:
    """Shows a bar for each step on a terminal; use as a context manager, and call it with each record."""

    def __init__(self, console: Console) -> None:
        self._bars: dict[str, TaskID] = {}
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
        shown: dict[str, Any] = {"text": describe_figures(progress), "seconds_left": progress.seconds_left}
        if progress.step not in self._bars:
            self._bars[progress.step] = self._display.add_task(plain(progress.step), total=progress.total, **shown)
        self._display.update(self._bars[progress.step], completed=progress.done, total=progress.total, **shown)
