"""The variational bound against distributions that are known."""

import math

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from t2i_core.diffusion.continuous import Cosine, Flow
from t2i_core.diffusion.estimate import Estimate
from t2i_core.diffusion.schedule import Schedule
from t2i_core.diffusion.table import Table, cosine_betas, of_betas
from t2i_core.diffusion.vlb import bound, divergence, surprise

STD = 0.5
SCHEDULES = (Cosine(), Flow(), Table(kept=of_betas(cosine_betas())))


def noised(schedule: Schedule, t: float, size: int = 4) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Give x_0, x_t and t of data with standard deviation STD."""
    x_0, eps = torch.randn(2, size, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    alpha, sigma = schedule.scales(t)
    return STD * x_0, alpha * STD * x_0 + sigma * eps, torch.full((size,), t, dtype=torch.float64)


def test_divergence_is_that_of_normal_distributions():
    values = torch.randn(4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mean, log_variance, other_mean, other_log_variance = values

    known = kl_divergence(Normal(mean, (log_variance / 2).exp()), Normal(other_mean, (other_log_variance / 2).exp()))

    assert torch.allclose(divergence(*values), known)
    assert torch.allclose(divergence(mean, log_variance, mean, log_variance), torch.zeros_like(mean))


@pytest.mark.parametrize("mean", [-1.3, 0.1, 1.0])
@pytest.mark.parametrize("std", [0.002, 0.05, 2])
def test_the_gray_levels_have_all_of_the_probability(mean, std):
    levels = torch.arange(256, dtype=torch.float64) / 127.5 - 1

    nats = surprise(levels, torch.full_like(levels, mean), torch.full_like(levels, 2 * math.log(std)))

    assert float(torch.exp(-nats).sum()) == pytest.approx(1, abs=1e-6)
    assert int(nats.argmin()) == int((levels - mean).abs().argmin()) or std > 1


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_who_knows_the_picture_and_takes_the_smallest_variance_pays_nothing(schedule):
    x_0, x_t, t = noised(schedule, 0.4)

    known = bound(Estimate(x_0, torch.zeros_like(x_0)), x_0, x_t, t, schedule)
    wider = bound(Estimate(x_0, torch.ones_like(x_0)), x_0, x_t, t, schedule)
    wrong = bound(Estimate(x_0 + 0.1, torch.zeros_like(x_0)), x_0, x_t, t, schedule)

    assert torch.allclose(known, torch.zeros_like(known), atol=1e-9)
    assert bool((wider > 1e-6).all()) and bool((wrong > 1e-3).all())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_no_gradient_reaches_the_mean(schedule):
    x_0, x_t, t = noised(schedule, 0.4)
    mean, share = torch.zeros_like(x_0, requires_grad=True), torch.full_like(x_0, 0.5, requires_grad=True)

    bound(Estimate(mean, share), x_0, x_t, t, schedule).sum().backward()

    assert mean.grad is None
    assert bool((share.grad != 0).all())


@pytest.mark.parametrize("t", [0.001, 0.0015, 0.002, 0.5, 1.0])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_bound_and_its_gradient_are_finite_at_the_ends(schedule, t):
    x_0, x_t, times = (tensor.float() for tensor in noised(schedule, t))
    share = torch.full_like(x_0, 0.5, requires_grad=True)

    value = bound(Estimate(x_0 + 0.01, share), x_0.clamp(-1, 1), x_t, times, schedule)
    value.sum().backward()

    assert bool(value.isfinite().all()) and bool(share.grad.isfinite().all())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("num_steps", [5, 20])
def test_the_bound_is_lowest_at_the_variance_that_the_data_have(num_steps, schedule):
    t = 0.6
    x_0, x_t, times = noised(schedule, t, 2000)
    (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.scales(t), schedule.scales(t - 1 / num_steps)
    ideal = alpha_t * STD**2 / (alpha_t**2 * STD**2 + sigma_t**2) * x_t
    # By hand: x_s given x_t is spread by the step and by what is not known of x_0.
    smallest = sigma_s**2 * (1 - (alpha_t * sigma_s / (alpha_s * sigma_t)) ** 2)
    largest = smallest * (1 + alpha_s**2 / sigma_s**2) / (1 + alpha_t**2 / sigma_t**2)
    pull = alpha_s - alpha_t**2 * sigma_s**2 / (alpha_s * sigma_t**2)
    right = smallest + pull**2 * STD**2 * sigma_t**2 / (alpha_t**2 * STD**2 + sigma_t**2)
    best = math.log(right / smallest) / math.log(largest / smallest)

    def cost(share: float) -> float:
        estimate = Estimate(ideal, torch.full_like(x_0, share))
        return float(bound(estimate, x_0, x_t, times, schedule, num_steps).mean())

    assert cost(best) < min(cost(best - 0.05), cost(best + 0.05))
