"""The report of an evaluation: one self-contained page, a short form for people, and all figures as data.

All are drawn from the sections of the metrics; how is said in `page.py`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from t2i_core.composition.config import BASE, parts_of
from t2i_core.evaluation.background import Runs, made_section, origin_section, training_section, trainings_of
from t2i_core.evaluation.circumstances import CIRCUMSTANCES_NAME, Circumstances, read_object
from t2i_core.evaluation.config import BENCHMARK_VERSION
from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.metrics.section import RANK, Level, Section
from t2i_core.evaluation.page import render_sections, tables_as_text
from t2i_core.folders.atomic import write_atomically
from t2i_core.progress import describe_seconds

SCHEMA_VERSION = 1


def metrics_of(evaluation: Evaluation) -> dict[str, Any]:
    """Collect every number of an evaluation, records among them."""
    benchmark = evaluation.benchmark
    by_key: dict[str, dict[str, Any] | None] = {}
    for section in evaluation.sections.values():
        if section.key:
            by_key[section.key] = {**(by_key.get(section.key) or {}), **(section.data or {})} or None
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
        **by_key,
        "sections": {name: section.as_dict() for name, section in evaluation.sections.items()},
        "lineage": [ancestor.as_dict() for ancestor in evaluation.ancestors],
        "not_scored": list(evaluation.not_scored),
    }


def level_of(sections: Iterable[Section]) -> Level:
    """Find the worst level of any figure or gate."""
    levels = [item.level for section in sections for items in (section.figures, section.gates) for item in items]
    return max(levels, key=RANK.__getitem__, default="good")


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
    config = read_object(parts_of(runs.model)[BASE] / "config.json")
    trainings = trainings_of(runs, evaluation.num_train)
    background = {
        "training": training_section(runs.model),
        "made": made_section(output_dir, runs, evaluation, circumstances, trainings),
        "origin": origin_section(output_dir, runs, evaluation),
    }
    html = render_sections(
        "t2i_core.evaluation",
        {**evaluation.sections, **background},
        evaluation=evaluation,
        level=level_of(evaluation.sections.values()),
        run={name: str(config.get(name, "")) for name in ("preset", "system")},
        circumstances=circumstances,
        training=trainings[0].main,
        time=describe_seconds,
    )
    write_atomically(folder / "report.html", html.encode())
    write_atomically(folder / "report.md", _markdown(evaluation).encode())
    write_atomically(folder / CIRCUMSTANCES_NAME, circumstances.model_dump_json(indent=2).encode() + b"\n")


def _markdown(evaluation: Evaluation) -> str:
    """Write the short form, for an artifact."""
    lines = ["# Evaluation", ""]
    for section in evaluation.sections.values():
        for figure in section.figures:
            lines.append(f"- **{figure.name}: {figure.text}** ({figure.meaning})")
        lines += [f"- {gate.text}{gate.note and f': {gate.note}'}" for gate in section.gates]
    lines += tables_as_text(evaluation.sections.values())
    return "\n".join([*lines, "", "Not scored:", "", *(f"- {note}" for note in evaluation.not_scored), ""])
