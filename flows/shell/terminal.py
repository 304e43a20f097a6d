"""What the command says: lines, JSON, and now and then a line of progress where there is no terminal for bars."""

import json
import time
from typing import Any, TextIO

import typer

from t2i_core.progress import Progress, describe_progress, plain

LINE_SECONDS = 10.0
# Between lines that only say who is waited for.
WAITING_SECONDS = 60.0


def say(line: str) -> None:
    """Write one line on standard output, with nothing in it that a terminal would obey."""
    typer.echo(plain(line))


def say_json(data: Any, indent: int | None = 2) -> None:
    """Write JSON on standard output, likewise: what a terminal would obey is spelled as JSON spells it."""
    text = json.dumps(data, indent=indent, ensure_ascii=False)
    typer.echo("\n".join("".join(map(_json_visible, line)) for line in text.split("\n")))


def _json_visible(char: str) -> str:
    return char if plain(char) == char else json.dumps(char)[1:-1]


class LineView:
    """Writes a plain line for a progress record: for the first of each step, then every ten seconds.

    Of a step that stands still a line says who is waited for, then one a minute.

    Args:
        file: to write to, standard error by default.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self._file = file
        self._step = ""
        self._shown_at = 0.0
        self._is_waiting = False

    def __call__(self, progress: Progress) -> None:
        """Show one record."""
        now = time.monotonic()
        pause = WAITING_SECONDS if progress.waiting and self._is_waiting else LINE_SECONDS
        if progress.step != self._step or now - self._shown_at >= pause:
            self._step, self._shown_at, self._is_waiting = progress.step, now, bool(progress.waiting)
            typer.echo(describe_progress(progress), self._file, err=True)
