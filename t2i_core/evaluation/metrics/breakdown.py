"""What is hard for a model: strict accuracy by color, shape, size, relation, number and background of the prompt."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Unpack

from t2i_core.evaluation.judges.statistics import Estimate, share_by_prompt
from t2i_core.evaluation.judges.verdict import Verdict
from t2i_core.evaluation.metrics.benchmark import Benchmark
from t2i_core.evaluation.metrics.evidence import Evidence, Resampling
from t2i_core.evaluation.metrics.section import Beside, Column, Row, Section, Table, Text
from t2i_core.samples.scenes import BACKGROUNDS, COLORS, NUMBERS, RADII, RELATIONS, Scene

# The order in which attributes and their values are listed.
ORDER: dict[str, tuple[str, ...]] = {
    "color": tuple(COLORS),
    "shape": ("circle", "square", "triangle", "cross", "star", "heart"),
    "size": tuple(RADII),
    "relation": RELATIONS,
    "number": tuple(NUMBERS.values()),
    "background": tuple(BACKGROUNDS),
}


LEAD = "Strict accuracy over all prompts that name it; sizes are asked of single objects. Bars go from 0 to 1."


def measure(evidence: Evidence) -> Section:
    """Break strict accuracy down, where the data has scenes."""
    if not evidence.has_scenes:
        return Section(title="Accuracy by what is asked for")
    found = break_down(evidence.benchmark, evidence.verdicts["model"], **evidence.resampling)
    columns = [Column("Accuracy", "point"), Column("Interval", "line", tone="model"), Column("Combinations", "count")]
    tables = [
        Table(name.capitalize(), name.capitalize(), columns, [Row(v, [e, e, f"of {e.num}"]) for v, e in table.items()])
        for name, table in found.items()
    ]
    return Section(
        title="Accuracy by what is asked for",
        key="composition",
        blocks=[Text(LEAD, quiet=True), Beside("", tables)],
        data={"breakdown": found},
    )


def break_down(
    benchmark: Benchmark, verdicts: Sequence[Sequence[Verdict]], **how: Unpack[Resampling]
) -> dict[str, dict[str, Estimate]]:
    """Give strict accuracy over all prompts that have an attribute, by attribute and value.

    Args:
        benchmark: the prompts.
        verdicts: by prompt and picture.
        **how: seed and resamples of the intervals.
    """
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for index, prompt in enumerate(benchmark.prompts):
        if prompt.scene is not None:
            for attribute in set(attributes_of(prompt.scene)):
                rows[attribute].append(index)
    table: dict[str, dict[str, Estimate]] = {}
    for name, values in ORDER.items():
        for value in values:
            if mine := rows.get((name, value)):
                outcomes = [[float(v.strict) for i in group for v in verdicts[i]] for group in benchmark.groups(mine)]
                table.setdefault(name, {})[value] = share_by_prompt(outcomes, **how)
    return table


def attributes_of(scene: Scene) -> Iterator[tuple[str, str]]:
    """List what a prompt names. Sizes are asked of single objects alone, where none means medium."""
    for item in scene.objects:
        yield "color", item.color
        yield "shape", item.shape
    if scene.task == "single":
        yield "size", scene.objects[0].size
    if scene.relation:
        yield "relation", scene.relation
    if scene.task == "counting":
        yield "number", NUMBERS[len(scene.objects)]
    yield "background", scene.background
