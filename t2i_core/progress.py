"""How the core tells what it is doing: a callback that gets small records, never a print or a bar."""

import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of a step under way.

    Attributes:
        step: ingest, caption, train, evaluate or a part of one ("train cnn").
        done: units finished.
        total: units in all, or None when not known.
        unit: what is counted, plural ("pictures").
        fields: figures worth showing beside it, such as {"loss": 0.1, "images/s": 290}.
        seconds_left: how long the rest will take, in seconds, where the step knows better than its pace so far tells.
        waiting: how long the step has stood still, and for whom, such as "0:00:42 for example.org"; "" while it moves.
    """

    step: str
    done: float
    total: float | None
    unit: str
    fields: Mapping[str, float | int | str] = field(default_factory=dict)
    seconds_left: float | None = None
    waiting: str = ""


OnProgress = Callable[[Progress], None]


def plain(text: str) -> str:
    """Spell out what could move a terminal's cursor, color or hide its text, or turn its direction.

    Captions, prompts, URLs, hosts, names of files and messages of errors come from anywhere. Line ends are spelled out
    as well.
    """
    return text if text.isascii() and text.isprintable() else "".join(map(_visible, text))


def _visible(char: str) -> str:
    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    return ascii(char)[1:-1]


def ignore_progress(_: Progress) -> None:
    """Report to nobody."""


def describe_progress(progress: Progress) -> str:
    """Write a record in one line, such as "train cnn: 1,200 of 4,000 images, loss 0.1, 0:01:10 left"."""
    left = "" if progress.seconds_left is None else f", {describe_seconds(progress.seconds_left)} left"
    return f"{plain(progress.step)}: {describe_figures(progress)}{left}"


def describe_figures(progress: Progress) -> str:
    """Write the same without the step's name and the time left, which a bar shows in places of their own."""
    total = "" if progress.total is None else f" of {progress.total:,.0f}"
    parts = [f"{progress.done:,.0f}{total} {progress.unit}"]
    parts += [f"{name} {_show(value)}" for name, value in progress.fields.items()]
    return plain(", ".join(parts + ([f"waiting {progress.waiting}"] if progress.waiting else [])))


def describe_seconds(seconds: float) -> str:
    """Write a time as hours, minutes and seconds: 0:01:10, and with days: 2 days, 0:01:10."""
    return str(timedelta(seconds=round(seconds)))


def _show(value: float | int | str) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"
