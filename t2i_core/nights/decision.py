"""What comes of a night's challenger: the first champion, the next one, a question to a person, or nothing."""

from pathlib import Path

from t2i_core.comparison.judged import Judged
from t2i_core.errors import ConfigError
from t2i_core.nights.record import Night
from t2i_core.promotion.config import PromotionRule
from t2i_core.promotion.paired import evidence_in, score_of
from t2i_core.promotion.registry import current, now
from t2i_core.promotion.rule import decide
from t2i_core.promotion.step import promote

FIRST = "the first run that was judged: there was no champion yet"


def judge_first(night: Night, workspace: Path, evaluation: Path, rule: PromotionRule) -> Night:
    """Make the first run that can be judged the champion."""
    try:
        figure, score = score_of(Judged.read("challenger", evaluation), rule.figure)
    except ConfigError as err:
        return night.with_changes(outcome="leave", why=f"it cannot be judged: {err}")
    judged = night.with_changes(figure=figure, score=score, outcome="first", why=FIRST)
    _promote(judged, workspace)
    return judged


def judge_against(night: Night, workspace: Path, comparison: Path, champion: str, rule: PromotionRule) -> Night:
    """Let the rule decide by a comparison with the champion, a digest."""
    assert night.challenger
    try:
        evidence = evidence_in(comparison, night.challenger.digest, champion, rule.figure)
    except ConfigError as err:
        return night.with_changes(outcome="leave", why=f"it cannot be compared: {err}")
    decision = decide(evidence, rule)
    judged = night.with_changes(
        figure=evidence.figure,
        score=evidence.challenger,
        evidence=evidence,
        outcome=decision.outcome,
        why=decision.why,
    )
    if judged.outcome == "promote":
        _promote(judged, workspace)
    return judged


def _promote(night: Night, workspace: Path) -> None:
    assert night.challenger
    folder = workspace / night.challenger.path
    promote(folder, workspace, why=f"night {night.name}: {night.why}", who="rule", evidence=night.evidence)


def already_promoted(night: Night, workspace: Path) -> Night | None:
    """Give the outcome of a night whose challenger is the champion, and was even before it was stopped; else None."""
    holding = current(workspace)
    if holding is None or night.challenger is None or holding.champion.digest != night.challenger.digest:
        return None
    if holding.champion.path != night.challenger.path:
        return night.with_changes(outcome="leave", why=f"it is the champion itself, {holding.champion.path}, once more")
    evidence, why = holding.evidence, holding.why.removeprefix(f"night {night.name}: ")
    found = {"figure": evidence.figure, "score": evidence.challenger} if evidence else {}
    return night.with_changes(outcome="promote" if evidence else "first", why=why, evidence=evidence, **found)


def answer(night: Night, workspace: Path, *, yes: bool, why: str) -> Night:
    """Do what a person said of a challenger that waited.

    Raises:
        ConfigError: there is another champion by now than it was compared with.
    """
    assert night.challenger
    told = "; ".join(filter(None, (night.why, "a person said " + ("yes" if yes else "no"), why)))
    if yes:
        folder = workspace / night.challenger.path
        promote(folder, workspace, why=f"night {night.name}: {told}", who="person", evidence=night.evidence)
    return night.with_changes(outcome="approved" if yes else "declined", why=told, finished=now())
