"""Gaussian data has an exact denoiser, so every formula and sampler has a known answer."""

import math

import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.guidance import guide
from t2i_core.diffusion.loss import NUM_BANDS, band_of, sample_times, squared_errors
from t2i_core.diffusion.parameterization import eps_from_x_0, target_of, x_0_from
from t2i_core.diffusion.sampler import SAMPLERS
from t2i_core.diffusion.schedule import alpha_sigma, log_snr, sampling_times, shift_times

SCHEDULES = ("cosine", "flow")
KINDS = ("eps", "x_0", "v", "velocity")
STD = 0.5  # data ~ N(0, STD^2)


def tensors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(6, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_ends_of_a_schedule_are_picture_and_noise(schedule):
    alpha, sigma = alpha_sigma(schedule, torch.tensor([0.0, 1.0], dtype=torch.float64))

    assert alpha.flatten().tolist() == pytest.approx([1, 0], abs=1e-12)
    assert sigma.flatten().tolist() == pytest.approx([0, 1], abs=1e-12)


def test_cosine_preserves_variance_and_flow_is_straight():
    t = torch.linspace(0, 1, 11, dtype=torch.float64)

    (a, s), (fa, fs) = alpha_sigma("cosine", t), alpha_sigma("flow", t)

    assert torch.allclose(a**2 + s**2, torch.ones_like(a))
    assert torch.allclose(fa + fs, torch.ones_like(fa))


def test_log_snr_falls_with_time_and_is_zero_where_the_scales_are_equal():
    t = torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0], dtype=torch.float64)

    values = log_snr("flow", t)

    assert bool((values.diff() < 0).all())
    assert float(values[2]) == pytest.approx(0)
    assert bool(values.isfinite().all())


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_prediction_gives_back_x_0_and_eps(schedule, kind):
    x_0, eps = tensors()
    alpha, sigma = alpha_sigma(schedule, torch.linspace(0.1, 0.9, 6, dtype=torch.float64))
    x_t = alpha * x_0 + sigma * eps

    found = x_0_from(kind, target_of(kind, x_0, eps, alpha, sigma), x_t, alpha, sigma)

    assert torch.allclose(found, x_0)
    assert torch.allclose(eps_from_x_0(found, x_t, alpha, sigma), eps)


def test_shift_adds_its_logarithm_to_the_logit():
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)

    assert torch.allclose(shift_times(t, 6).logit(), t.logit() + math.log(6))
    assert torch.equal(shift_times(t, 1), t)


def test_logit_normal_times_have_the_quantiles_of_the_distribution():
    u = torch.tensor([0.5, 0.8413447460685429], dtype=torch.float64)

    t = sample_times(u, "logit_normal", mean=0.4, std=1.2)

    assert t.logit().tolist() == pytest.approx([0.4, 1.6], abs=1e-6)
    assert torch.equal(sample_times(u, "uniform"), u)


def test_bands_cut_time_into_equal_parts():
    assert band_of(torch.tensor([0.0, 0.19, 0.21, 0.99, 1.0])).tolist() == [0, 0, 1, NUM_BANDS - 1, NUM_BANDS - 1]


def test_squared_error_is_one_number_a_sample():
    assert squared_errors(torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)).tolist() == [1, 1]


def test_guidance_of_one_is_off_and_never_asks_the_null():
    def never(x: Tensor, t: Tensor) -> Tensor:
        raise AssertionError("asked")

    def conditional(x: Tensor, t: Tensor) -> Tensor:
        return x + 1

    assert guide(conditional, never, 1)(torch.zeros(1), torch.zeros(1)) == 1


def test_guidance_extrapolates_inside_its_interval_only():
    guided = guide(lambda x, t: x + 3, lambda x, t: x + 1, 2.5, interval=(0.2, 0.8))

    assert float(guided(torch.zeros(1), torch.tensor([0.5]))) == 1 + 2.5 * 2
    assert float(guided(torch.zeros(1), torch.tensor([0.9]))) == 3


def ideal_denoiser(schedule):
    def denoise(x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = alpha_sigma(schedule, t)
        return alpha * STD**2 / (alpha**2 * STD**2 + sigma**2) * x_t

    return denoise


def error(name: str, schedule: str, num_steps: int) -> float:
    """Distance from the exact solution: the ODE keeps x_t / std(x_t) constant on Gaussian data."""
    x, _ = tensors()
    times = 0.02 + 0.96 * sampling_times(num_steps)  # between two times at which nothing is singular
    (a_T, s_T), (a_0, s_0) = (alpha_sigma(schedule, t) for t in (times[:1], times[-1:]))
    exact = x * ((a_0**2 * STD**2 + s_0**2) / (a_T**2 * STD**2 + s_T**2)).sqrt()
    return float((SAMPLERS[name](ideal_denoiser(schedule), x, times, schedule) - exact).abs().max())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ddim_is_first_order(schedule):
    assert 1.7 < error("ddim", schedule, 64) / error("ddim", schedule, 128) < 2.3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_heun_and_dpmpp_are_second_order(name, schedule):
    assert 3.3 < error(name, schedule, 64) / error(name, schedule, 128) < 4.8


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_constant_x_0_is_reached_exactly_in_any_number_of_steps(name):
    x, goal = tensors()

    for num_steps in (1, 3):
        assert torch.allclose(SAMPLERS[name](lambda x_t, t: goal, x, sampling_times(num_steps), "flow"), goal)
