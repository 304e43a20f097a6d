"""The report: one self-contained page that shows pictures first, then tables, then where everything came from."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from t2i_core.door import is_file, read_file
from t2i_core.evaluation.benchmark import BENCHMARK_VERSION, TASK_TITLES
from t2i_core.evaluation.circumstances import (
    CIRCUMSTANCES_NAME,
    LINKED,
    Circumstances,
    TrainingFacts,
    folders_behind,
    links_between,
    read_object,
    reproduce_command,
    training_facts,
)
from t2i_core.evaluation.headline import headline_of
from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.metrics.verdict import UNSURE_BAD, UNSURE_WARN
from t2i_core.evaluation.report_pictures import closest_pairs, disagreements, picture_grid, sample_grids, worst_failures
from t2i_core.layout import MAX_LOG_BYTES
from t2i_core.manifest import write_atomically
from t2i_core.progress import describe_seconds
from t2i_core.report.charts import histogram, line_chart
from t2i_core.report.page import render_page

SCHEMA_VERSION = 1
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


@dataclass(frozen=True, slots=True)
class Runs:
    """The finished runs of an evaluation.

    Attributes:
        model: the run that was evaluated.
        others: further runs by "baseline" and "clip".
    """

    model: Path
    others: Mapping[str, Path]


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
            "num_combinations": {task: len(benchmark.groups(rows)) for task, rows in benchmark.by_task().items()},
            "num_available": benchmark.num_available,
            "num_leaked": benchmark.num_leaked,
        },
        "composition": composition
        and {
            "checker": composition.gate.as_dict(),
            "by_eye": composition.agreement.as_dict(),
            "rows": {name: row.as_dict() for name, row in composition.rows.items()},
            "model_minus_baseline": {task: e.as_dict() for task, e in composition.gaps.items()},
            "outcomes": composition.outcomes,
            "doubts": composition.doubts,
            "breakdown": {
                name: {value: e.as_dict() for value, e in table.items()}
                for name, table in composition.breakdown.items()
            },
        },
        "clip": evaluation.clip and evaluation.clip.as_dict(),
        "copies": evaluation.copies
        and evaluation.copies.neighbours.as_dict()
        | ({"recall_at_1": evaluation.copies.recall.as_dict()} if evaluation.copies.recall else {}),
        "lineage": [ancestor.as_dict() for ancestor in evaluation.ancestors],
        "not_scored": list(evaluation.not_scored),
    }


def write_report(
    folder: Path, output_dir: Path, runs: Runs, evaluation: Evaluation, circumstances: Circumstances
) -> None:
    """Write `report.html`, `report.md` and `circumstances.json`.

    Args:
        folder: where to write.
        output_dir: the name that `folder` will have: paths in the report start there.
        runs: for their curves, sample grids and settings.
        evaluation: what was measured.
        circumstances: when and with what.
    """
    config = read_object(runs.model / "config.json")
    html = render_page(
        "t2i_core.evaluation",
        "report.html.j2",
        metrics=metrics_of(evaluation),
        evaluation=evaluation,
        run={name: str(config.get(name, "")) for name in ("preset", "system")},
        headline=headline_of(evaluation),
        circumstances=circumstances,
        time=describe_seconds,
        trainings=_trainings(runs, evaluation),
        links=links_between(output_dir, folders_behind(evaluation.ancestors, runs.others), LINKED["evaluation"]),
        command=reproduce_command(evaluation.config, output_dir, runs.model, runs.others),
        row_titles=ROW_TITLES,
        task_titles=TASK_TITLES,
        summary_titles=SUMMARY_TITLES,
        unsure_limits=(UNSURE_WARN, UNSURE_BAD),
        grid=picture_grid(evaluation),
        failures=worst_failures(evaluation),
        closest=closest_pairs(evaluation),
        disagreements=disagreements(evaluation),
        sample_grids=sample_grids(runs.model),
        cosine_chart=_cosine_chart(evaluation),
        curves=_curves(runs.model),
    )
    write_atomically(folder / "report.html", html.encode())
    write_atomically(folder / "report.md", _markdown(evaluation).encode())
    write_atomically(folder / CIRCUMSTANCES_NAME, circumstances.model_dump_json(indent=2).encode() + b"\n")


def _trainings(runs: Runs, evaluation: Evaluation) -> list[TrainingFacts]:
    folders = {"Model": runs.model} | {{"clip": "CLIP"}.get(n, n.capitalize()): f for n, f in runs.others.items()}
    return [training_facts(role, folder, evaluation.num_train) for role, folder in folders.items()]


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
    for line in read_file(path, MAX_LOG_BYTES).splitlines() if is_file(path) else []:
        try:
            rows.append(json.loads(line))
        except (ValueError, RecursionError):
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
        unsure = composition.rows["model"].unsure
        lines += ["", f"Pictures the checker could not tell, counted as failed: {unsure}", ""]
        lines += [f"Checker {composition.gate.version}: gate {_passed(composition.gate.passed)}.", ""]
        eye = composition.agreement
        lines += [f"On {len(eye.compared)} pictures judged by eye it passes {eye.sensitivity} of the right ones", ""]
        lines[-2] += f" and {eye.false_pass} of the wrong ones."
    if clip:
        lines += [f"CLIP {clip.identity.spec}: gate {_passed(clip.gate.passed)}. {clip.gate.reason}", ""]
        if clip.gate.passed:
            if clip.gate.why_no_headline:
                lines += [f"No headline: {clip.gate.why_no_headline}.", ""]
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
