"""Intervals against closed forms."""

import numpy as np
import pytest

from t2i_core.evaluation.judges.statistics import (
    auc,
    difference,
    mean_by_prompt,
    mean_over_tasks,
    paired_difference,
    share_by_prompt,
    skill,
    wilson,
)


def test_wilson_matches_the_textbook():
    # 81 of 263: Newcombe (1998), table I.
    estimate = wilson(81, 263)
    assert (estimate.low, estimate.high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(0, 20).low == 0 and wilson(20, 20).high == 1
    assert wilson(20, 20).low == pytest.approx(1 / (1 + 1.959964**2 / 20), abs=1e-5)
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)


def test_bootstrap_of_a_mean_has_the_width_of_its_standard_error():
    means = np.random.default_rng(0).normal(0.5, 0.2, 400)
    estimate = mean_by_prompt(means, seed=1)
    error = means.std() / 20
    assert estimate.value == pytest.approx(means.mean())
    assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert estimate == mean_by_prompt(means, seed=1)


def test_pictures_of_one_prompt_do_not_count_as_independent():
    rows = [[1.0] * 8 if i % 2 else [0.0] * 8 for i in range(30)]
    wide = share_by_prompt(rows, seed=0)
    narrow = wilson(120, 240)
    assert wide.value == 0.5 and wide.num == 30
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_agreeing_prompts_fall_back_to_wilson():
    assert share_by_prompt([[1.0, 1.0]] * 40, seed=0) == wilson(40, 40)
    assert share_by_prompt([], seed=0) == wilson(0, 0)


def test_tasks_weigh_the_same_whatever_their_size():
    estimate = mean_over_tasks({"a": [[1.0]] * 90, "b": [[0.0]] * 10}, seed=0)
    assert estimate.value == 0.5
    assert estimate.low < 0.5 < estimate.high


def test_a_paired_difference_is_narrower_than_the_spread_between_prompts():
    rng = np.random.default_rng(0)
    hard = rng.random(100)
    first, second = [[h + 0.1] for h in hard], [[h] for h in hard]
    estimate = paired_difference(first, second, seed=0)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((0.1, 0.1, 0.1))
    with pytest.raises(ValueError, match="same prompts"):
        paired_difference(first, second[:-1], seed=0)


def test_a_difference_of_two_shares_matches_the_textbook():
    # 56 of 70 and 48 of 80: Newcombe (1998, Statistics in Medicine 17, 873-890), table II, method 10.
    gap = difference(wilson(56, 70), wilson(48, 80))
    assert (gap.value, gap.low, gap.high) == pytest.approx((0.2, 0.0524, 0.3339), abs=5e-5)
    assert gap.num == 150
    # Where both are perfect, what is not known of each is not known of the gap.
    perfect = difference(wilson(20, 20), wilson(20, 20))
    assert perfect.value == 0 and perfect.low == -perfect.high == wilson(20, 20).low - 1


def test_skill_is_zero_at_the_floor_and_one_at_the_ceiling():
    rng = np.random.default_rng(0)
    floor, ceiling = rng.normal(0.1, 0.01, 50), rng.normal(0.3, 0.01, 50)
    assert skill(floor, floor, ceiling, seed=0).value == 0
    assert skill(ceiling, floor, ceiling, seed=0).value == 1
    half = skill((floor + ceiling) / 2, floor, ceiling, seed=0)
    assert half.value == pytest.approx(0.5) and half.low == pytest.approx(half.high)
    assert skill(floor, floor, floor, seed=0) is None
    assert skill(np.array([]), np.array([]), np.array([]), seed=0) is None


def test_auc_counts_ties_half():
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert auc(np.array([1.0]), np.array([1.0])) == 0.5
    assert auc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
