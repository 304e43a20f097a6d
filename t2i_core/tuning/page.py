"""What a tune found: curves over the budget, a table of all trials, and the best recipe as a file."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from markupsafe import Markup

from t2i_core.evaluation.metrics.section import Column, Mark, Row, Section, Table
from t2i_core.evaluation.page import render_sections, tables_as_text
from t2i_core.folders.atomic import write_atomically
from t2i_core.report.charts import PALETTE, interval_chart, line_chart
from t2i_core.training.config import TrainConfig
from t2i_core.training.curve import validation_curve
from t2i_core.tuning.config import TuneConfig
from t2i_core.tuning.trial import Trial, best_first

LOSS = "validation loss"
LEAD = (
    "Each trial goes on from its own checkpoint to the next budget, and at the end of each its learning rate is down "
    "to 0. Trained at once, as `t2i train` does, the best recipe comes out a little otherwise. The best of many is a "
    "little flattered."
)
# Options that decide what is learned, and that no recipe holds.
BESIDE_RECIPE = ("init_from", "uses", "seed", "precision", "shards", "weights")
DEFAULTS = TrainConfig()


class Ranking:
    """All trials of a tune in their order, those that came furthest first, of these the best.

    Args:
        config: of the tune.
        trials: one at least of which was trained.
        figure: what they were judged by.
    """

    def __init__(self, config: TuneConfig, trials: Sequence[Trial], figure: str) -> None:
        self.config, self.figure, self.budgets = config, figure, config.budgets
        self.trials: list[Trial] = []
        for rung in reversed(range(config.rungs)):
            ended_there = [trial for trial in trials if len(trial.scores) == rung + 1]
            self.trials += best_first(ended_there, rung, lower_is_better=config.judge == "loss")
        self.trials += [trial for trial in trials if not trial.scores]

    @property
    def best(self) -> Trial:
        """The best of those that came furthest."""
        return self.trials[0]

    def describe(self) -> str:
        """Say what came out, in a sentence or two."""
        best = self.best
        stopped = sum(len(trial.scores) < self.config.rungs and not trial.failure for trial in self.trials)
        failed = sum(bool(trial.failure) for trial in self.trials)
        counts = f"{len(self.trials)} trials, {stopped} stopped early" + (f", {failed} failed" if failed else "")
        budget = self.budgets[len(best.scores) - 1]
        return f"Best by {self.figure}: {best.label}; {best.scores[-1]} at {budget:,} pictures. {counts}."

    def command(self, output_dir: Path) -> str:
        """Spell the command that trains the best recipe, with all that the recipe does not hold."""
        best = self.config.training(self.best.settings, self.budgets[-1])
        words = ["t2i", "train", "CAPTIONS", "--preset", str(output_dir / "best.json")]
        for name in BESIDE_RECIPE:
            if (value := getattr(best, name)) != getattr(DEFAULTS, name):
                for each in value if isinstance(value, tuple) else (value,):
                    words += [f"--{name.replace('_', '-')}", str(each)]
        return shlex.join([*words, "--output-dir", "RUN"])


def write_tune(output_dir: Path, ranking: Ranking) -> None:
    """Write `report.html`, `report.md` and `best.json`."""
    config, best = ranking.config, ranking.best
    recipe = config.training(best.settings, ranking.budgets[-1]).resolve()
    recipe = recipe.with_changes(description=f"{recipe.description} Tuned: {best.label}.")
    write_atomically(output_dir / "best.json", json.dumps(recipe.model_dump(mode="json"), indent=2).encode() + b"\n")
    section, summary, command = _section(ranking), ranking.describe(), ranking.command(output_dir)
    text = "\n".join(["# Tune", *tables_as_text([section]), "", summary, "", f"`{command}`", ""])
    write_atomically(output_dir / "report.md", text.encode())
    html = render_sections(
        "t2i_core.tuning",
        {"trials": section},
        curve=_curves(ranking),
        figure=ranking.figure,
        summary=summary,
        command=command,
        lead=LEAD + (f" Drawn are the first {len(PALETTE)}." if len(ranking.trials) > len(PALETTE) else ""),
    )
    write_atomically(output_dir / "report.html", html.encode())


def _section(ranking: Ranking) -> Section:
    heads = [f"{budget:,} pictures" for budget in ranking.budgets]
    columns = [Column(head, "text", brief=head) for head in heads] + [Column("", "text", brief="outcome")]
    rows = []
    for trial in ranking.trials:
        scores = [str(score) for score in trial.scores]
        missing = [None] * (len(heads) - len(scores))
        rows.append(Row(trial.label, [*scores, *missing, _outcome(trial, ranking)], remark=trial.failure))
    return Section(title="Trials", blocks=[Table("All trials, the best first", "Recipe", columns, rows)])


def _outcome(trial: Trial, ranking: Ranking) -> Mark | None:
    if trial is ranking.best:
        return Mark("best", "good")
    if trial.failure:
        return Mark("failed", "bad")
    return Mark("stopped early", "warn") if len(trial.scores) < ranking.config.rungs else None


def _curves(ranking: Ranking) -> Markup:
    """Draw losses as the runs logged them, other figures where they were judged."""
    shown = [trial for trial in ranking.trials if trial.scores][: len(PALETTE)]
    if ranking.config.judge == "loss":
        curves = {trial.label: validation_curve(trial.run_dir) for trial in shown}
        lines = {label: ([p.images for p in curve], [p.loss for p in curve]) for label, curve in curves.items()}
        return line_chart(lines, "pictures")
    points = {
        trial.label: [
            (float(rung), score.value, *(score.interval or (score.value, score.value)))
            for rung, score in enumerate(trial.scores)
        ]
        for trial in shown
    }
    return interval_chart(points, {float(rung): f"{budget:,}" for rung, budget in enumerate(ranking.budgets)})
