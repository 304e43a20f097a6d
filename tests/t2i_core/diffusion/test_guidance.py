"""Guidance against closed forms and what it has to leave alone."""

import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.continuous import Flow
from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.guidance import guide, paired, projected
from t2i_core.diffusion.parameterization import eps_from_x_0, x_0_from
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.schedule import over

T = torch.tensor([0.5, 0.9, 0.1], dtype=torch.float64)
X = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def shifted_by(x: Tensor, t: Tensor) -> Estimate:
    """Stands in for a network: adds 3 to what sees the prompts, the first half, and 1 to the rest."""
    added = torch.tensor([3.0, 1.0]).repeat_interleave(len(x) // 2)
    return Estimate(x + added, variance=added)


def towards(seed: int) -> Denoiser:
    """Give a denoiser of some picture."""
    goal = torch.randn(3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return lambda x_t, t: Estimate(0.7 * goal + 0.1 * x_t)


def refuse(x_t: Tensor, t: Tensor) -> Estimate:
    raise AssertionError("asked for nothing")


def test_guidance_extrapolates_inside_its_interval_only():
    estimate = guide(shifted_by, 2.5, interval=(0.2, 0.8))(torch.zeros(3), torch.tensor([0.5, 0.9, 0.1]))

    assert estimate.x_0.tolist() == [1 + 2.5 * 2, 3, 3]
    assert estimate.variance.tolist() == [3, 3, 3]  # the conditional one's


def test_a_scale_of_one_is_the_conditional_estimate_and_never_asks_for_the_other():
    alone = towards(1)

    assert guide(refuse, 1, alone=alone, rescale=0.5) is alone
    assert torch.allclose(guide(paired(alone, towards(2)), 1)(X, T).x_0, alone(X, T).x_0)


def test_where_guidance_does_not_act_the_other_is_not_asked():
    alone = towards(1)
    guided = guide(paired(alone, refuse), 3, interval=(0.2, 0.8), alone=alone)

    assert torch.equal(guided(X[1:], T[1:]).x_0, alone(X[1:], T[1:]).x_0)
    with pytest.raises(AssertionError, match="asked for nothing"):
        guided(X, T)


def test_guidance_of_x_0_is_guidance_of_eps():
    alpha, sigma = (over(scale, X) for scale in Flow().alpha_sigma(T))
    cond, base = towards(1)(X, T).x_0, towards(2)(X, T).x_0

    eps, eps_base = (eps_from_x_0(x_0, X, alpha, sigma) for x_0 in (cond, base))
    of_eps = x_0_from("eps", eps_base + 3 * (eps - eps_base), X, alpha, sigma)

    assert torch.allclose(guide(paired(towards(1), towards(2)), 3)(X, T).x_0, of_eps)


def test_a_full_rescale_gives_back_the_standard_deviation_of_the_conditional():
    both, cond = paired(towards(1), towards(2)), towards(1)(X, T).x_0

    plain, half, full = (guide(both, 5, rescale=phi)(X, T).x_0 for phi in (0, 0.5, 1))

    assert torch.equal(plain, guide(both, 5)(X, T).x_0)
    assert torch.allclose(full.flatten(1).std(1), cond.flatten(1).std(1))
    assert torch.allclose(half, (plain + full) / 2)
    assert not torch.allclose(plain, full)


def test_projected_guidance_that_keeps_all_is_plain_guidance():
    both = paired(towards(1), towards(2))

    assert torch.allclose(guide(both, 5, push=projected(parallel=1))(X, T).x_0, guide(both, 5)(X, T).x_0)


def test_projected_guidance_pushes_at_right_angles_no_farther_than_its_radius():
    both, cond = paired(towards(1), towards(2)), towards(1)(X, T).x_0
    base = towards(2)(X, T).x_0

    pushed = guide(both, 5, push=projected())(X, T).x_0 - cond
    short = guide(both, 5, push=projected(parallel=1, radius=0.01))(X, T).x_0 - cond

    assert torch.allclose((pushed * cond).flatten(1).sum(1), torch.zeros(3, dtype=torch.float64), atol=1e-9)
    assert torch.allclose(short.flatten(1).norm(dim=1), torch.full((3,), 0.04, dtype=torch.float64))
    ways = torch.nn.functional.cosine_similarity(short.flatten(1), (cond - base).flatten(1))
    assert torch.allclose(ways, torch.ones_like(ways))


def test_projected_guidance_with_momentum_remembers_its_own_drawing_only():
    both = paired(towards(1), towards(2))

    def twice() -> list[Tensor]:
        guided = guide(both, 3, push=projected(parallel=1, momentum=-0.5))
        return [guided(X, T).x_0 - towards(1)(X, T).x_0 for _ in range(2)]

    first, second = twice()

    assert torch.allclose(second, 0.5 * first)
    assert torch.equal(twice()[1], second)


def test_autoguidance_by_an_equal_network_changes_nothing():
    assert torch.equal(guide(paired(towards(1), towards(1)), 4)(X, T).x_0, towards(1)(X, T).x_0)


def test_a_pair_has_a_variance_where_both_have():
    with_variance = paired(shifted_by, shifted_by)(torch.zeros(4), torch.zeros(4))

    assert with_variance.variance.tolist() == [3, 1, 3, 1]
    assert paired(shifted_by, lambda x, t: Estimate(x))(torch.zeros(4), torch.zeros(4)).variance is None


def around(mean: float) -> Denoiser:
    """Give the exact denoiser of data ~ N(mean, 0.5^2)."""

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = (over(scale, x_t) for scale in Flow().alpha_sigma(t))
        gain = alpha * 0.25 / (alpha**2 * 0.25 + sigma**2)
        return Estimate(mean + gain * (x_t - alpha * mean))

    return denoise


def test_leading_away_from_a_second_kind_of_data_has_a_closed_form():
    """Two kinds around 1 and -0.5: guided by 3 away from the other, what is drawn lies around -0.5 + 3 * 1.5."""
    away = guide(paired(around(1), around(-0.5)), 3)

    assert torch.allclose(away(X, T).x_0, around(4)(X, T).x_0)
    chance = Chance(0, torch.arange(4000))
    noise = chance.normal("eps", (1,)).double()
    drawn = SAMPLERS["dpmpp_2m"](away, noise, Course(Flow(), Flow().times(40, (1,)), chance))
    assert [float(drawn.mean()), float(drawn.std())] == pytest.approx([4, 0.5], abs=0.03)
