"""The short table that ends a job: what was kept, how fast it went, and the scores. Everything is read from disk."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from t2i_core.data.account.shortfall import shortfalls
from t2i_core.door import is_file, read_file
from t2i_core.evaluation.benchmark import TASK_TITLES
from t2i_core.evaluation.report import SUMMARY_TITLES
from t2i_core.layout import MAX_LOG_BYTES, MAX_STATS_BYTES
from t2i_core.manifest import read_manifest
from t2i_core.progress import plain

SCORE_COLUMNS = {"model": "diffusion", "baseline": "CNN", "shuffled": "floor", "real": "ceiling"}
SPEED_METRIC = "perf/images_per_second"


def print_summary(console: Console, workspace: Path) -> None:
    """Print what a finished pipeline did.

    Args:
        console: where to print.
        workspace: the pipeline's folder.
    """
    console.print(summary(workspace))
    # Never wrapped, so that a terminal makes it a link and a script can read it.
    console.print(
        plain(f"report: {workspace / 'evaluation' / 'report.html'}"), soft_wrap=True, highlight=False, markup=False
    )


def summary(workspace: Path) -> RenderableType:
    """Lay out the pictures, the trainings and the scores, with 95 % intervals, of a finished pipeline."""
    metrics = json.loads(read_file(workspace / "evaluation" / "metrics.json", MAX_LOG_BYTES))
    parts: list[RenderableType] = [pictures_table(workspace / "dataset"), trainings_table(workspace / "runs")]
    if metrics["composition"]:
        parts.append(scores_table(metrics["composition"]["rows"]))
        if unsure := metrics["composition"]["rows"]["model"]["unsure"]:
            text = f"unsure, counted as failed: {_percent(unsure)} % of the model's pictures"
            parts.append(Text.from_markup(text))
    if metrics["clip"] and not metrics["clip"]["withheld"]:
        parts.append(clip_table(metrics["clip"]))
        if reason := metrics["clip"].get("no_headline"):
            parts.append(Text(f"CLIP skill is withheld: {reason}.", style="yellow"))
    spaced = [row for part in parts for row in (part, "")]
    missing = shortfalls(read_manifest(workspace / "dataset", "dataset").counts)
    lacking = (
        Text(plain(f"not all of it: {shortfall}"), style="yellow") for shortfall in missing if shortfall.is_grave
    )
    return Group(
        *spaced, *lacking, *(Text(plain(f"not scored: {why}"), style="yellow") for why in metrics["not_scored"])
    )


def pictures_table(dataset_dir: Path) -> Table:
    """Count pictures kept, and rejected by reason."""
    counts = read_manifest(dataset_dir, "dataset").counts
    speed = pictures_per_second(dataset_dir)
    table = _table("Pictures", "count")
    table.add_row(f"kept{f' ({speed:,.0f} pictures/s)' if speed else ''}", f"{counts['kept']:,}")
    reasons = Counter({name: count for name, count in counts.items() if name.startswith("rejected:")})
    for name, count in reasons.most_common():
        table.add_row(Text(plain(f"rejected: {name.removeprefix('rejected:')}")), f"{count:,}")
    return table


def pictures_per_second(dataset_dir: Path) -> float:
    """Give the rate over all shards, from the first one's start to the last one's end; 0 when not known."""
    paths = (dataset_dir / "shards").glob("*_stats.json")
    stats = [json.loads(read_file(path, MAX_STATS_BYTES, levels=1)) for path in paths]
    if not stats:
        return 0.0
    seconds = max(shard["end_time"] for shard in stats) - min(shard["start_time"] for shard in stats)
    return float(sum(shard["count"] for shard in stats)) / seconds if seconds > 0 else 0.0


def trainings_table(runs_dir: Path) -> Table:
    """Give images seen and images a second of each training."""
    table = _table("Training", "images seen", "images/s")
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


def scores_table(rows: dict[str, Any]) -> Table:
    """Give strict accuracy by task, in percent, each with its 95 % interval.

    The floor is the model's own pictures against other prompts, the ceiling is real pictures.
    """
    present = {name: title for name, title in SCORE_COLUMNS.items() if name in rows}
    table = _table("Strict accuracy, % [95 % interval]", *present.values())
    tasks = list(next(iter(rows.values()))["strict"])
    for task in tasks:
        cells = [_percent(rows[name]["strict"].get(task)) for name in present]
        table.add_row(TASK_TITLES[task], *cells)
    table.add_row("all tasks", *(_percent(rows[name]["overall"]) for name in present), style="bold")
    return table


def clip_table(clip: dict[str, Any]) -> Table:
    """Give the CLIP scores, each with its 95 % interval."""
    table = _table("CLIP", "score")
    for name, estimate in clip["summary"].items():
        if name == "skill" and clip.get("no_headline"):
            continue
        table.add_row(Text(plain(SUMMARY_TITLES.get(name, name))), _estimate(estimate))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(title)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    value, low, high = (round(100 * estimate[name]) for name in ("value", "low", "high"))
    return f"{value} \\[{low}, {high}]"


def _estimate(estimate: dict[str, Any] | None) -> str:
    if estimate is None:
        return "-"
    return f"{estimate['value']:.2f} \\[{estimate['low']:.2f}, {estimate['high']:.2f}]"
