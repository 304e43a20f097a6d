"""The card on top of a report: a few figures, how far to trust them, and which gates stand behind them.

A figure that its gate does not carry is withheld with the reason, and the card's color is that of the worst doubt.
"""

from dataclasses import dataclass, field
from typing import Literal

from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.metrics.agreement import (
    FALSE_PASS_BAD,
    MAX_FALSE_PASS,
    MIN_SENSITIVITY,
    SENSITIVITY_BAD,
    Agreement,
)
from t2i_core.evaluation.metrics.statistics import Estimate, wilson
from t2i_core.evaluation.metrics.verdict import UNSURE_BAD, UNSURE_WARN

Level = Literal["good", "warn", "bad"]
RANK: dict[Level, int] = {"good": 0, "warn": 1, "bad": 2}
OUTCOMES: dict[Level, str] = {"good": "passed", "warn": "passed in part", "bad": "failed"}

# A share of pictures near to training that is surely above this is worth a look; chance is 0.01.
COPYING_WARN = 0.05


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of the card.

    Attributes:
        name: what it is.
        text: the figure as shown, or "withheld".
        note: interval, and how to read it.
        level: how it looks.
    """

    name: str
    text: str
    note: str
    level: Level = "good"


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether something may judge, and why not."""

    name: str
    level: Level
    note: str

    @property
    def text(self) -> str:
        """The gate's name and outcome."""
        return f"{self.name} {OUTCOMES[self.level]}"


@dataclass(slots=True)
class Headline:
    """The card.

    Attributes:
        figures: what is shown large.
        gates: what stands behind them.
    """

    figures: list[Figure] = field(default_factory=list)
    gates: list[Gate] = field(default_factory=list)

    @property
    def level(self) -> Level:
        """The worst level of any figure or gate."""
        levels = [figure.level for figure in self.figures] + [gate.level for gate in self.gates]
        return max(levels, key=RANK.__getitem__, default="good")


def headline_of(evaluation: Evaluation) -> Headline:
    """Say in a few figures how it went, and how far to trust that."""
    card = Headline()
    _add_composition(card, evaluation)
    _add_recall(card, evaluation)
    _add_clip(card, evaluation)
    _add_copying(card, evaluation)
    return card


def _add_composition(card: Headline, evaluation: Evaluation) -> None:
    composition = evaluation.composition
    if composition is None:
        return
    row, gate = composition.rows["model"], composition.gate
    card.gates.append(Gate("Checker gate", "good" if gate.passed else "bad", gate.version))
    card.gates.append(eye_gate(composition.agreement))
    name = "strict accuracy, mean of tasks"
    if gate.passed:
        note = f"{interval(row.overall)}; everything right and nothing else in the picture"
        card.figures.append(Figure(name, _value(row.overall), note))
    else:
        card.figures.append(Figure(name, "withheld", "the checker failed its gate", "bad"))
    if row.unsure is not None:
        card.figures.append(
            Figure("unsure", f"{row.unsure.value:.0%}", _unsure_note(row.unsure), unsure_level(row.unsure))
        )


def eye_gate(agreement: Agreement) -> Gate:
    """Judge the checker by how often it passes what is right and what is wrong to the eye."""
    hit, slip = agreement.sensitivity, agreement.false_pass
    level: Level = "good"
    if slip.value > MAX_FALSE_PASS or hit.value < MIN_SENSITIVITY:
        level = "warn"
    if slip.value > FALSE_PASS_BAD or hit.value < SENSITIVITY_BAD:
        level = "bad"
    note = f"of {len(agreement.compared)} pictures judged by eye it passes {hit} of the right, {slip} of the wrong ones"
    return Gate("Checker against the eye", level, note)


def unsure_level(unsure: Estimate) -> Level:
    """Judge a share of pictures that the checker could not tell."""
    return "bad" if unsure.value > UNSURE_BAD else "warn" if unsure.value > UNSURE_WARN else "good"


def _unsure_note(unsure: Estimate) -> str:
    level = unsure_level(unsure)
    meaning = {
        "good": "",
        "warn": "; some may be right",
        "bad": "; so many that strict accuracy says little about this model",
    }[level]
    return f"{interval(unsure)}; pictures that the checker could not tell, counted as failed{meaning}"


def _add_recall(card: Headline, evaluation: Evaluation) -> None:
    recall = evaluation.copies.recall if evaluation.copies else None
    if recall is not None:
        note = f"{interval(recall)}; of all training pictures the nearest is the prompt's own"
        card.figures.append(Figure("training pictures recalled", _value(recall), note))


def _add_clip(card: Headline, evaluation: Evaluation) -> None:
    clip = evaluation.clip
    if clip is None:
        return
    gate = clip.gate
    level: Level = "bad" if not gate.passed else "warn" if gate.failures else "good"
    card.gates.append(Gate("CLIP gate", level, gate.why_no_headline))
    skill = clip.summary.get("skill")
    if gate.why_no_headline:
        card.figures.append(Figure("CLIP skill", "withheld", gate.why_no_headline, "warn"))
    elif skill is None:
        card.figures.append(Figure("CLIP skill", "withheld", "real and shuffled pairs cannot be told apart", "warn"))
    else:
        note = f"{interval(skill)}; 0 ignores the prompt, 1 is as good as real"
        card.figures.append(Figure("CLIP skill", _value(skill), note))


def _add_copying(card: Headline, evaluation: Evaluation) -> None:
    if evaluation.copies is None or evaluation.benchmark.kind != "scenes":
        return
    found = evaluation.copies.neighbours
    share = wilson(found.num_closer, len(found.generated))
    excess = share.low > COPYING_WARN
    note = (
        "more than held-out real pictures are: look at the nearest training pictures below"
        if excess
        else "closer than 99 % of real pictures that training never saw; chance is 1 %"
    )
    level: Level = "warn" if excess else "good"
    card.figures.append(Figure("close to training pictures", f"{share.value:.1%}", note, level))


def _value(estimate: Estimate) -> str:
    return f"{estimate.value:.2f}"


def interval(estimate: Estimate) -> str:
    """Write the interval of a figure in words."""
    return f"95 % interval {estimate.low:.2f} to {estimate.high:.2f}"
