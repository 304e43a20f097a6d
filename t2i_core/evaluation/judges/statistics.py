"""Intervals that respect how the pictures were made: the unit of resampling is the prompt, never the picture."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

NUM_RESAMPLES = 2000
_Z95 = 1.959963984540054


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure with its 95 % interval.

    Attributes:
        value: the point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        num: how many units (prompts, or pictures for plain shares) it rests on.
    """

    value: float
    low: float
    high: float
    num: int

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"


def plain(value: Any) -> dict[str, Any]:
    """Give a record as plain data, numbers rounded to six places: what `json.dumps` is to do with one."""
    parts = ((field.name, getattr(value, field.name)) for field in fields(value))
    return {name: round(part, 6) if isinstance(part, float) else part for name, part in parts}


def wilson(num_passed: float, num: int) -> Estimate:
    """Estimate a share of independent trials by Wilson's score interval (Wilson 1927, 95 %).

    Args:
        num_passed: successes; may be fractional when trials are averages.
        num: trials; with none the interval is [0, 1].
    """
    if num == 0:
        return Estimate(0.0, 0.0, 1.0, 0)
    share, z2 = num_passed / num, _Z95**2
    centre = (share + z2 / (2 * num)) / (1 + z2 / num)
    half = _Z95 / (1 + z2 / num) * (share * (1 - share) / num + z2 / (4 * num**2)) ** 0.5
    return Estimate(share, max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half)), num)


def share_by_prompt(outcomes: Sequence[Sequence[float]], *, seed: int, resamples: int = NUM_RESAMPLES) -> Estimate:
    """Estimate a pass rate over prompts with a cluster bootstrap.

    Where all prompts agree, resampling sees no spread; the interval is then Wilson's over the number of prompts.

    Args:
        outcomes: for each prompt, the outcomes (0..1) of its pictures.
        seed: of the resampling.
        resamples: number of bootstrap resamples.
    """
    means = np.array([np.mean(row) for row in outcomes if len(row)], dtype=np.float64)
    if len(means) == 0 or np.ptp(means) == 0:
        return wilson(float(means.sum()), len(means))
    return mean_by_prompt(means, seed=seed, resamples=resamples)


def mean_by_prompt(means: Floats, *, seed: int, resamples: int = NUM_RESAMPLES) -> Estimate:
    """Estimate the mean of per-prompt figures, (N,), with a percentile bootstrap over prompts.

    Raises:
        ValueError: there are no figures.
    """
    if len(means) == 0:
        raise ValueError("no prompts to average over")
    return _interval(float(means.mean()), means[_draws(len(means), seed, resamples)].mean(axis=1), len(means))


def mean_over_tasks(
    tasks: Mapping[str, Sequence[Sequence[float]]], *, seed: int, resamples: int = NUM_RESAMPLES
) -> Estimate:
    """Estimate the unweighted mean of task rates, resampling prompts within each task."""
    means = [np.array([np.mean(row) for row in rows], dtype=np.float64) for rows in tasks.values() if rows]
    total = sum(len(m) for m in means)
    value = float(np.mean([m.mean() for m in means])) if means else 0.0
    if all(np.ptp(m) == 0 for m in means):
        return wilson(value * total, total)
    drawn = [m[_draws(len(m), seed + i, resamples)].mean(axis=1) for i, m in enumerate(means)]
    return _interval(value, np.mean(drawn, axis=0), total)


def paired_difference(
    first: Sequence[Sequence[float]],
    second: Sequence[Sequence[float]],
    *,
    seed: int,
    resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Estimate first minus second, both measured on the same prompts in the same order.

    Raises:
        ValueError: the two do not cover the same number of prompts.
    """
    if len(first) != len(second):
        raise ValueError(f"{len(first)} prompts against {len(second)}: a paired difference needs the same prompts")
    gaps = np.array([np.mean(a) - np.mean(b) for a, b in zip(first, second, strict=True)], dtype=np.float64)
    return mean_by_prompt(gaps, seed=seed, resamples=resamples)


def paired_over_tasks(
    first: Mapping[str, Sequence[Sequence[float]]],
    second: Mapping[str, Sequence[Sequence[float]]],
    *,
    seed: int,
    resamples: int = NUM_RESAMPLES,
) -> Estimate:
    """Estimate the unweighted mean over tasks of first minus second, resampling what is asked for within each task.

    Where all gaps of each task agree, resampling sees no spread; the interval is then that of two means that were
    measured apart, which is wider.

    Args:
        first: by task and by what is asked for, the figures of its pictures.
        second: likewise, for the same tasks and in the same order.
        seed: of the resampling.
        resamples: number of bootstrap resamples.

    Raises:
        ValueError: the two do not cover the same.
    """
    if {task: len(rows) for task, rows in first.items()} != {task: len(rows) for task, rows in second.items()}:
        raise ValueError("a paired difference needs the same prompts on both sides")
    gaps = [np.array([np.mean(a) - np.mean(b) for a, b in zip(first[t], second[t], strict=True)]) for t in first]
    num = sum(map(len, gaps))
    if all(np.ptp(gap) == 0 for gap in gaps):
        own, other = (mean_over_tasks(side, seed=seed, resamples=resamples) for side in (first, second))
        return replace(difference(own, other), num=num)
    drawn = [gap[_draws(len(gap), seed + i, resamples)].mean(axis=1) for i, gap in enumerate(gaps)]
    return _interval(float(np.mean([gap.mean() for gap in gaps])), np.mean(drawn, axis=0), num)


def difference(first: Estimate, second: Estimate) -> Estimate:
    """Estimate first minus second of two that were measured apart, from the intervals of each.

    For shares this is the hybrid score method of Newcombe (1998, Statistics in Medicine 17, 873-890, method 10).
    """
    value = first.value - second.value
    below = math.hypot(first.value - first.low, second.high - second.value)
    above = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - below, value + above, first.num + second.num)


def skill(
    generated: Floats, shuffled: Floats, real: Floats, *, seed: int, resamples: int = NUM_RESAMPLES
) -> Estimate | None:
    """Place a mean score between its floor and its ceiling: (generated - shuffled) / (real - shuffled).

    0 says that the prompt is ignored, 1 that the pictures fit as well as real ones.

    Args:
        generated: (N,) per-prompt score of the model's pictures.
        shuffled: (N,) the same pictures against other prompts.
        real: (N,) real pictures of the same prompts.
        seed: of the resampling.
        resamples: number of bootstrap resamples.

    Returns:
        The estimate, or None where ceiling and floor cannot be told apart.
    """
    if len(generated) == 0:
        return None
    picks = _draws(len(generated), seed, resamples)
    floor, ceiling, score = (a[picks].mean(axis=1) for a in (shuffled, real, generated))
    if np.any(ceiling - floor <= 1e-6):
        return None
    value = (generated.mean() - shuffled.mean()) / (real.mean() - shuffled.mean())
    return _interval(float(value), (score - floor) / (ceiling - floor), len(generated))


def auc(positives: Floats, negatives: Floats) -> float:
    """Give the chance that a positive scores above a negative, ties counted half (Mann-Whitney U)."""
    ordered = np.sort(negatives)
    below = np.searchsorted(ordered, positives, side="left")
    not_above = np.searchsorted(ordered, positives, side="right")
    return float(((below + not_above) / 2).mean() / len(ordered))


def _draws(num: int, seed: int, resamples: int) -> npt.NDArray[np.int64]:
    return np.random.default_rng(seed).integers(0, max(num, 1), size=(resamples, num))


def _interval(value: float, resampled: Floats, num: int) -> Estimate:
    low, high = np.percentile(resampled, [2.5, 97.5])
    return Estimate(value, float(low), float(high), num)
