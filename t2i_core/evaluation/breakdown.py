"""What is hard for a model: strict accuracy by color, shape, size, relation, number and background of the prompt."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from t2i_core.evaluation.benchmark import Benchmark
from t2i_core.evaluation.metrics.composition import Extraction
from t2i_core.evaluation.metrics.statistics import Estimate, share_by_prompt
from t2i_core.evaluation.metrics.verdict import Verdict
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


def break_down(
    benchmark: Benchmark, verdicts: Sequence[Sequence[Verdict]], *, seed: int, resamples: int
) -> dict[str, dict[str, Estimate]]:
    """Give strict accuracy over all prompts that have an attribute, by attribute and value.

    Args:
        benchmark: the prompts.
        verdicts: by prompt and picture.
        seed: of the resampling.
        resamples: number of bootstrap resamples.
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
                table.setdefault(name, {})[value] = share_by_prompt(outcomes, seed=seed, resamples=resamples)
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


def outcome_counts(benchmark: Benchmark, verdicts: Sequence[Sequence[Verdict]]) -> dict[str, dict[str, int]]:
    """Count pictures that pass, fail and are unsure, by task."""
    return {
        task: {
            outcome: sum(v.outcome == outcome for i in rows for v in verdicts[i])
            for outcome in ("pass", "fail", "unsure")
        }
        for task, rows in benchmark.by_task().items()
    }


def doubts(seen: Sequence[Sequence[Extraction]]) -> dict[str, int]:
    """Count pictures by what made the checker unsure, the most frequent first; one picture may count for several."""
    counts: Counter[str] = Counter()
    for row in seen:
        for extraction in row:
            reasons = {extraction.refused} | {str(o.unsure or "") for o in extraction.objects}
            counts.update(reasons - {""})
    return dict(counts.most_common())
