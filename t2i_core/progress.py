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
