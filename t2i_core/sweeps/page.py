"""What a sweep found: a curve and a table with intervals, and the best and the fastest way as files to draw with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_core.comparison.judged import Judged
from t2i_core.evaluation.metrics.section import Column, Mark, Row, Section, Table
from t2i_core.evaluation.page import render_sections, tables_as_text
from t2i_core.folders.atomic import write_atomically
from t2i_core.promotion.config import FigureName
from t2i_core.promotion.paired import evidence_of, score_of
from t2i_core.promotion.registry import Interval
from t2i_core.report.charts import Point, interval_chart
from t2i_core.sweeps.config import AXES

LEAD = (
    "The same prompts and seeds for every way, so that differences are paired. As good: the 95 % interval of best "
    "minus this does not lie above 0. The best of many is a little flattered; judge it again with another seed."
)


@dataclass(frozen=True, slots=True)
class Way:
    """One way of drawing, judged.

    Attributes:
        name: of it.
        settings: that it sets.
        score: its figure.
        behind: best minus this, paired; None for the best one itself.
        seconds: to draw a picture, on that machine and at that moment.
    """

    name: str
    settings: Mapping[str, Any]
    score: Interval
    behind: Interval | None
    seconds: float

    @property
    def is_as_good(self) -> bool:
        """Whether it cannot be told from the best one."""
        return self.behind is None or self.behind.low <= 0


def judge_ways(
    judged: Mapping[str, Judged], tried: Mapping[str, Mapping[str, Any]], figure: FigureName = "auto"
) -> tuple[str, list[Way]]:
    """Compare all ways with the best one.

    Args:
        judged: evaluations of one run by the name of the way.
        tried: settings of each.
        figure: what is compared.

    Returns:
        What was compared, and the ways in their order.

    Raises:
        ConfigError: there is no such figure, or its gate failed.
        DataError: an evaluation is damaged.
    """
    scores = {name: score_of(each, figure) for name, each in judged.items()}
    best = max(scores, key=lambda name: scores[name][1].value)
    behind = {
        name: evidence_of(judged[best], each, "", figure).difference for name, each in judged.items() if name != best
    }
    ways = [
        Way(name, tried[name], scores[name][1], behind.get(name), each.seconds_a_picture)
        for name, each in judged.items()
    ]
    return scores[best][0], ways


def best_of(ways: list[Way]) -> Way:
    """Give the way with the highest figure."""
    return next(way for way in ways if way.behind is None)


def fastest_of(ways: list[Way]) -> Way:
    """Give the fastest of the ways that cannot be told from the best one."""
    return min((way for way in ways if way.is_as_good), key=lambda way: way.seconds)


def write_sweep(output_dir: Path, figure: str, ways: list[Way]) -> None:
    """Write `report.html`, `report.md`, `best.json` and `fastest.json`."""
    section = _section(figure, ways)
    for name, way in (("best", best_of(ways)), ("fastest", fastest_of(ways))):
        write_atomically(output_dir / f"{name}.json", json.dumps(dict(way.settings), indent=2).encode() + b"\n")
    text = "\n".join(["# Sweep", *tables_as_text([section]), "", describe(figure, ways), ""])
    write_atomically(output_dir / "report.md", text.encode())
    html = render_sections(
        "t2i_core.sweeps",
        {"ways": section},
        curve=interval_chart(*_curves(ways)),
        figure=figure,
        summary=describe(figure, ways),
        lead=LEAD,
    )
    write_atomically(output_dir / "report.html", html.encode())


def describe(figure: str, ways: list[Way]) -> str:
    """Say what came out, in a sentence or two."""
    best, fastest = best_of(ways), fastest_of(ways)
    told = f"Best by {figure}: {best.name}, {_spelt(best.score)}."
    if fastest is not best and fastest.behind:
        told += f" As good, and the fastest: {fastest.name}, {_spelt(fastest.behind)} behind it, "
        told += f"{fastest.seconds:.3f} s a picture where {best.name} takes {best.seconds:.3f}."
    return told


def _section(figure: str, ways: list[Way]) -> Section:
    columns = [
        Column(figure.capitalize(), "text", brief=figure),
        Column("Best − this", "text", brief="best − this"),
        Column("", "text", brief="as good"),
        Column("Seconds a picture", "count", brief="seconds a picture"),
    ]
    rows = []
    for way in sorted(ways, key=lambda way: -way.score.value):
        mark = Mark("best", "good") if way.behind is None else Mark("as good", "good") if way.is_as_good else None
        behind = _spelt(way.behind) if way.behind else None
        rows.append(Row(way.name, [_spelt(way.score), behind, mark, f"{way.seconds:.3f}"]))
    return Section(title="Ways of drawing", blocks=[Table("All ways, the best first", "Way", columns, rows)])


def _spelt(interval: Interval) -> str:
    return f"{interval.value:.3f} [{interval.low:.3f}, {interval.high:.3f}]"


def _curves(ways: list[Way]) -> tuple[dict[str, list[Point]], dict[float, str]]:
    """Lay ways out along the first setting that has several numbers, a curve for each of the others; else in a row."""
    tried = [way for way in ways if way.settings]
    axis = next((s for s, mark in AXES.values() if mark and len({way.settings.get(s) for way in tried}) > 1), None)
    curves: dict[str, list[Point]] = {}
    ticks: dict[float, str] = {}
    for number, way in enumerate(tried):
        place = float(way.settings[axis]) if axis else float(number)
        others = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in way.settings.items() if name != axis)
        curves.setdefault(others or "all" if axis else "all", []).append(
            (place, way.score.value, way.score.low, way.score.high)
        )
        ticks[place] = f"{place:g}" if axis else way.name
    return {name: sorted(points) for name, points in curves.items()}, ticks
