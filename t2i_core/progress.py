"""How the core tells what it is doing: a callback that gets small records, never a print or a bar."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One report of a step under way.

    Attributes:
        step: ingest, caption, train, evaluate or a part of one ("train cnn").
        done: units finished.
        total: units in all, or None when not known.
        unit: what is counted, plural ("pictures").
        fields: figures worth showing beside it, such as {"loss": 0.1, "images/s": 290}.
    """

    step: str
    done: float
    total: float | None
    unit: str
    fields: Mapping[str, float | int | str] = field(default_factory=dict)


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Report to nobody."""


def describe_progress(progress: Progress) -> str:
    """Write a record in one line, such as "train cnn: 1,200 of 4,000 images, loss 0.1"."""
    total = "" if progress.total is None else f" of {progress.total:,.0f}"
    parts = [f"{progress.step}: {progress.done:,.0f}{total} {progress.unit}"]
    return ", ".join(parts + [f"{name} {_show(value)}" for name, value in progress.fields.items()])


def _show(value: float | int | str) -> str:
    return f"{value:,.4g}" if isinstance(value, float) else str(value)
