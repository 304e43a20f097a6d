"""Progress for a person: a bar on a terminal, a plain line now and then elsewhere."""

import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from t2i_core.progress import Progress, describe_progress

LINE_SECONDS = 10.0


class ProgressView:
    """Shows progress records on a console; use as a context manager, and call it with each record."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bars: dict[str, TaskID] = {}
        self._step = ""
        self._shown_at = 0.0
        self._display = Bars(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[text]}", style="dim"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
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
        if progress.step not in self._bars:
            self._bars[progress.step] = self._display.add_task(progress.step, total=progress.total, text="")
        text = describe_progress(progress).removeprefix(f"{progress.step}: ")
        self._display.update(self._bars[progress.step], completed=progress.done, total=progress.total, text=text)

    def _print_line(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.step != self._step or now - self._shown_at >= LINE_SECONDS:
            self._step, self._shown_at = progress.step, now
            self._console.print(describe_progress(progress), highlight=False, markup=False, soft_wrap=True)
