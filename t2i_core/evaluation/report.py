"""The report of an evaluation: one self-contained page, a short form for people, and all figures as data.

All are drawn from the sections of the metrics; what a page shows of a block is said in `report.html.j2`.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from t2i_core.composition.config import BASE, parts_of
from t2i_core.evaluation.background import Runs, made_section, origin_section, training_section, trainings_of
from t2i_core.evaluation.circumstances import CIRCUMSTANCES_NAME, Circumstances, read_object
from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.metrics.benchmark import BENCHMARK_VERSION
from t2i_core.evaluation.metrics.section import RANK, Chart, Level, Section, Table, spelt
from t2i_core.manifest import write_atomically
from t2i_core.progress import describe_seconds
from t2i_core.report.charts import histogram, line_chart, png_uri
from t2i_core.report.page import render_page

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
    html = render_page(
        "t2i_core.evaluation",
        "report.html.j2",
        evaluation=evaluation,
        sections=_shown(evaluation.sections) | _shown(background),
        level=level_of(evaluation.sections.values()),
        run={name: str(config.get(name, "")) for name in ("preset", "system")},
        circumstances=circumstances,
        training=trainings[0].main,
        time=describe_seconds,
        draw=draw_chart,
        code=with_code,
        png_uri=png_uri,
        kind=lambda block: type(block).__name__,
    )
    write_atomically(folder / "report.html", html.encode())
    write_atomically(folder / "report.md", _markdown(evaluation).encode())
    write_atomically(folder / CIRCUMSTANCES_NAME, circumstances.model_dump_json(indent=2).encode() + b"\n")


def _shown(sections: Mapping[str, Section]) -> dict[str, Section]:
    return {name: section for name, section in sections.items() if section.blocks}


def draw_chart(chart: Chart) -> Markup:
    """Draw lines or distributions."""
    return line_chart(chart.lines, chart.x_label) if chart.lines else histogram(chart.samples or {}, chart.x_label)


def with_code(text: str) -> Markup:
    """Escape a text, and show as code what stands between backticks."""
    parts = text.split("`")
    codes = (Markup("<code>{}</code>").format(part) if i % 2 else escape(part) for i, part in enumerate(parts))
    return Markup().join(codes)


def _markdown(evaluation: Evaluation) -> str:
    """Write the short form, for an artifact."""
    lines = ["# Evaluation", ""]
    for section in evaluation.sections.values():
        for figure in section.figures:
            lines.append(f"- **{figure.name}: {figure.text}** ({figure.meaning})")
        lines += [f"- {gate.text}{gate.note and f': {gate.note}'}" for gate in section.gates]
    for section in evaluation.sections.values():
        for table in section.tables:
            lines += ["", *_table(table)]
    return "\n".join([*lines, "", "Not scored:", "", *(f"- {note}" for note in evaluation.not_scored), ""])


def _table(table: Table) -> Iterable[str]:
    yield f"| {' | '.join([table.title, *(column.title for column in table.columns)])} |"
    yield "|---" * (len(table.columns) + 1) + "|"
    for row in table.rows:
        cells = [spelt(cell, column.shows) for cell, column in zip(row.cells, table.columns, strict=True)]
        yield f"| {' | '.join([f'**{row.name}**' if row.total else row.name, *cells])} |"
