"""Gaussian data has an exact denoiser, so every formula and sampler has a known answer."""

import math

import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.continuous import EDM, Cosine, Flow, Linear
from t2i_core.diffusion.estimate import Denoiser, Estimate, processed
from t2i_core.diffusion.guidance import guide
from t2i_core.diffusion.loss import NUM_BANDS, by_band, sample_times, squared_errors
from t2i_core.diffusion.parameterization import eps_from_x_0, target_of, x_0_from
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.schedule import Schedule, over

SCHEDULES = (Cosine(), Linear(), Flow(), EDM())
KINDS = ("eps", "x_0", "v", "velocity")
STD = 0.5  # data ~ N(0, STD^2)


def tensors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(6, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_prediction_gives_back_x_0_and_eps(schedule, kind):
    x_0, eps = tensors()
    alpha, sigma = schedule.alpha_sigma(over(torch.linspace(0.1, 0.9, 6, dtype=torch.float64), x_0))
    x_t = alpha * x_0 + sigma * eps

    found = x_0_from(kind, target_of(kind, x_0, eps, alpha, sigma), x_t, alpha, sigma)

    assert torch.allclose(found, x_0)
    assert torch.allclose(eps_from_x_0(found, x_t, alpha, sigma), eps)


def test_logit_normal_times_have_the_quantiles_of_the_distribution():
    u = torch.tensor([0.5, 0.8413447460685429], dtype=torch.float64)

    t = sample_times(u, "logit_normal", mean=0.4, std=1.2)

    assert t.logit().tolist() == pytest.approx([0.4, 1.6], abs=1e-6)
    assert torch.equal(sample_times(u, "uniform"), u)


def test_bands_cut_the_training_times_into_equal_parts():
    u = torch.tensor([0.01, 0.19, 0.21, 0.99])

    bands = by_band(torch.tensor([1.0, 3.0, 5.0, 7.0]), u)

    assert len(bands) == NUM_BANDS
    means = [float(errors.nanmean()) for errors in bands.values()]
    assert means == pytest.approx([2, 5, math.nan, math.nan, 7], nan_ok=True)


def test_squared_error_is_one_number_a_sample():
    assert squared_errors(torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)).tolist() == [1, 1]


def shifted_by(x: Tensor, t: Tensor) -> Estimate:
    """Stands in for a network: adds 3 to what sees the prompts, the first half, and 1 to the rest."""
    added = torch.tensor([3.0, 1.0]).repeat_interleave(len(x) // 2)
    return Estimate(x + added, variance=added)


def test_guidance_extrapolates_inside_its_interval_only():
    guided = guide(shifted_by, 2.5, interval=(0.2, 0.8))

    estimate = guided(torch.zeros(3), torch.tensor([0.5, 0.9, 0.1]))
    assert estimate.x_0.tolist() == [1 + 2.5 * 2, 3, 3]
    assert estimate.variance.tolist() == [3, 3, 3]  # the conditional one's
    assert guide(shifted_by, 1)(torch.zeros(1), torch.tensor([0.5])).x_0 == 3


def test_posts_see_the_estimate_in_their_order_and_leave_the_variance():
    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        return Estimate(2 * x_t, variance=t)

    better = processed(denoise, [lambda x_0, x_t, t: x_0 + x_t, lambda x_0, x_t, t: x_0 * t])
    estimate = better(torch.tensor([1.0]), torch.tensor([0.5]))

    assert (estimate.x_0, estimate.variance) == (1.5, 0.5)


CHANCE = Chance(0, torch.arange(6))


def ideal_denoiser(schedule: Schedule) -> Denoiser:
    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = schedule.alpha_sigma(over(t, x_t))
        return Estimate(alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x_t)

    return denoise


def std_at(schedule: Schedule, t: float) -> float:
    alpha, sigma = schedule.alpha_sigma(torch.tensor(t, dtype=torch.float64))
    return float((alpha**2 * STD**2 + sigma**2).sqrt())


def inner_times(schedule: Schedule, num_steps: int) -> list[float]:
    return [0.02 + 0.96 * t for t in schedule.times(num_steps, (3, 64, 64))]  # nothing is singular between the ends


def error(name: str, schedule: Schedule, num_steps: int) -> float:
    """Distance from the exact solution: the ODE keeps x_t / std(x_t) constant on Gaussian data."""
    x, _ = tensors()
    exact = x * std_at(schedule, 0.02) / std_at(schedule, 0.98)
    course = Course(schedule, inner_times(schedule, num_steps), CHANCE)
    return float((SAMPLERS[name](ideal_denoiser(schedule), x, course) - exact).abs().max())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim_is_first_order(schedule):
    assert 1.7 < error("ddim", schedule, 64) / error("ddim", schedule, 128) < 2.3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_heun_and_dpmpp_are_second_order(name, schedule):
    assert 3.3 < error(name, schedule, 64) / error(name, schedule, 128) < 4.8


@pytest.mark.parametrize("schedule", [Cosine(), Flow()])
def test_ddpm_draws_from_the_distribution_of_the_data_whatever_it_starts_from(schedule):
    chance = Chance(0, torch.arange(20_000))
    noise = chance.normal("eps", (4,)).double()

    spread = {
        num_steps: float(SAMPLERS["ddpm"](ideal_denoiser(schedule), noise, course).std())
        for num_steps in (16, 128)
        if (course := Course(schedule, schedule.times(num_steps, (4,)), chance))
    }

    # x_0 is held at its mean over each step, so the samples are too narrow by what falls as the steps get shorter.
    assert STD - spread[16] > 5 * (STD - spread[128]) > 0
    assert spread[128] == pytest.approx(STD, rel=0.05)


def test_noise_on_the_way_is_that_of_each_picture():
    x, _ = tensors()
    times, denoise = Flow().times(5, (3, 4, 4)), ideal_denoiser(Flow())

    whole = SAMPLERS["ddpm"](denoise, x, Course(Flow(), times, CHANCE))
    alone, other = (
        SAMPLERS["ddpm"](denoise, x[3:4], Course(Flow(), times, Chance(0, torch.tensor([seed])))) for seed in (3, 4)
    )
    stage = SAMPLERS["ddpm"](denoise, x, Course(Flow(), times, CHANCE, stream="upsampler/step"))

    assert torch.equal(whole[3:4], alone)
    assert not torch.allclose(alone, other)
    assert not torch.allclose(whole, stage)


def test_eta_leads_from_ddim_to_ddpm():
    x, _ = tensors()
    drawn = {
        eta: SAMPLERS["ddim"](ideal_denoiser(Flow()), x, Course(Flow(), Flow().times(5, (3, 4, 4)), CHANCE, eta=eta))
        for eta in (0.0, 0.5, 1.0)
    }

    ddpm = SAMPLERS["ddpm"](ideal_denoiser(Flow()), x, Course(Flow(), Flow().times(5, (3, 4, 4)), CHANCE))
    assert torch.equal(drawn[1.0], ddpm)
    assert 0 < float((drawn[0.5] - drawn[0.0]).std()) < float((drawn[1.0] - drawn[0.0]).std())


@pytest.mark.parametrize("name", SAMPLERS)
def test_each_step_is_told_once_with_what_is_thought_of_the_picture(name):
    x, _ = tensors()
    told = []
    times = Flow().times(4, (3, 4, 4))

    SAMPLERS[name](ideal_denoiser(Flow()), x, Course(Flow(), times, CHANCE, lambda *step: told.append(step)))

    assert [number for number, _, _ in told] == [0, 1, 2, 3]
    assert torch.equal(told[0][1], x)
    for number, x_t, x_0 in told:
        at = torch.full((6,), times[number], dtype=torch.float64)
        assert torch.equal(x_0, ideal_denoiser(Flow())(x_t, at).x_0)


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_constant_x_0_is_reached_exactly_in_any_number_of_steps(name):
    x, goal = tensors()

    for num_steps in (1, 3):
        course = Course(Flow(), Flow().times(num_steps, (3, 4, 4)), CHANCE)
        assert torch.allclose(SAMPLERS[name](lambda x_t, t: Estimate(goal), x, course), goal)
