"""Post-processors of x_0 against what they have to keep."""

import math

import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.continuous import Cosine, Flow
from t2i_core.diffusion.estimate import Estimate, processed
from t2i_core.diffusion.post import clip, dynamic_threshold, leaned, paste
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.schedule import over
from t2i_core.diffusion.schedule_by_name import SCHEDULES

T = torch.tensor([0.5, 0.9])


def pictures(largest: float) -> Tensor:
    """Give two pictures with values up to a size, of which the second has half."""
    x_0 = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return x_0 / x_0.abs().amax((1, 2, 3), keepdim=True) * torch.tensor([largest, largest / 2]).view(2, 1, 1, 1)


def test_posts_see_the_estimate_in_their_order_and_leave_the_variance():
    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        return Estimate(2 * x_t, variance=t)

    better = processed(denoise, [lambda x_0, x_t, t: x_0 + x_t, lambda x_0, x_t, t: x_0 * t])
    estimate = better(torch.tensor([1.0]), torch.tensor([0.5]))

    assert (estimate.x_0, estimate.variance) == (1.5, 0.5)
    assert processed(denoise, []) is denoise


def test_clipping_keeps_what_a_picture_can_show():
    clipped = clip(torch.tensor([-3.0, -0.4, 1.2]), T, T)

    assert clipped.tolist() == pytest.approx([-1, -0.4, 1])


def test_a_picture_within_bounds_passes_the_threshold_as_it_is():
    x_0 = pictures(1)

    assert torch.equal(dynamic_threshold()(x_0, x_0, T), x_0)


def test_the_threshold_brings_each_picture_back_by_its_own_percentile():
    x_0 = pictures(1.5)

    out = dynamic_threshold(1.0)(x_0, x_0, T)

    assert torch.allclose(out[0], x_0[0] / 1.5) and torch.equal(out[1], x_0[1])
    ninth = torch.arange(1, 11).float().view(1, 1, 1, 10)
    assert dynamic_threshold(0.9)(ninth, ninth, T[:1]).flatten().tolist() == pytest.approx(
        [min(value, 9) / 9 for value in range(1, 11)]
    )


@pytest.mark.parametrize("cap", [1.0, 1.5, math.inf])
def test_the_threshold_is_idempotent_keeps_the_order_and_stays_in_bounds(cap):
    x_0, threshold = pictures(4), dynamic_threshold(cap=cap)

    out = threshold(x_0, x_0, T)

    assert float(out.abs().max()) == 1
    assert torch.equal(threshold(out, out, T), out)
    for before, after in zip(x_0.flatten(1), out.flatten(1), strict=True):
        assert bool((after[before.argsort()].diff() >= 0).all())


def test_the_cap_is_the_most_that_a_picture_is_darkened_by():
    x_0 = pictures(4)

    assert torch.equal(dynamic_threshold(cap=1)(x_0, x_0, T), clip(x_0, x_0, T))
    assert torch.allclose(dynamic_threshold(cap=1.5)(x_0, x_0, T), x_0.clamp(-1.5, 1.5) / 1.5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_pasted_pixels_are_the_known_ones_to_the_bit_whatever_the_sampler(sampler, schedule):
    known, x = torch.randn(2, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) < 0.5
    path = SCHEDULES[schedule](1)
    denoise = processed(lambda x_t, t: Estimate(0.5 * x_t), [clip, paste(known, mask)])

    drawn = SAMPLERS[sampler](denoise, x, Course(path, path.times(5, (3, 8, 8)), Chance(0, torch.arange(2))))

    given = mask.expand_as(known)
    assert torch.equal(drawn[given], known[given])
    assert not torch.equal(drawn[~given], known[~given])


@pytest.mark.parametrize("schedule", [Cosine(), Flow()])
def test_leaning_to_a_normal_likelihood_gives_the_known_posterior(schedule):
    """Data ~ N(0, 1), y = x_0 + N(0, 0.5^2): log p(y | x_t) and the mean of x_0 given both have closed forms."""
    x_t, y = torch.randn(2, 4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    t = torch.tensor([0.1, 0.4, 0.7, 0.95], dtype=torch.float64)
    alpha, sigma = (over(scale, x_t) for scale in schedule.alpha_sigma(t))
    unsure = sigma**2 / (alpha**2 + sigma**2)  # variance of x_0 given x_t
    mean = alpha / (alpha**2 + sigma**2) * x_t

    def gradient(x: Tensor, _: Tensor) -> Tensor:
        return (y - mean) / (unsure + 0.25) * alpha / (alpha**2 + sigma**2)

    out = leaned(gradient, 1, schedule)(mean, x_t, t)

    assert torch.allclose(out, mean + unsure / (unsure + 0.25) * (y - mean))


def test_leaning_acts_within_its_interval_and_by_its_scale():
    x = torch.zeros(2, 1, 1, 1)

    def out(scale: float, interval: tuple[float, float]) -> list[float]:
        return leaned(lambda x_t, t: torch.ones_like(x_t), scale, Flow(), interval)(x, x, T).flatten().tolist()

    assert out(1, (0.0, 0.8)) == pytest.approx([0.5, 0])
    assert out(2, (0.0, 1.0)) == pytest.approx([1, 2 * 0.81 / 0.1])
    assert out(0, (0.0, 1.0)) == [0, 0]
