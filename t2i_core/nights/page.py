"""The page over all nights: what was new, the scores with their intervals, what became the champion and why."""

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from t2i_core.evaluation.metrics.section import Block, Cell, Column, Facts, Link, Mark, Row, Section, Table, Text
from t2i_core.evaluation.page import render_sections, tables_as_text
from t2i_core.folders.atomic import write_atomically
from t2i_core.nights.record import Night, read_nights
from t2i_core.progress import describe_seconds
from t2i_core.promotion.registry import Interval, Promotion, promotions
from t2i_core.report.charts import Point, interval_chart

HISTORY_NAME = "history.html"
MARKS: dict[str, Mark | str] = {
    "": "under way",
    "first": Mark("first champion", "good"),
    "promote": Mark("promoted", "good"),
    "approved": Mark("approved", "good"),
    "leave": "left",
    "declined": "declined",
    "ask": Mark("a person decides", "warn"),
}
SCORE_LEAD = (
    "What each night's challenger reached, and the champion of that time on the same prompts and seeds, with 95 % "
    "intervals over what is asked for. The prompts of different nights may differ."
)
NEW_NOTE = (
    "Added: samples that the captions of the night before did not have; removed: that only those had. Quiet: how often "
    "neither data nor job had changed since."
)


def write_history(workspace: Path) -> Path:
    """Write `history.html` and give its path.

    Raises:
        DataError: the record of a night or of a promotion is damaged.
    """
    nights = read_nights(workspace)
    html = render_sections(
        "t2i_core.nights",
        history(workspace),
        curve=interval_chart(_series(nights), {float(i): night.name for i, night in enumerate(nights)}),
        figures=", ".join(dict.fromkeys(night.figure for night in nights if night.figure)),
        num_nights=len(nights),
        champion=next((p.champion for p in reversed(promotions(workspace))), None),
        lead=SCORE_LEAD,
    )
    path = workspace / HISTORY_NAME
    write_atomically(path, html.encode())
    return path


def history(workspace: Path) -> dict[str, Section]:
    """Lay out all nights, the last one first, and all changes of champion."""
    nights, changes = read_nights(workspace)[::-1], promotions(workspace)
    return {
        "decisions": Section(title="Decisions", blocks=[_decisions(nights, changes), *_reports(workspace, nights)]),
        "data": Section(title="Data and cost", blocks=[_data(nights)]),
        "promotions": Section(title="Champions", blocks=[_changes(changes[::-1])]),
    }


def history_as_text(workspace: Path) -> str:
    """Write the short form, for an artifact."""
    lines = ["# Nights", *tables_as_text(history(workspace).values())]
    return "\n".join([*lines, "", f"The whole page: `{workspace / HISTORY_NAME}`", ""])


def _series(nights: Sequence[Night]) -> dict[str, list[Point]]:
    challengers = [_point(i, night.score) for i, night in enumerate(nights) if night.score]
    champions = [_point(i, night.evidence.champion) for i, night in enumerate(nights) if night.evidence]
    return {"challenger": challengers, "champion": champions}


def _point(place: int, interval: Interval) -> Point:
    return (float(place), interval.value, interval.low, interval.high)


def _decisions(nights: Sequence[Night], changes: Sequence[Promotion]) -> Table:
    taken = {change.champion.digest for change in changes if change.who == "person"}
    columns = [
        Column("Challenger", "text", brief="challenger"),
        Column("Champion", "text", brief="champion"),
        Column("Challenger − champion", "text", brief="challenger − champion"),
        Column("Decision", "text", brief="decision"),
        Column("Why", "text"),
    ]
    rows = []
    for night in nights:
        by_hand = night.outcome == "ask" and night.challenger and night.challenger.digest in taken
        mark = MARKS["approved"] if by_hand else MARKS[night.outcome]
        seen = night.evidence
        figures: list[Cell] = [
            _spelt(night.score),
            _spelt(seen.champion) if seen else None,
            _spelt(seen.difference, sign=True) if seen else None,
        ]
        # The figures that it begins with stand in the columns before.
        why = (night.why.partition("; ")[2] if seen else "") or night.why
        rows.append(Row(night.name, [*figures, mark, why], remark=night.start))
    return Table("Challenger and champion", "Night", columns, rows)


def _spelt(interval: Interval | None, *, sign: bool = False) -> str | None:
    if interval is None:
        return None
    form = "{:+.3f} [{:+.3f}, {:+.3f}]" if sign else "{:.3f} [{:.3f}, {:.3f}]"
    return form.format(interval.value, interval.low, interval.high)


def _reports(workspace: Path, nights: Sequence[Night]) -> list[Block]:
    """Point to the reports of nights, as far as they are there."""
    links = {}
    for night in nights:
        names = ("comparison", "evaluations/challenger", "evaluations/champion", "captions")
        places = {name: f"nights/{night.name}/{name}/report.html" for name in names}
        there = [Link(name, quote(place)) for name, place in places.items() if (workspace / place).is_file()]
        if there:
            links[night.name] = there
    return [Facts("Reports", links)] if links else [Text("The reports of these nights are gone.", quiet=True)]


def _data(nights: Sequence[Night]) -> Table:
    names = ("Samples", "Added", "Removed", "Pictures trained on", "Quiet")
    columns = [Column(name, "count", brief=name.lower()) for name in names] + [Column("Time", "text", brief="time")]
    rows = [
        Row(
            night.name,
            [
                *(None if n is None else f"{n:,}" for n in (night.samples, night.added, night.removed, night.images)),
                f"{night.quiet:,}" if night.quiet else None,
                ", ".join(f"{part} {describe_seconds(seconds)}" for part, seconds in night.seconds.items()),
            ],
        )
        for night in nights
    ]
    return Table("What was new, and what it took", "Night", columns, rows, note=NEW_NOTE)


def _changes(changes: Sequence[Promotion]) -> Table:
    columns = [Column("Champion", "text", brief="champion"), Column("By", "text", brief="by"), Column("Why", "text")]
    rows = [
        Row(
            change.at,
            [f"`{change.champion.path}` ({change.champion.digest:.12})", f"{change.action}, {change.who}", change.why],
        )
        for change in changes
    ]
    return Table("Changes of champion", "When", columns, rows)
