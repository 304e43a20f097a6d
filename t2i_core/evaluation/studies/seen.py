"""How much worse is what training never saw? The same tasks, asked of combinations that training held."""

from collections.abc import Mapping
from functools import partial

from t2i_core.evaluation.judges.statistics import Estimate, difference
from t2i_core.evaluation.metrics.accuracy import ScoreRow, score_verdicts
from t2i_core.evaluation.metrics.benchmark import TASK_TITLES, Benchmark, seen_scenes
from t2i_core.evaluation.metrics.evidence import Evidence, compare, look, samples_of
from t2i_core.evaluation.metrics.section import Column, Figure, Row, Section, Table, Text
from t2i_core.evaluation.studies.maker import PictureMaker, draw
from t2i_core.progress import ignore_progress

TITLE = "Combinations that training held"
LEAD = (
    "As many prompts of each task as of held-out combinations, chosen in the same way among the training pictures that "
    "are searched for copies. What is right here and wrong there was learned by heart."
)


def study(evidence: Evidence, makers: Mapping[str, PictureMaker]) -> Section:
    """Draw prompts of the training split, and set what is right beside what is right of held-out ones."""
    if not evidence.has_scenes:
        return Section(title=TITLE, key="seen", not_scored=[f"{TITLE}: the data has no scenes to ask for."])
    config = evidence.config
    asked = seen_scenes(samples_of(evidence.train), prompts_per_task=config.prompts_per_task, seed=config.seed)
    score = partial(score_verdicts, **evidence.resampling)
    held_out = {who: score(evidence.benchmark, evidence.verdicts[who]) for who in makers}
    pictures = {who: draw(maker, asked, config, f"{who}, seen", ignore_progress) for who, maker in makers.items()}
    seen = {who: score(asked, compare(asked, look(drawn.pictures))) for who, drawn in pictures.items()}
    gaps = {who: _gaps(held_out[who], seen[who]) for who in makers}
    return Section(
        title=TITLE,
        key="seen",
        figures=[_figure(evidence, seen["model"])],
        blocks=[Text(LEAD, quiet=True), *(_table(who, asked, held_out[who], seen[who], gaps[who]) for who in makers)],
        data={
            "rows": {who: row.as_dict() for who, row in seen.items()},
            "held_out_minus_seen": gaps,
            "num_available": asked.num_available,
        },
    )


def _gaps(held_out: ScoreRow, seen: ScoreRow) -> dict[str, Estimate]:
    """Subtract by task, and over all of them."""
    both = [task for task in seen.strict if task in held_out.strict]
    gaps = {task: difference(held_out.strict[task], seen.strict[task]) for task in both}
    return gaps | {"overall": difference(held_out.overall, seen.overall)}


def _figure(evidence: Evidence, seen: ScoreRow) -> Figure:
    name = "strict accuracy, combinations that training held"
    if not evidence.checker_gate.passed:
        return Figure(name, None, "the checker failed its gate", "bad")
    return Figure(name, seen.overall, "mean of tasks; beside that of held-out combinations")


def _table(who: str, asked: Benchmark, held_out: ScoreRow, seen: ScoreRow, gaps: Mapping[str, Estimate]) -> Table:
    columns = [
        Column("Held out", "share", brief="held out"),
        Column("Seen in training", "share", brief="seen"),
        Column("Held out − seen", "gap", brief="gap"),
    ]
    rows = []
    for task, prompts in asked.by_task().items():
        cells = [held_out.strict.get(task), seen.strict[task], gaps.get(task)]
        rows.append(Row(TASK_TITLES[task], cells, f"({len(prompts)} prompts)"))
    rows.append(Row("All tasks", [held_out.overall, seen.overall, gaps["overall"]], total=True))
    return Table(f"Strict accuracy of the {who}, held out and seen", "Task", columns, rows)
