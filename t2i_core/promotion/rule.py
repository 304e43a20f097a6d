"""The rule: what the interval of the difference says, and what comes of it."""

from dataclasses import dataclass
from typing import Literal

from t2i_core.promotion.config import PromotionRule
from t2i_core.promotion.registry import Evidence

Outcome = Literal["promote", "ask", "leave"]


@dataclass(frozen=True, slots=True)
class Decision:
    """What comes of a challenger, and why, in a sentence without its end."""

    outcome: Outcome
    why: str


def decide(evidence: Evidence, rule: PromotionRule) -> Decision:
    """Decide whether a challenger takes the champion's place: only if the whole interval lies above the margin."""
    seen, gap = describe(evidence), evidence.difference
    if evidence.prompts < rule.min_prompts:
        return Decision("leave", f"{seen}; fewer than {rule.min_prompts} things asked for decide nothing")
    if gap.low > rule.margin:
        left = "; left, as the rule says" if rule.when_better == "leave" else ""
        return Decision(rule.when_better, f"{seen}; the whole interval lies above {rule.margin:g}{left}")
    if gap.high < min(0, rule.margin):
        return Decision("leave", f"{seen}; worse")
    return Decision(rule.when_unclear, f"{seen}; the interval does not lie above {rule.margin:g}")


def describe(evidence: Evidence) -> str:
    """Say what was seen, in figures."""
    gap = evidence.difference
    return (
        f"{evidence.figure} {evidence.challenger.value:.3f} against {evidence.champion.value:.3f} on the same "
        f"{evidence.prompts:,} things asked for: {gap.value:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
    )
