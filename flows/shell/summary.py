"""The short table that ends a job: what was kept, how fast it went, and the scores. Everything is read from disk."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from t2i_core.data.account.shortfall import shortfalls
from t2i_core.data.counts import Counts
from t2i_core.door import is_file, read_file
from t2i_core.evaluation.metrics.section import Section, Table, spelt
from t2i_core.folders.layout import MAX_LOG_BYTES, MAX_STATS_BYTES
from t2i_core.folders.manifest import read_manifest
from t2i_core.progress import plain

SPEED_METRIC = "perf/images_per_second"


def print_summary(console: Console, workspace: Path, scores: str = "evaluation") -> None:
    """Print what a finished pipeline did.

    Args:
        console: where to print.
        workspace: the pipeline's folder.
        scores: the folder in it that holds all of them.
    """
    console.print(summary(workspace, scores))
    # Never wrapped, so that a terminal makes it a link and a script can read it.
    console.print(plain(f"report: {workspace / scores / 'report.html'}"), soft_wrap=True, highlight=False, markup=False)


def summary(workspace: Path, scores: str) -> RenderableType:
    """Lay out the pictures, the trainings and the scores, with 95 % intervals, of a finished pipeline."""
    metrics = json.loads(read_file(workspace / scores / "metrics.json", MAX_LOG_BYTES))
    parts = [pictures_table(workspace / "dataset"), trainings_table(workspace / "runs"), *score_tables(metrics)]
    spaced = [row for part in parts for row in (part, "")]
    missing = shortfalls(read_manifest(workspace / "dataset", "dataset").counts)
    lacking = (
        Text(plain(f"not all of it: {shortfall}"), style="yellow") for shortfall in missing if shortfall.is_grave
    )
    return Group(
        *spaced, *lacking, *(Text(plain(f"not scored: {why}"), style="yellow") for why in metrics["not_scored"])
    )


def pictures_table(dataset_dir: Path) -> RichTable:
    """Count pictures kept, and rejected by reason."""
    counts = read_manifest(dataset_dir, "dataset").counts
    speed = pictures_per_second(dataset_dir)
    table = _table("Pictures", "count")
    table.add_row(f"kept{f' ({speed:,.0f} pictures/s)' if speed else ''}", f"{counts['kept']:,}")
    for reason, count in Counts.read(counts).ranked().items():
        table.add_row(Text(plain(f"rejected: {reason}")), f"{count:,}")
    return table


def pictures_per_second(dataset_dir: Path) -> float:
    """Give the rate over all shards, from the first one's start to the last one's end; 0 when not known."""
    paths = (dataset_dir / "shards").glob("*_stats.json")
    stats = [json.loads(read_file(path, MAX_STATS_BYTES, levels=1)) for path in paths]
    if not stats:
        return 0.0
    seconds = max(shard["end_time"] for shard in stats) - min(shard["start_time"] for shard in stats)
    return float(sum(shard["count"] for shard in stats)) / seconds if seconds > 0 else 0.0


def trainings_table(runs_dir: Path) -> RichTable:
    """Give images seen and images a second of each training."""
    table = _table("Training", "pictures seen", "pictures/s")
    for run_dir in sorted(path for path in runs_dir.iterdir() if is_file(path / "manifest.json")):
        images, speed = training_figures(run_dir)
        table.add_row(Text(plain(run_dir.name)), f"{images:,}", f"{speed:,.0f}")
    return table


def training_figures(run_dir: Path) -> tuple[int, float]:
    """Read images seen, and the median of the logged images a second, of one run."""
    lines = read_file(run_dir / "metrics.jsonl", MAX_LOG_BYTES).splitlines()
    rows = [json.loads(line) for line in lines]
    speeds = sorted(float(row[SPEED_METRIC]) for row in rows if row.get(SPEED_METRIC))
    images = max((int(row.get("images", 0)) for row in rows), default=0)
    return images, speeds[len(speeds) // 2] if speeds else 0.0


def score_tables(metrics: Mapping[str, Any]) -> list[RichTable]:
    """Give what each metric shows in short, and the figures of all."""
    sections = [Section.parse(section) for section in metrics["sections"].values()]
    tables = [short_table(table) for section in sections for table in section.tables]
    return [*tables, figures_table(sections)] if any(section.figures for section in sections) else tables


def short_table(table: Table) -> RichTable:
    """Give a table of a metric: shares in percent, each with its 95 % interval."""
    percent = any(column.shows == "share" for column in table.columns)
    title = f"{table.title}, % [95 % interval]" if percent else table.title
    shown = _table(title, *(column.brief for column in table.columns))
    for row in table.rows:
        cells = (spelt(cell, column.shows, percent=True) for cell, column in zip(row.cells, table.columns, strict=True))
        shown.add_row(*(Text(plain(text)) for text in (row.name, *cells)), style="bold" if row.total else "")
    return shown


def figures_table(sections: Sequence[Section]) -> RichTable:
    """Give the figures of all metrics, and why one is withheld."""
    table = _table("Figures", "value", "95 % interval")
    for figure in (figure for section in sections for figure in section.figures):
        reason = "" if figure.value else f": {figure.note}"
        style = {"good": "", "warn": "yellow", "bad": "red"}[figure.level]
        table.add_row(Text(plain(f"{figure.name}{reason}")), Text(figure.text, style=style), Text(figure.interval))
    return table


def _table(title: str, *columns: str) -> RichTable:
    table = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table
