"""Strict accuracy by task, between a floor and a ceiling: is everything as told, and nothing else in the picture?"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np

from t2i_core.evaluation.judges.composition import Extraction
from t2i_core.evaluation.judges.statistics import Estimate, mean_over_tasks, paired_difference, share_by_prompt
from t2i_core.evaluation.judges.verdict import UNSURE_BAD, UNSURE_WARN, Verdict, judge
from t2i_core.evaluation.metrics.benchmark import TASK_TITLES, Benchmark
from t2i_core.evaluation.metrics.evidence import Evidence, Resampling
from t2i_core.evaluation.metrics.section import Block, Column, Figure, Gate, Level, Row, Section, Table, Text
from t2i_core.samples.scenes import Scene

# Who stands in the table of tasks: title, and short title.
ROWS = {
    "model": ("Model", "model"),
    "baseline": ("Baseline", "baseline"),
    "shuffled": ("Shuffled prompts (floor)", "floor"),
    "real": ("Real pictures (ceiling)", "ceiling"),
}
ATOMS = ("shape", "color", "binding", "count", "relation", "size", "background", "nothing_else")
LEAD = (
    "Share of pictures in which every atom of the prompt is right and nothing else is there, with 95 % intervals over "
    "what is asked for. Ceiling: real pictures of the same prompts. Floor: the model's pictures checked against other "
    "prompts of the task. Unsure: pictures in which the checker could not tell, which count as failed. All bars go "
    "from 0 to 1."
)


def measure(evidence: Evidence) -> Section:
    """Fill the table of tasks, where the data has scenes."""
    if not evidence.has_scenes:
        reason = "Composition (objects, colors, positions): the data has no scene specifications to check against."
        return Section(title="Accuracy by task", key="composition", not_scored=[reason])
    benchmark, verdicts, how = evidence.benchmark, evidence.verdicts, evidence.resampling
    rows = {who: score_verdicts(benchmark, verdicts[who], **how) for who in verdicts}
    rows["shuffled"] = score_shuffled(benchmark, evidence.seen["model"], **how)
    gaps = differences(rows["model"], rows["baseline"], **how) if "baseline" in rows else {}
    outcomes, reasons = outcome_counts(benchmark, verdicts["model"]), doubts(evidence.seen["model"])
    return Section(
        title="Accuracy by task",
        key="composition",
        figures=_figures(rows["model"], evidence.checker_gate.passed),
        gates=[Gate("Checker gate", "good" if evidence.checker_gate.passed else "bad")],
        blocks=_blocks(benchmark, rows, gaps, outcomes, reasons),
        data={
            "rows": {name: row.as_dict() for name, row in rows.items()},
            "model_minus_baseline": gaps,
            "outcomes": outcomes,
            "doubts": reasons,
        },
        by_picture={who: [[_record(v) for v in row] for row in verdicts[who]] for who in evidence.drawn},
        counts={"strict_passes": sum(v.strict for row in verdicts["model"] for v in row)},
        not_scored=_not_scored(rows["model"].unsure, evidence.checker_gate.passed),
    )


def _record(verdict: Verdict) -> dict[str, Any]:
    names = ("outcome", "strict", "lenient", "atoms", "reason")
    return {name: getattr(verdict, name) for name in names}


def _not_scored(unsure: Estimate | None, gate_passed: bool) -> list[str]:
    notes = []
    if not gate_passed:
        notes.append("Composition: the checker failed its own gate on these pictures, so its figures carry no weight.")
    if unsure and unsure.value > UNSURE_WARN:
        notes.append(f"The checker could not tell in {unsure.value:.0%} of the model's pictures; they count as failed.")
    return notes


def _figures(model: "ScoreRow", gate_passed: bool) -> list[Figure]:
    name = "strict accuracy, mean of tasks"
    figures = [Figure(name, model.overall, "everything right and nothing else in the picture")]
    if not gate_passed:
        figures = [Figure(name, None, "the checker failed its gate", "bad")]
    if model.unsure:
        level = unsure_level(model.unsure)
        meaning = {"good": "", "warn": "; some may be right", "bad": "; so many that strict accuracy says little"}
        note = f"pictures that the checker could not tell, counted as failed{meaning[level]}"
        figures.append(Figure("unsure", model.unsure, note, level, "%"))
    return figures


def unsure_level(unsure: Estimate) -> Level:
    """Judge a share of pictures that the checker could not tell."""
    return "bad" if unsure.value > UNSURE_BAD else "warn" if unsure.value > UNSURE_WARN else "good"


def _blocks(
    benchmark: Benchmark,
    rows: Mapping[str, "ScoreRow"],
    gaps: Mapping[str, Estimate],
    outcomes: Mapping[str, Mapping[str, int]],
    reasons: Mapping[str, int],
) -> list[Block]:
    warn, bad = (f"{100 * limit:.0f} %" for limit in (UNSURE_WARN, UNSURE_BAD))
    limits = f"Above {warn} unsure the card on top turns amber, above {bad} red."
    doubted = ", ".join(f"{reason} {num}" for reason, num in reasons.items())
    counted = [Row(TASK_TITLES[t], [n["pass"], n["fail"], n["unsure"]]) for t, n in outcomes.items()]
    model = rows["model"]
    passed = [
        Row(TASK_TITLES[task], [*(atoms.get(atom, "not asked") for atom in ATOMS), model.lenient[task]])
        for task, atoms in model.atoms.items()
    ]
    return [
        Text(LEAD, quiet=True),
        _table_of_tasks(benchmark, rows, gaps),
        Table(
            "Verdicts on the model's pictures",
            "Task",
            [Column(title, "count") for title in ("Right", "Wrong", "Unsure")],
            counted,
            note=(f"What the checker doubted, in pictures: {doubted}. " if doubted else "") + limits,
        ),
        Table(
            "What goes wrong: pass rate of each atom, model",
            "Task",
            [Column(name.replace("_", " "), "point") for name in (*ATOMS, "lenient")],
            passed,
            note="Binding: each color is on its own shape. Lenient: extra objects (but for counting) and the "
            "background are ignored.",
        ),
    ]


def _table_of_tasks(benchmark: Benchmark, rows: Mapping[str, "ScoreRow"], gaps: Mapping[str, Estimate]) -> Table:
    # Each column with its figures by task and over all of them.
    columns: list[tuple[Column, Mapping[str, Estimate], Estimate | None]] = [
        (Column(title, "share", brief, name), rows[name].strict, rows[name].overall)
        for name, (title, brief) in ROWS.items()
        if name in rows
    ]
    model = rows["model"]
    columns.append((Column("Model, unsure", "share", tone="doubt"), model.unsure_by_task, model.unsure))
    if gaps:
        columns.append((Column("Model − baseline", "gap"), gaps, None))
    table = []
    for task, prompts in benchmark.by_task().items():
        num_groups = len(benchmark.groups(prompts))
        asked = f" of {num_groups} combinations" if num_groups < len(prompts) else ""
        cells = [by_task.get(task) for _, by_task, _ in columns]
        table.append(Row(TASK_TITLES[task], cells, f"({len(prompts)} prompts{asked})"))
    table.append(Row("All tasks", [overall for _, _, overall in columns], total=True))
    return Table("Strict accuracy", "Task", [column for column, _, _ in columns], table, folds=True)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """What one who drew reached in the table of tasks: how often every atom passed.

    Attributes:
        strict: strict accuracy by task.
        overall: unweighted mean of the task rates.
        lenient: the same by the lenient rule (extras and background ignored); empty for the shuffled floor.
        atoms: pass rate by task and atom; empty for the shuffled floor.
        unsure: share of pictures the checker could not tell; None for the shuffled floor.
        unsure_by_task: the same by task; empty for the shuffled floor.
        outcomes: strict outcomes by task, group of prompts that ask for the same thing, and picture.
    """

    strict: dict[str, Estimate]
    overall: Estimate
    outcomes: dict[str, list[list[float]]]
    lenient: dict[str, Estimate]
    atoms: dict[str, dict[str, Estimate]]
    unsure: Estimate | None
    unsure_by_task: dict[str, Estimate]

    def as_dict(self) -> dict[str, Any]:
        """Give the row's figures by name, outcomes left out."""
        names = ("strict", "overall", "lenient", "atoms", "unsure", "unsure_by_task")
        return {name: getattr(self, name) for name in names}


def score_verdicts(benchmark: Benchmark, verdicts: Sequence[Sequence[Verdict]], **how: Unpack[Resampling]) -> ScoreRow:
    """Sum up verdicts by task."""

    def outcomes_of(rows: list[int], passed: Callable[[Verdict], bool]) -> list[list[float]]:
        return [[float(passed(v)) for i in group for v in verdicts[i]] for group in benchmark.groups(rows)]

    def share(rows: list[int], passed: Callable[[Verdict], bool]) -> Estimate:
        return share_by_prompt(outcomes_of(rows, passed), **how)

    tasks = benchmark.by_task()
    outcomes = {task: outcomes_of(rows, lambda v: v.strict) for task, rows in tasks.items()}
    atoms: dict[str, dict[str, Estimate]] = {}
    for task, rows in tasks.items():
        names = list(dict.fromkeys(atom for i in rows for v in verdicts[i] for atom in v.atoms))
        asked = {atom: [i for i in rows if verdicts[i] and atom in verdicts[i][0].atoms] for atom in names}
        atoms[task] = {atom: share(mine, lambda v, a=atom: v.atoms[a] == "pass") for atom, mine in asked.items()}  # type: ignore[misc]
    return ScoreRow(
        strict={t: share_by_prompt(rows, **how) for t, rows in outcomes.items()},
        overall=mean_over_tasks(outcomes, **how),
        outcomes=outcomes,
        lenient={task: share(rows, lambda v: v.lenient) for task, rows in tasks.items()},
        atoms=atoms,
        unsure=share(list(range(len(benchmark.prompts))), lambda v: v.unsure),
        unsure_by_task={task: share(rows, lambda v: v.unsure) for task, rows in tasks.items()},
    )


def score_shuffled(benchmark: Benchmark, seen: Sequence[Sequence[Extraction]], **how: Unpack[Resampling]) -> ScoreRow:
    """Judge every picture against all prompts of its task that ask for something else.

    That is what a model that ignores its prompt would score.
    """
    outcomes: dict[str, list[list[float]]] = {}
    for task, rows in benchmark.by_task().items():
        groups = benchmark.groups(rows)
        if len(groups) > 1:
            scenes = [benchmark.prompts[group[0]].scene for group in groups]
            outcomes[task] = [
                [_mean_pass(e, [s for j, s in enumerate(scenes) if j != g]) for i in group for e in seen[i]]
                for g, group in enumerate(groups)
            ]
    strict = {t: share_by_prompt(rows, **how) for t, rows in outcomes.items()}
    overall = mean_over_tasks(outcomes, **how)
    return ScoreRow(strict, overall, outcomes, {}, {}, None, {})


def _mean_pass(extraction: Extraction, scenes: Sequence[Scene | None]) -> float:
    return float(np.mean([judge(extraction, scene).strict for scene in scenes if scene]))


def differences(first: ScoreRow, second: ScoreRow, **how: Unpack[Resampling]) -> dict[str, Estimate]:
    """Compare two rows task by task on their shared prompts, first minus second."""
    return {task: paired_difference(rows, second.outcomes[task], **how) for task, rows in first.outcomes.items()}


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
