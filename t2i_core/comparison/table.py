"""The table of all systems, in parts that fit a page: a row a system, in all parts in the same order."""

from collections.abc import Mapping, Sequence
from typing import Any

from t2i_core.comparison.effort import Effort, effort_of
from t2i_core.comparison.judged import Judged
from t2i_core.evaluation.metrics.benchmark import TASK_TITLES
from t2i_core.evaluation.metrics.section import Cell, Column, Figure, Row, Section, Table, Text

HEAD = "System"
LEAD = (
    "Combinations that training never saw; all of the same prompts and seeds, by the same judges. Strict accuracy: "
    "everything as asked for, and nothing else in the picture; 95 % intervals over what is asked for."
)
SEEN_LEAD = (
    "The same tasks, asked of combinations that training held. A system whose accuracy is much lower on held-out "
    "combinations learned by heart."
)
EFFORT_LEAD = (
    "Image-steps: pictures that what draws was trained on, the runs that it started from included. Apart: what only "
    "guides the drawing, a prior on embeddings, a CLIP or an encoder."
)
TIME_NOTE = (
    "Seconds a picture are of the machine and moment of each evaluation, loading left out: unlike all other figures "
    "they are no part of what identifies it, and differ the next time."
)


def sections_of(judged: Sequence[Judged], *, timed: bool) -> dict[str, Section]:
    """Lay out everything that evaluations have in common.

    Args:
        judged: the evaluations, in the order of the rows.
        timed: whether the seconds a picture are among it, which are never the same twice.
    """
    of_scenes = {"accuracy": _accuracy(judged), "seen": _seen(judged)}
    found = {name: section for name, section in of_scenes.items() if section}
    return found | {"figures": _figures(judged), "effort": _effort(judged, timed=timed)}


def _accuracy(judged: Sequence[Judged]) -> Section | None:
    rows = {each.name: (each, ("composition", "rows", "model")) for each in judged}
    # Floor and ceiling are of the same prompts for all, and of the real pictures of the first one's dataset.
    rows["Real pictures (ceiling)"] = (judged[0], ("composition", "rows", "real"))
    table = _by_task("Strict accuracy, held out", rows)
    return Section(title="Accuracy by task", blocks=[Text(LEAD, quiet=True), table]) if table else None


def _seen(judged: Sequence[Judged]) -> Section | None:
    table = _by_task("Strict accuracy, seen", {each.name: (each, ("seen", "rows", "model")) for each in judged})
    if table is None:
        return None
    gaps = [j.estimate("seen", "held_out_minus_seen", "model", "overall") for j in judged]
    gap = Column("Held out − seen", "gap", brief="held out − seen")
    rows = [Row(row.name, [*row.cells, each]) for row, each in zip(table.rows, gaps, strict=True)]
    with_gaps = Table(table.title, HEAD, [*table.columns, gap], rows, folds=True)
    return Section(title="Accuracy by split", blocks=[Text(SEEN_LEAD, quiet=True), with_gaps])


def _by_task(title: str, rows: Mapping[str, tuple[Judged, tuple[str, ...]]]) -> Table | None:
    """Give strict accuracy by task and over all; None where nobody has any.

    Args:
        title: of the table.
        rows: whose figures, and where they stand, by the name of the row.
    """
    tasks = list(dict.fromkeys(task for each, path in rows.values() for task in each.found(*path, "strict") or ()))
    if not tasks:
        return None
    columns = [Column(TASK_TITLES.get(task, task), "share", brief=task) for task in tasks]
    columns.append(Column("All tasks", "share", brief="all", tone="model"))
    return Table(title, HEAD, columns, [_row(name, *where, tasks) for name, where in rows.items()], folds=True)


def _row(name: str, judged: Judged, path: tuple[str, ...], tasks: Sequence[str]) -> Row:
    cells = [judged.estimate(*path, "strict", task) for task in tasks]
    return Row(name, [*cells, judged.estimate(*path, "overall")], total=path[-1] == "real")


def _figures(judged: Sequence[Judged]) -> Section:
    """Set the figures of all metrics beside each other, and the CLIP score and the distance to training."""
    figures = {each.name: {figure.name: figure for figure in _untabled(each)} for each in judged}
    names = list(dict.fromkeys(name for found in figures.values() for name in found))
    columns = [Column(name, "figure", brief=name) for name in ("CLIP score", "distance to training")]
    columns += [Column(name, "text", brief=name) for name in names]
    rows = []
    for each in judged:
        shown: list[Cell] = [figures[each.name][n].text if n in figures[each.name] else None for n in names]
        rows.append(Row(each.name, [each.estimate("clip", "summary", "cosine_x100"), _distance(each), *shown]))
    score = "CLIP score: 100 × max(cosine, 0), of the CLIP that scored all of them. "
    return Section(title="Figures", blocks=[Table("Figures", HEAD, columns, rows, note=score + _near(judged[0]))])


def _untabled(judged: Judged) -> list[Figure]:
    """Give the figures of an evaluation but for strict accuracy, of which there are tables."""
    figures = [figure for section in judged.sections for figure in section.figures]
    return [figure for figure in figures if not figure.name.startswith("strict accuracy")]


def _distance(judged: Judged) -> Cell:
    median = judged.found("copies", "median_generated")
    return f"{median:.1f}" if isinstance(median, float | int) else None


def _near(judged: Judged) -> str:
    """Say what the distance to training is, and what it is of real pictures."""
    distance, median = (judged.found("copies", name) for name in ("distance", "median_held_out"))
    real = f"; of real pictures that training never saw it is {median:.1f}" if isinstance(median, float | int) else ""
    return f"Distance to training: to the nearest training picture, the median ({distance or 'not measured'}){real}."


def _effort(judged: Sequence[Judged], *, timed: bool) -> Section:
    columns = [Column("Parameters"), Column("Image-steps"), Column("Apart: parameters"), Column("Apart: image-steps")]
    rows = [_numbers(each.name, effort_of(each.lineage)) for each in judged]
    if timed:
        columns = [Column("Seconds a picture"), *columns]
        rows = [
            Row(row.name, [f"{each.seconds_a_picture:.3f}", *row.cells]) for row, each in zip(rows, judged, strict=True)
        ]
    shown = [Column(column.title, "count", brief=column.title.lower()) for column in columns]
    table = Table("What each took", HEAD, shown, rows, note=TIME_NOTE if timed else "")
    return Section(title="Effort", blocks=[Text(EFFORT_LEAD, quiet=True), table])


def _numbers(name: str, effort: Effort) -> Row:
    return Row(name, [f"{number:,}" for number in effort.as_dict().values()])


def systems_of(judged: Sequence[Judged]) -> dict[str, dict[str, Any]]:
    """Give what identifies each system, and what it took, by its name."""
    return {
        each.name: {
            "evaluation": each.manifest.digest,
            "run": each.manifest.key.inputs.get("run", ""),
            "effort": effort_of(each.lineage).as_dict(),
        }
        for each in judged
    }
