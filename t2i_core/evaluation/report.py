"""The report: one self-contained page that shows pictures first, then tables, then where everything came from.

Prompts are never hand-picked: the grid shows the first prompts of each task in the benchmark's own order.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from t2i_core import __version__
from t2i_core.evaluation.benchmark import BENCHMARK_VERSION, TASK_TITLES
from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.statistics import wilson
from t2i_core.manifest import write_atomically
from t2i_core.report.charts import PictureBook, histogram, line_chart
from t2i_core.report.page import render_page

SCHEMA_VERSION = 1
GRID_PROMPTS, GRID_SEEDS, NUM_FAILURES, NUM_CLOSEST, NUM_SAMPLE_GRIDS = 8, 4, 6, 12, 4
ROW_TITLES = {
    "real": "Real pictures (ceiling)",
    "model": "Model",
    "shuffled": "Shuffled prompts (floor)",
    "baseline": "Baseline",
}
SUMMARY_TITLES = {
    "skill": "Skill: 0 = ignores the prompt, 1 = as good as real pictures",
    "r_precision": "R-precision",
    "cosine": "Mean cosine",
    "cosine_x100": "CLIP score, 100 × max(cos, 0)",
    "hessel": "CLIP score, Hessel: 2.5 × max(cos, 0), prefix “A photo depicts ”",
}
Picture = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shown:
    """One picture in the page: its CSS class, what to call it, and the verdict (None when not judged)."""

    css: str
    label: str
    passed: bool | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class GridRow:
    """One prompt of the picture grid."""

    prompt: str
    id: str
    real: Shown
    model: list[Shown]
    baseline: list[Shown]


def metrics_of(evaluation: Evaluation) -> dict[str, Any]:
    """Collect every number of an evaluation as plain data."""
    benchmark, composition = evaluation.benchmark, evaluation.composition
    return {
        "schema_version": SCHEMA_VERSION,
        "config": evaluation.config.model_dump(mode="json"),
        "benchmark": {
            "version": BENCHMARK_VERSION,
            "kind": benchmark.kind,
            "num_prompts": {task: len(rows) for task, rows in benchmark.by_task().items()},
            "num_available": benchmark.num_available,
            "num_leaked": benchmark.num_leaked,
        },
        "composition": composition
        and {
            "checker": composition.gate.as_dict(),
            "rows": {name: row.as_dict() for name, row in composition.rows.items()},
            "model_minus_baseline": {task: e.as_dict() for task, e in composition.gaps.items()},
        },
        "clip": evaluation.clip and evaluation.clip.as_dict(),
        "copies": evaluation.copies
        and evaluation.copies.neighbours.as_dict()
        | ({"recall_at_1": evaluation.copies.recall.as_dict()} if evaluation.copies.recall else {}),
        "lineage": [ancestor.as_dict() for ancestor in evaluation.ancestors],
        "not_scored": list(evaluation.not_scored),
    }


def write_report(folder: Path, run_dir: Path, evaluation: Evaluation) -> None:
    """Write `report.html` and `report.md`.

    Args:
        folder: where to write.
        run_dir: the run, for its curves and its sample grids.
        evaluation: what was measured.
    """
    book = PictureBook()
    html = render_page(
        "t2i_core.evaluation",
        "report.html.j2",
        metrics=metrics_of(evaluation),
        evaluation=evaluation,
        run=_run_config(run_dir),
        headline=_headline(evaluation),
        code_version=__version__,
        row_titles=ROW_TITLES,
        task_titles=TASK_TITLES,
        summary_titles=SUMMARY_TITLES,
        grid=_grid(evaluation, book),
        failures=_failures(evaluation, book),
        closest=_closest(evaluation, book),
        sample_grids=_sample_grids(run_dir, book),
        cosine_chart=_cosine_chart(evaluation),
        curves=_curves(run_dir),
        book=book,
    )
    write_atomically(folder / "report.html", html.encode())
    write_atomically(folder / "report.md", _markdown(evaluation).encode())


def _run_config(run_dir: Path) -> dict[str, str]:
    """Read preset and system of the run; both empty where it does not tell."""
    try:
        config = json.loads((run_dir / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        config = {}
    return {name: str(config.get(name, "")) if isinstance(config, dict) else "" for name in ("preset", "system")}


def _headline(evaluation: Evaluation) -> dict[str, Any]:
    """Say in a few figures how it went, and which gates stand behind them."""
    gates: list[tuple[str, bool, str]] = []
    composition, clip, copies = evaluation.composition, evaluation.clip, evaluation.copies
    if composition:
        gates.append(("Checker gate", composition.gate.passed, composition.gate.version))
    if clip:
        blind = f"blind to {', '.join(clip.gate.blind_to)}" if clip.gate.blind_to else ""
        gates.append(("CLIP gate", clip.gate.passed, clip.gate.reason or blind))
    copying = None
    if copies:
        found = copies.neighbours
        share = wilson(found.num_closer, len(found.generated))
        copying = {"share": share, "excess": share.low > 0.05 and evaluation.benchmark.kind == "scenes"}
    return {
        "strict": composition.rows["model"].overall if composition and composition.gate.passed else None,
        "skill": clip.summary.get("skill") if clip and clip.gate.passed else None,
        "recall": copies.recall if copies else None,
        "copying": copying,
        "gates": gates,
        "failed": any(not passed for _, passed, _ in gates),
    }


def _grid(evaluation: Evaluation, book: PictureBook) -> dict[str, list[GridRow]]:
    """Lay out the first prompts of each task with their real picture, the model's and the baseline's."""
    grid: dict[str, list[GridRow]] = {}
    for task, rows in evaluation.benchmark.by_task().items():
        per_task = GRID_PROMPTS if len(evaluation.benchmark.by_task()) > 1 else 4 * GRID_PROMPTS
        for p in rows[:per_task]:
            prompt = evaluation.benchmark.prompts[p]
            real = Shown(book.add(prompt.real), f"real picture of {prompt.text}")
            shown = {who: _shown(evaluation, book, who, p) for who in evaluation.drawn}
            row = GridRow(prompt.text, prompt.id, real, shown["model"], shown.get("baseline", [])[:2])
            grid.setdefault(task, []).append(row)
    return grid


def _shown(evaluation: Evaluation, book: PictureBook, who: str, p: int) -> list[Shown]:
    pictures = evaluation.drawn[who].pictures[p][:GRID_SEEDS]
    return [_one(evaluation, book, who, p, k) for k in range(len(pictures))]


def _one(evaluation: Evaluation, book: PictureBook, who: str, p: int, k: int) -> Shown:
    drawn, prompt = evaluation.drawn[who], evaluation.benchmark.prompts[p]
    css = book.add(drawn.pictures[p, k])
    label = f"{who}'s picture of {prompt.text}, seed {drawn.seeds[p, k]}"
    if evaluation.composition is None:
        return Shown(css, label)
    verdict = evaluation.composition.verdicts[who][p][k]
    return Shown(css, label, verdict.strict, verdict.reason)


def _failures(evaluation: Evaluation, book: PictureBook) -> dict[str, list[tuple[str, Shown]]]:
    """Pick the pictures of each task with the most failed atoms."""
    if evaluation.composition is None:
        return {}
    verdicts = evaluation.composition.verdicts["model"]
    failures = {}
    for task, rows in evaluation.benchmark.by_task().items():
        failed = [(p, k) for p in rows for k, verdict in enumerate(verdicts[p]) if not verdict.strict]
        failed.sort(key=lambda at: -sum(outcome != "pass" for outcome in verdicts[at[0]][at[1]].atoms.values()))
        failures[task] = [
            (evaluation.benchmark.prompts[p].text, _one(evaluation, book, "model", p, k))
            for p, k in failed[:NUM_FAILURES]
        ]
    return failures


def _closest(evaluation: Evaluation, book: PictureBook) -> list[tuple[Shown, Shown, float]]:
    """Pair the generated pictures that are nearest to training with what they are near to."""
    copies, model = evaluation.copies, evaluation.drawn["model"]
    if copies is None:
        return []
    per_prompt = model.seeds.shape[1]
    pairs = []
    for index in np.argsort(copies.neighbours.generated, kind="stable")[:NUM_CLOSEST]:
        p, k = divmod(int(index), per_prompt)
        train = Shown(book.add(copies.nearest[index]), "nearest training picture")
        pairs.append((_one(evaluation, book, "model", p, k), train, float(copies.neighbours.generated[index])))
    return pairs


def _sample_grids(run_dir: Path, book: PictureBook) -> list[tuple[str, str, float]]:
    """Take a few of the run's own sample grids, first to last: name, CSS class, width over height."""
    paths = sorted((run_dir / "samples").glob("*.png"))
    if not paths:
        return []
    picked = sorted({round(i) for i in np.linspace(0, len(paths) - 1, NUM_SAMPLE_GRIDS)})
    grids = []
    for path in (paths[i] for i in picked):
        with Image.open(path) as picture:
            pixels = np.asarray(picture.convert("RGB"))
        grids.append((path.stem, book.add(pixels, max_side=520), pixels.shape[1] / pixels.shape[0]))
    return grids


def _cosine_chart(evaluation: Evaluation) -> Markup:
    clip = evaluation.clip
    if clip is None or not clip.gate.passed:
        return Markup()
    return histogram(
        {"model": clip.cosines, "real pictures": clip.real, "model, other prompts": clip.shuffled}, "cosine"
    )


CURVES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("Loss", ("train/loss", "validation/loss")),
    ("Loss per noise band (0 = least noise)", tuple(f"train/loss_band_{i}" for i in range(10))),
    ("Images per second", ("perf/images_per_second",)),
    ("Learning rate", ("train/learning_rate",)),
)


def _curves(run_dir: Path) -> list[tuple[str, Markup]]:
    """Draw what the run logged."""
    rows = _metric_rows(run_dir / "metrics.jsonl")
    x_name = next((n for n in ("images", "images_seen", "train/images", "step") if rows and n in rows[-1]), None)
    if x_name is None:
        return []
    charts = []
    for title, names in CURVES:
        series = {}
        for name in names:
            points = [(r[x_name], r[name]) for r in rows if _number(r.get(name)) and _number(r.get(x_name))]
            if len(points) > 1:
                series[name.partition("/")[2]] = ([x for x, _ in points], [y for _, y in points])
        if series:
            charts.append((title, line_chart(series, "images seen" if x_name != "step" else "steps")))
    return charts


def _metric_rows(path: Path) -> list[dict[str, Any]]:
    """Read the log; a last line cut short by a stop is left out."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return [row for row in rows if isinstance(row, dict)]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _markdown(evaluation: Evaluation) -> str:
    """Write the short form, for an artifact."""
    lines = ["# Evaluation", ""]
    composition, clip = evaluation.composition, evaluation.clip
    if composition:
        names = [n for n in ROW_TITLES if n in composition.rows]
        lines += _table(["Strict accuracy", *(ROW_TITLES[n] for n in names)])
        for task in evaluation.benchmark.by_task():
            cells = [str(composition.rows[n].strict.get(task, "")) for n in names]
            lines.append(f"| {TASK_TITLES[task]} | {' | '.join(cells)} |")
        lines.append(f"| **All tasks** | {' | '.join(str(composition.rows[n].overall) for n in names)} |")
        lines += ["", f"Checker {composition.gate.version}: gate {_passed(composition.gate.passed)}.", ""]
    if clip:
        lines += [f"CLIP {clip.identity.spec}: gate {_passed(clip.gate.passed)}. {clip.gate.reason}", ""]
        if clip.gate.passed:
            lines += [
                f"- {SUMMARY_TITLES[name]}: {clip.summary[name]}" for name in SUMMARY_TITLES if name in clip.summary
            ]
            lines.append("")
    if evaluation.copies and evaluation.copies.recall:
        lines += [f"Recall of training pictures (nearest is the prompt's own): {evaluation.copies.recall}", ""]
    lines += ["Not scored:", "", *(f"- {note}" for note in evaluation.not_scored), ""]
    return "\n".join(lines)


def _table(heads: Sequence[str]) -> list[str]:
    return [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]


def _passed(passed: bool) -> str:
    return "passed" if passed else "FAILED"
