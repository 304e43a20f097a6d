"""A comparison written down: the page, its short form, and the figures as data."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from t2i_core.comparison.config import CompareConfig
from t2i_core.comparison.judged import Judged, Shot
from t2i_core.comparison.table import sections_of, systems_of
from t2i_core.evaluation.judges.statistics import plain
from t2i_core.evaluation.metrics.section import Facts, Link, Section
from t2i_core.evaluation.page import render_sections, tables_as_text
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.manifest import relative_source
from t2i_core.report.charts import png_uri

SCHEMA_VERSION = 1
GRID_NAME = "grid.png"


def write_report(
    folder: Path, output_dir: Path, judged: Sequence[Judged], config: CompareConfig, grid: Image.Image
) -> None:
    """Write `metrics.json`, `grid.png`, `report.md` and `report.html`.

    Args:
        folder: where to write.
        output_dir: the name that `folder` will have: paths in the report start there.
        judged: the evaluations.
        config: of the comparison.
        grid: the picture grid.
    """
    metrics = json.dumps(_metrics(judged, config), indent=2, ensure_ascii=False, default=plain)
    write_atomically(folder / "metrics.json", metrics.encode() + b"\n")
    png = io.BytesIO()
    grid.save(png, "PNG", optimize=True)
    write_atomically(folder / GRID_NAME, png.getvalue())
    sections, notes = sections_of(judged, timed=True), _notes(judged)
    write_atomically(folder / "report.md", _markdown(sections, notes).encode())
    first = judged[0]
    html = render_sections(
        "t2i_core.comparison",
        sections | {"origin": _origin(output_dir, judged)},
        names=[each.name for each in judged],
        num_prompts=len(first.first_shots),
        num_pictures=first.config.images_per_prompt,
        captions=[shot.prompt for shot in shown(first, config)],
        grid=png_uri(np.asarray(grid), max(grid.size)),
        not_scored=notes,
    )
    write_atomically(folder / "report.html", html.encode())


def shown(judged: Judged, config: CompareConfig) -> list[Shot]:
    """Choose the pictures of the grid: those of the first prompts of each task."""
    by_task: dict[str, list[Shot]] = {}
    for shot in judged.first_shots:
        by_task.setdefault(shot.task, []).append(shot)
    return [shot for shots in by_task.values() for shot in shots[: config.prompts_per_task]]


def _metrics(judged: Sequence[Judged], config: CompareConfig) -> dict[str, Any]:
    """Collect every number but the times, which are not the same twice."""
    return {
        "schema_version": SCHEMA_VERSION,
        "config": config.model_dump(mode="json"),
        "systems": systems_of(judged),
        "sections": {name: section.as_dict() for name, section in sections_of(judged, timed=False).items()},
        "not_scored": _notes(judged),
    }


def _notes(judged: Sequence[Judged]) -> list[str]:
    """Say what was not scored; what holds for all of them once."""
    whose: dict[str, list[str]] = {}
    for each in judged:
        for note in each.not_scored:
            whose.setdefault(note, []).append(each.name)
    return [note if len(names) == len(judged) else f"{', '.join(names)}: {note}" for note, names in whose.items()]


def _markdown(sections: Mapping[str, Section], notes: Sequence[str]) -> str:
    """Write the short form, for an artifact."""
    lines = ["# Comparison", *tables_as_text(sections.values())]
    lines += [f"\n{block.note}" for section in sections.values() for block in section.tables if block.note]
    return "\n".join([*lines, "", "Not scored:", "", *(f"- {note}" for note in notes), ""])


def _origin(output_dir: Path, judged: Sequence[Judged]) -> Section:
    """Point to the reports of the evaluations."""
    links = {
        each.name: [
            Link(name, quote(f"{relative_source(each.folder, output_dir)}/{name}"))
            for name in ("report.html", "metrics.json", "images")
        ]
        for each in judged
    }
    return Section(title="Where it comes from", blocks=[Facts("Evaluations", links)])
