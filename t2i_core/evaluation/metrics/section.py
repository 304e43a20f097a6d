"""What a metric gives: figures, the gates behind them, and blocks that every form of the report draws.

The page shows every block. The short report (which is the artifact in Prefect), the terminal and `metrics.json` take
the figures, the gates and those columns of tables that have a short title. So a metric says once what it found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.judges.statistics import Estimate

Level = Literal["good", "warn", "bad"]
RANK: dict[Level, int] = {"good": 0, "warn": 1, "bad": 2}
OUTCOMES: dict[Level, str] = {"good": "passed", "warn": "passed in part", "bad": "failed"}

# How a cell is shown: as it is, likewise to the right, or an estimate as figure, bar and interval, as bar alone, as
# figure alone, as figure and interval, or likewise with a sign.
Shows = Literal["text", "count", "share", "line", "point", "figure", "gap"]


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure for the card on top of the report.

    Attributes:
        name: what it is.
        value: the figure, or None where it is withheld.
        note: how to read it, or why it is withheld.
        level: how far to trust it.
        unit: "%" for a share that is shown in percent, any other unit as it is, "" for a plain number.
    """

    name: str
    value: Estimate | None
    note: str = ""
    level: Level = "good"
    unit: str = ""

    def _spelt(self, value: float) -> str:
        if self.unit == "%":
            return f"{100 * value:.{0 if value >= 0.1 else 1}f} %"
        return f"{value:.2f} {self.unit}".rstrip()

    @property
    def text(self) -> str:
        """The figure without its interval."""
        return self._spelt(self.value.value) if self.value else "withheld"

    @property
    def interval(self) -> str:
        """The ends of the 95 % interval, "" where the figure is withheld."""
        return f"{self._spelt(self.value.low)} to {self._spelt(self.value.high)}" if self.value else ""

    @property
    def meaning(self) -> str:
        """Interval and note in one line."""
        return "; ".join(filter(None, (self.interval and f"95 % interval {self.interval}", self.note)))


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether something may judge, and why not."""

    name: str
    level: Level
    note: str = ""

    @property
    def text(self) -> str:
        """The gate's name and outcome."""
        return f"{self.name} {OUTCOMES[self.level]}"


@dataclass(frozen=True, slots=True)
class Mark:
    """A few words that say how well something went."""

    text: str
    level: Level


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, or a command; what stands between backticks is shown as code.

    Attributes:
        text: what it says.
        mark: stands before it.
        quiet: it only explains.
        command: it is a line for a shell.
    """

    text: str
    mark: Mark | None = None
    quiet: bool = False
    command: bool = False


Cell = Estimate | Mark | str | int | None


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        title: its head.
        shows: how its cells are shown.
        brief: its head in the short forms; without one it is left out there.
        tone: what its bars are about: "model" stands out.
    """

    title: str
    shows: Shows = "text"
    brief: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table: its name, a remark on it, and a cell for each column; a total stands out."""

    name: str
    cells: Sequence[Cell]
    remark: str = ""
    total: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table.

    Attributes:
        title: what it holds.
        head: what the rows are.
        columns: all others.
        rows: as many cells each as there are columns.
        note: how to read it.
        folds: on a narrow screen each row becomes a block of its own.
    """

    title: str
    head: str
    columns: Sequence[Column]
    rows: Sequence[Row]
    note: str = ""
    folds: bool = False

    def brief(self) -> "Table":
        """Keep the columns that have a short title."""
        kept = [i for i, column in enumerate(self.columns) if column.brief]
        rows = [replace(row, cells=[row.cells[i] for i in kept]) for row in self.rows]
        return replace(self, columns=[self.columns[i] for i in kept], rows=rows)

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Table":
        """Read a table of a file."""
        rows = [Row(**row | {"cells": [_cell(cell) for cell in row["cells"]]}) for row in data["rows"]]
        return cls(**dict(data) | {"columns": [Column(**column) for column in data["columns"]], "rows": rows})


def _cell(data: Any) -> Cell:
    return data if not isinstance(data, dict) else Mark(**data) if "level" in data else Estimate(**data)


def spelt(cell: Cell, shows: Shows, *, percent: bool = False) -> str:
    """Write a cell as text, shares in percent if wanted."""
    if not isinstance(cell, Estimate):
        return "-" if cell is None else cell.text if isinstance(cell, Mark) else str(cell)
    parts = cell.value, cell.low, cell.high
    if percent and shows == "share":
        return "{:.0f} [{:.0f}, {:.0f}]".format(*(100 * part for part in parts))
    return ("{:+.2f} [{:+.2f}, {:+.2f}]" if shows == "gap" else "{:.2f} [{:.2f}, {:.2f}]").format(*parts)


@dataclass(frozen=True, slots=True, eq=False)
class Chart:
    """The distributions of several samples, by name, or several lines, each a pair of x and y values."""

    title: str
    x_label: str
    samples: Mapping[str, npt.NDArray[np.float64]] | None = None
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A picture, (H, W, 3) uint8, what to call it, what to write below it, and how it was judged, if it was."""

    pixels: npt.NDArray[np.uint8]
    label: str
    caption: str = ""
    level: Level | None = None


@dataclass(frozen=True, slots=True)
class Group:
    """Pictures that belong together, under a word or above one."""

    pictures: Sequence[Picture]
    head: str = ""
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Groups of pictures: behind a prompt with its name, or one after the other.

    Attributes:
        title: what they are.
        rows: prompt, its name, and its groups; one row without a prompt is a strip.
    """

    title: str
    rows: Sequence[tuple[str, str, Sequence[Group]]]


@dataclass(frozen=True, slots=True)
class Link:
    """A file or folder that a report points to, by a path relative to the report's folder."""

    text: str
    href: str


@dataclass(frozen=True, slots=True)
class Facts:
    """Names and what is known of each, as words or links."""

    title: str
    facts: Mapping[str, str | Sequence[Link]]


@dataclass(frozen=True, slots=True)
class Beside:
    """Small tables and charts, side by side as far as there is room."""

    title: str
    blocks: Sequence[Table | Chart | Picture]


Block = Text | Table | Chart | Pictures | Facts | Beside


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Section:
    """What a metric found.

    Attributes:
        title: its heading.
        figures: what the card on top shows of it.
        gates: what stands behind the figures.
        blocks: what the page shows, in order; without any it has no place there.
        key: where `data` stands in `metrics.json`; several sections may share one.
        data: every number, as plain data and records such as `Estimate`.
        by_picture: what `samples.jsonl` says of each picture, by who drew it, prompt and number.
        counts: numbers for the manifest.
        not_scored: what was not measured, or is withheld, and why.
    """

    title: str
    figures: Sequence[Figure] = ()
    gates: Sequence[Gate] = ()
    blocks: Sequence[Block] = ()
    key: str = ""
    data: Mapping[str, Any] | None = None
    by_picture: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]] | None = None
    counts: Mapping[str, int] | None = None
    not_scored: Sequence[str] = ()

    @property
    def tables(self) -> list[Table]:
        """The tables of the short forms."""
        tables = [block.brief() for block in self.blocks if isinstance(block, Table)]
        return [table for table in tables if table.columns]

    def as_dict(self) -> dict[str, Any]:
        """Give what the short forms show."""
        return {"title": self.title, "figures": self.figures, "gates": self.gates, "tables": self.tables}

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> "Section":
        """Read what was written of `as_dict`."""
        return cls(
            title=data["title"],
            figures=[Figure(**figure | {"value": _cell(figure["value"])}) for figure in data["figures"]],
            gates=[Gate(**gate) for gate in data["gates"]],
            blocks=[Table.parse(table) for table in data["tables"]],
        )
