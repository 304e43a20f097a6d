"""Which trials come next: all of a grid, or what Optuna proposes after what came of those before.

Nothing is kept of a search: the same scores lead to the same proposals, so one that was stopped goes over its finished
trials again, all of which are there already, and on from there.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from t2i_core.canonical import canonical_json
from t2i_core.errors import ConfigError
from t2i_core.tuning.axis import Axis
from t2i_core.tuning.config import Settings, TuneConfig
from t2i_core.tuning.trial import Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

# Of a number that is proposed: as many digits as anybody would write.
DIGITS = 4


class Proposals(Protocol):
    """Trials, group after group."""

    def next(self) -> list[Settings]:
        """Give trials that are judged beside each other; none at the end."""
        ...

    def learn(self, trials: Sequence[Trial]) -> None:
        """Look at what came of the last ones, in their order."""
        ...


def propose(config: TuneConfig) -> Proposals:
    """Give what proposes the trials of a config.

    Raises:
        ConfigError: it needs a package that is not installed.
    """
    return Grid(config.combinations) if config.grid else Search(config)


class Grid:
    """All of a grid, beside each other."""

    def __init__(self, combinations: list[Settings]) -> None:
        self._left = combinations

    def next(self) -> list[Settings]:
        """See `Proposals.next`."""
        given, self._left = self._left, []
        return given

    def learn(self, trials: Sequence[Trial]) -> None:
        """See `Proposals.learn`; a grid has no use for it."""


class Search:
    """What the tree-structured Parzen estimator proposes (Bergstra et al. 2011), seeded.

    A group has as many as bring one to the last rung. Of trials that were stopped, those count for more that came
    further.
    """

    def __init__(self, config: TuneConfig) -> None:
        try:
            import optuna
        except ImportError as err:
            raise ConfigError(
                "a search needs Optuna, which is not installed: `t2i doctor` says how to add it (the extra tune). "
                "Or list values, and try all of them with --grid."
            ) from err
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._pruned, self._failed = optuna.trial.TrialState.PRUNED, optuna.trial.TrialState.FAIL
        sampler = optuna.samplers.TPESampler(seed=config.seed)
        direction = "minimize" if config.judge == "loss" else "maximize"
        self._study = optuna.create_study(sampler=sampler, direction=direction)
        self._space = {axis.path: _distribution(axis) for axis in config.axes}
        self._lists = {axis.path for axis in config.axes if not axis.is_range}
        self._left, self._rungs = config.trials, config.rungs
        self._group = config.reduction ** (config.rungs - 1)
        self._asked: list[Any] = []

    def next(self) -> list[Settings]:
        """See `Proposals.next`."""
        self._asked = [self._study.ask(self._space) for _ in range(min(self._group, self._left))]
        self._left -= len(self._asked)
        return [{path: self._plain(path, value) for path, value in trial.params.items()} for trial in self._asked]

    def learn(self, trials: Sequence[Trial]) -> None:
        """See `Proposals.learn`."""
        for asked, trial in zip(self._asked, trials, strict=True):
            for rung, score in enumerate(trial.scores):
                asked.report(score.value, rung)
            if len(trial.scores) == self._rungs:
                self._study.tell(asked, trial.scores[-1].value)
            else:
                self._study.tell(asked, state=self._pruned if trial.scores else self._failed)

    def _plain(self, path: str, value: Any) -> Any:
        if path in self._lists:
            return json.loads(value)
        return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _distribution(axis: Axis) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if not axis.is_range:
        # Optuna takes no lists for values.
        return CategoricalDistribution([canonical_json(value) for value in axis.values])
    low, high = axis.values
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=axis.is_log)
    return FloatDistribution(low, high, log=axis.is_log)
