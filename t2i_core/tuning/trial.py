"""Trials, what came of each at every rung, and which go on to the next: successive halving.

A trial is first trained for a small part of the budget. The better ones go on, from their checkpoints, to the next
budget, and so on (Jamieson & Talwalkar 2016, arXiv:1502.07943). Trials that are proposed later must be among the best
of all that came so far (Li et al. 2018, arXiv:1810.05934).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path

from t2i_core.canonical import canonical_json, digest_of
from t2i_core.tuning.config import Settings

MAX_NAME = 60


@dataclass(frozen=True, slots=True)
class Score:
    """What a trial came to at a rung.

    Attributes:
        value: its loss, or its figure.
        interval: the ends of its 95 % interval; a loss has none.
    """

    value: float
    interval: tuple[float, float] | None = None

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.value:.4g}"
        return f"{self.value:.3f} [{self.interval[0]:.3f}, {self.interval[1]:.3f}]"


@dataclass(slots=True, eq=False)
class Trial:
    """A recipe that is tried.

    Attributes:
        settings: that it sets.
        scores: of each rung that it came to.
        failure: why it could not be trained on; "" if it could.
        run_dir: its run at the last of these rungs.
    """

    settings: Settings
    scores: list[Score] = field(default_factory=list)
    failure: str = ""
    run_dir: Path = Path()

    @property
    def label(self) -> str:
        """What it sets, for a person."""
        return ", ".join(f"{path} {value}" for path, value in self.settings.items())

    @property
    def name(self) -> str:
        """The name of its folder: the same for the same settings, whatever else is tried."""
        parts = (f"{path.rpartition('.')[2]}-{canonical_json(value)}" for path, value in self.settings.items())
        plain = re.sub(r"[^A-Za-z0-9_.+-]+", "-", "_".join(parts))[:MAX_NAME].strip("-.")
        return f"{plain}-{digest_of(dict(self.settings))[:8]}"


def best_first(trials: Sequence[Trial], rung: int, *, lower_is_better: bool) -> list[Trial]:
    """Order the trials that came to a rung, the best first; of those alike the one that was proposed first."""
    there = [trial for trial in trials if len(trial.scores) > rung]
    return sorted(there, key=lambda trial: (1 if lower_is_better else -1) * trial.scores[rung].value)


def going_on(
    among: Sequence[Trial], trials: Sequence[Trial], rung: int, reduction: int, *, lower_is_better: bool
) -> list[Trial]:
    """Choose those that go on from a rung: as many as one of `reduction`, rounded up, of all that came to it.

    Args:
        among: to choose from.
        trials: all so far.
        rung: that they came to.
        reduction: of so many one goes on.
        lower_is_better: as of a loss.
    """
    ranked = best_first(trials, rung, lower_is_better=lower_is_better)
    kept = ranked[: ceil(len(ranked) / reduction)]
    return [trial for trial in among if trial in kept]
