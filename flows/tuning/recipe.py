"""A tune, written once: train trials from budget to budget, stop the worse ones, keep the best. Steps decide how."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.steps import Steps
from t2i_core.comparison.judged import Judged
from t2i_core.errors import ConfigError, TrainingError
from t2i_core.evaluation.config import EvaluateRequest
from t2i_core.folders.atomic import staged_folder
from t2i_core.folders.layout import require_workspace
from t2i_core.promotion.paired import score_of
from t2i_core.training.config import TrainRequest
from t2i_core.training.curve import validation_curve
from t2i_core.tuning.config import TuneConfig
from t2i_core.tuning.page import LOSS, Ranking, write_tune
from t2i_core.tuning.proposals import propose
from t2i_core.tuning.trial import Score, Trial, going_on

TRIALS_DIR, JUDGED_DIR = "trials", "judged"


def run_tune(
    steps: Steps, captions_dir: Path, config: TuneConfig, output_dir: Path, clip_dir: Path | None = None
) -> str:
    """Try recipes; what was trained and judged already is not done again.

    Args:
        steps: how each step is done.
        captions_dir: a finished captions folder.
        config: what is tried, and how it is judged.
        output_dir: `trials/BUDGET/NAME/`, where trials are evaluated `judged/BUDGET/NAME/`, `report.html` and
            `best.json` are made in it.
        clip_dir: a finished CLIP run that scores.

    Returns:
        What came out, in a sentence or two.

    Raises:
        ConfigError: something of it cannot be tried, or be judged so.
        TrainingError: no trial could be trained.
    """
    config.check()
    proposals, judge = propose(config), Judge(steps, captions_dir, config, output_dir, clip_dir)
    tried: dict[str, Trial] = {}
    while proposed := proposals.next():
        trials = [tried.setdefault(trial.name, trial) for trial in map(Trial, proposed)]
        judge.take_further([trial for trial in dict.fromkeys(trials) if not trial.scores], list(tried.values()))
        proposals.learn(trials)
    if not any(trial.scores for trial in tried.values()):
        raise TrainingError(f"no trial could be trained: {next(iter(tried.values())).failure}")
    ranking = Ranking(config, list(tried.values()), judge.figure)
    write_tune(output_dir, ranking)
    return ranking.describe()


@dataclass(slots=True)
class Judge:
    """Trains trials from rung to rung, and judges them.

    Attributes:
        figure: what they are judged by, for a person.
    """

    steps: Steps
    captions_dir: Path
    config: TuneConfig
    output_dir: Path
    clip_dir: Path | None
    figure: str = LOSS

    def take_further(self, trials: Sequence[Trial], all_trials: Sequence[Trial]) -> None:
        """Take new trials as far as each deserves beside all that came so far."""
        for rung in range(self.config.rungs):
            trained = self._trained(trials, rung)
            for trial, score in zip(trained, self._scores(trained, rung), strict=True):
                trial.scores.append(score)
            by_loss = self.config.judge == "loss"
            trials = going_on(trained, all_trials, rung, self.config.reduction, lower_is_better=by_loss)

    def _place(self, kind: str, trial: Trial, rung: int) -> Path:
        name = f"{kind}/{self.config.budgets[rung]}/{trial.name}"
        require_workspace(self.output_dir, [name])
        return self.output_dir / name

    def _trained(self, trials: Sequence[Trial], rung: int) -> list[Trial]:
        """Train trials up to a rung, from the one before; those that cannot be are noted, and stay behind."""
        results = self.steps.train_all([self._request(trial, rung) for trial in trials])
        for trial, result in zip(trials, results, strict=True):
            if isinstance(result, TrainingError):
                trial.failure = str(result)
            else:
                trial.run_dir = result.path
        return [trial for trial in trials if not trial.failure]

    def _request(self, trial: Trial, rung: int) -> TrainRequest:
        run_dir = self._place(TRIALS_DIR, trial, rung)
        if rung and not run_dir.exists():
            with staged_folder(run_dir) as stage:
                shutil.copytree(trial.run_dir, stage, dirs_exist_ok=True)
        config = self.config.training(trial.settings, self.config.budgets[rung])
        return TrainRequest(captions_dir=self.captions_dir, config=config, output_dir=run_dir)

    def _scores(self, trials: Sequence[Trial], rung: int) -> list[Score]:
        if self.config.judge == "loss":
            return [_loss_of(trial) for trial in trials]
        refs = self.steps.evaluate_all(
            [
                EvaluateRequest(
                    run_dir=trial.run_dir,
                    config=self.config.evaluation(),
                    output_dir=self._place(JUDGED_DIR, trial, rung),
                    clip_dir=self.clip_dir,
                    on_conflict="replace",
                )
                for trial in trials
            ]
        )
        found = [score_of(Judged.read(ref.path.name, ref.path), self.config.judge) for ref in refs]
        self.figure = found[0][0] if found else self.figure
        return [Score(interval.value, (interval.low, interval.high)) for _, interval in found]


def _loss_of(trial: Trial) -> Score:
    """Read the loss that a run ended with."""
    curve = validation_curve(trial.run_dir)
    if not curve:
        raise ConfigError(
            f"{trial.run_dir} has no validation loss: its captions have no validation pictures (--validation-share of "
            "`t2i caption`). Judge what is drawn: add --judge strict."
        )
    return Score(curve[-1].loss)
