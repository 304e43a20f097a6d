"""What the rule makes of comparisons whose answer is known."""

import numpy as np
import pytest
from scipy.stats import binom

from t2i_core.errors import ConfigError, DataError
from t2i_core.promotion.config import PromotionRule
from t2i_core.promotion.paired import evidence_of
from t2i_core.promotion.registry import Evidence, Interval
from t2i_core.promotion.rule import decide
from tests.t2i_core.promotion.conftest import Right, judged

RULE = PromotionRule()
WRONG, RIGHT, HALF = [0.0, 0.0], [1.0, 1.0], [1.0, 0.0]


def seen(challenger: Right, champion: Right, wordings: int = 1) -> Evidence:
    return evidence_of(judged("new", challenger, wordings=wordings), judged("old", champion, wordings=wordings), "c")


def test_the_interval_is_that_of_the_binomial_distribution() -> None:
    """Twelve of a hundred things are right with the one alone, all others with neither: resampled, that is binomial."""
    evidence = seen({"one": [RIGHT] * 12 + [WRONG] * 88}, {"one": [WRONG] * 100})

    low, high = binom.ppf([0.025, 0.975], 100, 0.12) / 100
    assert evidence.difference.value == pytest.approx(0.12)
    assert (evidence.difference.low, evidence.difference.high) == pytest.approx((low, high), abs=0.011)
    assert evidence.prompts == 100 and evidence.figure == "strict accuracy" and evidence.against == "old"


def test_tasks_weigh_alike_however_many_things_each_asks_for() -> None:
    evidence = seen({"many": [WRONG] * 40, "few": [RIGHT] * 10}, {"many": [WRONG] * 40, "few": [WRONG] * 10})

    assert evidence.difference.value == pytest.approx(0.5)


def test_one_thing_in_several_wordings_is_one_draw() -> None:
    things: Right = {"one": [RIGHT, WRONG, WRONG, RIGHT, WRONG] * 6}
    nothing: Right = {"one": [WRONG] * 30}

    once, often = seen(things, nothing), seen(things, nothing, wordings=5)

    assert often.difference == once.difference and often.prompts == once.prompts == 30


BETTER: Right = {"one": [RIGHT] * 20 + [WRONG] * 20, "two": [HALF] * 20}
WORSE: Right = {"one": [WRONG] * 38 + [RIGHT] * 2, "two": [WRONG] * 20}


@pytest.mark.parametrize(
    ("challenger", "champion", "outcome", "why"),
    [
        (BETTER, WORSE, "promote", "lies above 0"),
        (WORSE, BETTER, "leave", "worse"),
        (BETTER, BETTER, "leave", "does not lie above 0"),
        ({"one": [RIGHT, *[HALF] * 29]}, {"one": [HALF] * 30}, "leave", "does not lie above 0"),
    ],
)
def test_only_a_challenger_that_is_better_beyond_doubt_is_promoted(
    challenger: Right, champion: Right, outcome: str, why: str
) -> None:
    decision = decide(seen(challenger, champion), RULE)

    assert decision.outcome == outcome and why in decision.why


def test_where_every_prompt_agrees_few_of_them_do_not_make_it_certain() -> None:
    rule = RULE.with_changes(min_prompts=1)

    assert decide(seen({"one": [RIGHT]}, {"one": [WRONG]}), rule).outcome == "leave"
    assert decide(seen({"one": [RIGHT] * 30}, {"one": [WRONG] * 30}), rule).outcome == "promote"


def evidence(low: float, high: float, prompts: int = 100) -> Evidence:
    gap = Interval(value=(low + high) / 2, low=low, high=high)
    return Evidence(
        figure="x", challenger=gap, champion=gap, difference=gap, prompts=prompts, comparison="", against=""
    )


@pytest.mark.parametrize(
    ("low", "high", "changes", "outcome"),
    [
        (0.001, 0.2, {}, "promote"),
        (0.0, 0.2, {}, "leave"),
        (0.03, 0.2, {"margin": 0.05}, "leave"),
        (0.06, 0.2, {"margin": 0.05}, "promote"),
        (-0.01, 0.02, {"margin": -0.02}, "promote"),
        (-0.03, 0.02, {"margin": -0.02}, "leave"),
        (-0.03, 0.02, {"when_unclear": "ask"}, "ask"),
        (-0.03, -0.01, {"when_unclear": "ask"}, "leave"),
        (0.01, 0.2, {"when_better": "ask"}, "ask"),
        (0.01, 0.2, {"when_better": "leave"}, "leave"),
    ],
)
def test_margin_and_policy_decide(low: float, high: float, changes: dict[str, object], outcome: str) -> None:
    assert decide(evidence(low, high), RULE.with_changes(**changes)).outcome == outcome


def test_few_things_asked_for_decide_nothing() -> None:
    few = decide(evidence(0.5, 0.9, prompts=19), RULE)

    assert few.outcome == "leave" and "fewer than 20" in few.why


def test_of_two_that_are_alike_hardly_any_is_promoted() -> None:
    """Two hundred nights of two models that are right as often: by its interval the rule may err in 2.5 % of them."""
    random = np.random.default_rng(0)

    def night() -> Right:
        return {task: (random.random((24, 2)) < 0.7).astype(float).tolist() for task in ("a", "b", "c", "d")}

    promoted = sum(decide(seen(night(), night()), RULE).outcome == "promote" for _ in range(200))

    # More than ten of two hundred would come by chance once in a hundred times.
    assert promoted <= 10


def test_what_cannot_be_compared_is_refused() -> None:
    things: Right = {"one": [RIGHT] * 30}
    failed = {"accuracy": {"gates": [{"name": "Checker gate", "level": "bad"}]}}
    with pytest.raises(ConfigError, match="prompts differ"):
        seen(things, {"two": [RIGHT] * 30})
    with pytest.raises(ConfigError, match="Checker gate failed in old"):
        evidence_of(judged("new", things), judged("old", things, sections=failed), "")
    with pytest.raises(ConfigError, match="no figure to compare by"):
        evidence_of(judged("new", things, figure="x"), judged("old", things, figure="x"), "")
    with pytest.raises(ConfigError, match=r"no figure to compare by \(clip\)"):
        evidence_of(judged("new", things), judged("old", things), "", "clip")
    old = judged("old", things)
    for row in old.rows:
        del row["asks_for"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="of an earlier t2i"):
        evidence_of(judged("new", things), old, "")


def test_without_scenes_the_cosines_decide() -> None:
    better, other = ({"one": [[value + i / 100, value] for i in range(30)]} for value in (0.3, 0.2))

    evidence = evidence_of(judged("new", better, figure="cosine"), judged("old", other, figure="cosine"), "")

    assert evidence.figure == "CLIP cosine" and decide(evidence, RULE).outcome == "promote"
