"""Challenger and champion on the same prompts and seeds: the difference of the two, with its interval."""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from t2i_core.comparison.judged import Judged, require_alike
from t2i_core.errors import ConfigError, DataError
from t2i_core.evaluation.judges.statistics import Estimate, mean_over_tasks, paired_over_tasks
from t2i_core.folders.manifest import read_manifest
from t2i_core.promotion.config import FigureName
from t2i_core.promotion.registry import Evidence, Interval

# By task and by what is asked for, the figures of its pictures.
Outcomes = dict[str, dict[str, list[float]]]
# Of a line of `samples.jsonl`: what it says of its picture, and what is needed for that.
FIGURES: dict[FigureName, tuple[str, tuple[str, ...], Callable[[Mapping[str, Any]], float]]] = {
    "strict": ("strict accuracy", ("strict",), lambda row: float(row["strict"])),
    "styles": (
        "right thing in the right style",
        ("thing_right", "style_right"),
        lambda row: float(row["thing_right"] and row["style_right"]),
    ),
    "clip": ("CLIP cosine", ("cosine",), lambda row: float(row["cosine"])),
}
# The section of an evaluation whose gates stand behind a figure.
SECTIONS: dict[FigureName, str] = {"strict": "accuracy", "styles": "styles", "clip": "clip"}


def evidence_in(comparison_dir: Path, challenger: str, champion: str, figure: FigureName = "auto") -> Evidence:
    """Find what a finished comparison says of two runs or systems.

    Args:
        comparison_dir: a finished comparison.
        challenger: digest of the one.
        champion: digest of the other.
        figure: what is compared.

    Raises:
        ConfigError: one of them is not in the comparison, they have no such figure, or its gate failed.
        DataError: an evaluation is damaged.
    """
    manifest = read_manifest(comparison_dir, "comparison")
    judged = {}
    for name, source in manifest.sources.items():
        one = Judged.read(name, (comparison_dir / source).resolve())
        judged[one.manifest.key.inputs["run"]] = one
    for digest in (challenger, champion):
        if digest not in judged:
            raise ConfigError(f"{comparison_dir} compares no run or system of digest {digest:.12}: compare those two.")
    return evidence_of(judged[challenger], judged[champion], manifest.digest, figure)


def evidence_of(challenger: Judged, champion: Judged, comparison: str, figure: FigureName = "auto") -> Evidence:
    """Compare two evaluations of the same prompts and seeds.

    Raises:
        ConfigError: they were not made alike, have no such figure, or its gate failed.
        DataError: one is damaged.
    """
    require_alike([challenger, champion])
    chosen = _chosen(challenger, champion, figure)
    for judged in (challenger, champion):
        _require_gates(judged, chosen)
    sides = [_outcomes(judged, chosen) for judged in (challenger, champion)]
    rows = [{task: list(groups.values()) for task, groups in side.items()} for side in sides]
    how = {"seed": challenger.config.seed, "resamples": challenger.config.bootstrap_resamples}
    difference = paired_over_tasks(rows[0], rows[1], **how)
    own, other = (mean_over_tasks(side, **how) for side in rows)
    return Evidence(
        figure=FIGURES[chosen][0],
        challenger=_interval(own),
        champion=_interval(other),
        difference=_interval(difference),
        prompts=difference.num,
        comparison=comparison,
        against=champion.manifest.key.inputs["run"],
    )


def _interval(estimate: Estimate) -> Interval:
    value, low, high = (round(part, 6) for part in (estimate.value, estimate.low, estimate.high))
    return Interval(value=value, low=low, high=high)


def _chosen(challenger: Judged, champion: Judged, wanted: FigureName) -> FigureName:
    """Choose a figure that every picture of both has."""
    rows = [*challenger.rows, *champion.rows]
    there = [name for name, (_, fields, _) in FIGURES.items() if all(f in row for row in rows for f in fields)]
    if wanted in there or (wanted == "auto" and there):
        return there[0] if wanted == "auto" else wanted
    raise ConfigError(
        f"{challenger.folder} and {champion.folder} have no figure to compare by ({wanted}): data without scenes or "
        "styles needs a CLIP that scores (--clip or --clip-dir)."
    )


def _require_gates(judged: Judged, figure: FigureName) -> None:
    """Refuse a figure whose judge failed its own test."""
    gates = (judged.found("sections", SECTIONS[figure]) or {}).get("gates", ())
    if failed := [gate["name"] for gate in gates if gate["level"] == "bad"]:
        raise ConfigError(f"{failed[0]} failed in {judged.folder}: its figures carry no weight, and decide nothing.")


def _outcomes(judged: Judged, figure: FigureName) -> Outcomes:
    found: Outcomes = defaultdict(lambda: defaultdict(list))
    try:
        for row in judged.rows:
            found[row["task"]][row["asks_for"]].append(FIGURES[figure][2](row))
    except (KeyError, TypeError, ValueError) as err:
        raise DataError(f"{judged.folder}/samples.jsonl is damaged or of an earlier t2i. Evaluate again.") from err
    return found


def score_of(judged: Judged, figure: FigureName = "auto") -> tuple[str, Interval]:
    """Give the figure that a system would be compared by, and its name.

    Raises:
        ConfigError: it has none, or its gate failed.
        DataError: the evaluation is damaged.
    """
    chosen = _chosen(judged, judged, figure)
    _require_gates(judged, chosen)
    rows = {task: list(groups.values()) for task, groups in _outcomes(judged, chosen).items()}
    estimate = mean_over_tasks(rows, seed=judged.config.seed, resamples=judged.config.bootstrap_resamples)
    return FIGURES[chosen][0], _interval(estimate)
