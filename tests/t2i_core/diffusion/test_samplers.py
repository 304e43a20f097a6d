"""Gaussian data has an exact denoiser, so every sampler has a known answer."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.continuous import EDM, Cosine, Flow, Linear
from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.samplers.ddim import invert_ddim
from t2i_core.diffusion.samplers.polynomial import mean_x_0
from t2i_core.diffusion.schedule import Schedule, over
from t2i_core.diffusion.table import Table, cosine_betas, of_betas

SCHEDULES = (Cosine(), Linear(), Flow(), EDM())
STD = 0.5  # data ~ N(0, STD^2)
CHANCE = Chance(0, torch.arange(6))


def tensors() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(torch.randn(6, 3, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))  # type: ignore[return-value]


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
@pytest.mark.parametrize("name", ["ddim", "euler"])
def test_ddim_and_euler_are_first_order(name, schedule):
    assert 1.7 < error(name, schedule, 64) / error(name, schedule, 128) < 2.3


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", ["heun", "dpmpp_2m"])
def test_heun_and_dpmpp_are_second_order(name, schedule):
    assert 3.3 < error(name, schedule, 64) / error(name, schedule, 128) < 4.8


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_unipc_is_of_third_order_or_better(schedule):
    assert error("unipc", schedule, 64) / error("unipc", schedule, 128) > 7


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_few_long_steps_do_not_leave_the_pictures_behind(name, schedule):
    """Data are -1 and 1, so that x_t is not far outside of alpha + sigma, however far apart the steps lie."""
    x, reach = torch.linspace(-2, 2, 81, dtype=torch.float64)[:, None], []

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = schedule.scales(float(t[0]))
        reach.append(float(x_t.abs().max()) / (alpha + 2.5 * sigma))
        return Estimate(torch.tanh(alpha * x_t / sigma**2))

    SAMPLERS[name](denoise, x, Course(schedule, schedule.times(6, (1,)), Chance(0, torch.arange(len(x)))))

    assert max(reach) < 2


def test_euler_goes_straight_on_the_straight_path_and_over_noise_levels():
    x, goal = tensors()

    def once(schedule: Schedule, t: float, s: float) -> Tensor:
        return SAMPLERS["euler"](lambda x_t, t: Estimate(goal), x, Course(schedule, [t, s], CHANCE, eta=1.0))

    eps = (x - 0.2 * goal) / 0.8
    assert torch.allclose(once(Flow(), 0.8, 0.5), x - 0.3 * (eps - goal))
    levels = [sigma / alpha for alpha, sigma in map(EDM().scales, (0.8, 0.5))]
    scaled = [math.hypot(1, level) for level in levels]
    slope = (x * scaled[0] - goal) / levels[0]  # of the picture with noise added, Karras et al., equation 3
    expected = x * scaled[0] + (levels[1] - levels[0]) * slope
    assert torch.allclose(once(EDM(), 0.8, 0.5) * scaled[1], expected)


class Impulse(Chance):
    """Sample 0 gets no fresh noise, sample k a one in step k - 1 only."""

    def normal(self, stream: str, shape: Sequence[int]) -> Tensor:
        mine = self.samples == int(stream.rpartition("/")[2]) + 1
        return mine.double().view(-1, *[1] * len(shape)).expand(-1, *shape)


def drawn_std(name: str, denoise: Denoiser, schedule: Schedule, times: Sequence[float]) -> float:
    """Work out how widely a sampler draws from Gaussian data: what it draws is linear in every noise it is given."""
    samples = torch.arange(len(times))
    start = (samples == 0).double()[:, None] * std_at(schedule, times[0])
    answers = SAMPLERS[name](denoise, start, Course(schedule, times, Impulse(0, samples)))
    return float(answers.square().sum().sqrt())


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_samplers_with_fresh_noise_draw_ever_more_nearly_the_distribution(schedule):
    def missed(name: str, num_steps: int) -> float:
        drawn = drawn_std(name, ideal_denoiser(schedule), schedule, inner_times(schedule, num_steps))
        return abs(drawn - std_at(schedule, 0.02))

    assert 1.7 < missed("ddpm", 64) / missed("ddpm", 128) < 2.3
    assert 2.8 < missed("dpmpp_3m_sde", 512) / missed("dpmpp_3m_sde", 1024) < 4.8
    assert missed("dpmpp_3m_sde", 128) < missed("ddpm", 128) / 30


@pytest.mark.parametrize("schedule", [*SCHEDULES, Table(kept=of_betas(cosine_betas()))])
@pytest.mark.parametrize("num_steps", [3, 10])
def test_the_right_learned_variance_draws_the_distribution_in_any_number_of_steps(num_steps, schedule):
    times = inner_times(schedule, num_steps)
    course = Course(schedule, times, CHANCE)

    def share(t: float, s: float) -> float:
        """Give the share of the way between the bounds where the variance of x_s given x_t lies on Gaussian data."""
        (alpha_t, sigma_t), (alpha_s, sigma_s) = schedule.scales(t), schedule.scales(s)
        smallest = course.posterior_scale(t, s) ** 2
        ratio = (1 + alpha_s**2 / sigma_s**2) / (1 + alpha_t**2 / sigma_t**2)
        pull = alpha_s - alpha_t * math.sqrt(sigma_s**2 - smallest) / sigma_t
        right = smallest + pull**2 * STD**2 * sigma_t**2 / (alpha_t**2 * STD**2 + sigma_t**2)
        return math.log(right / smallest) / math.log(ratio)

    shares = [share(t, s) for _, t, s in course.steps()]
    learned = dict(zip(times[:-1], shares, strict=True))

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        x_0 = ideal_denoiser(schedule)(x_t, t).x_0
        return Estimate(x_0, variance=torch.full_like(x_0, learned[float(t[0])]))

    assert all(0 < v < 1 for v in shares)
    assert drawn_std("ddpm", denoise, schedule, times) == pytest.approx(std_at(schedule, times[-1]), rel=1e-9)
    assert drawn_std("ddpm", ideal_denoiser(schedule), schedule, times) < 0.99 * std_at(schedule, times[-1])


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_inversion_is_first_order_and_exact_when_iterated(schedule):
    x, _ = tensors()

    def missed(num_steps: int, iterations: int) -> float:
        course, denoise = Course(schedule, schedule.times(num_steps, (3, 64, 64)), CHANCE), ideal_denoiser(schedule)
        noise = invert_ddim(denoise, STD * x, course, iterations=iterations)
        return float((SAMPLERS["ddim"](denoise, noise, course) - STD * x).abs().max())

    assert 1.7 < missed(100, 1) / missed(200, 1) < 2.4
    assert missed(50, 5) < 1e-4


def test_inverted_noise_looks_like_noise():
    noise = invert_ddim(ideal_denoiser(Flow()), STD * tensors()[0], Course(Flow(), Flow().times(100, (4,)), CHANCE))

    assert float(noise.std()) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("rate", [1, 2])
@pytest.mark.parametrize("now, ahead", [(-3, -2.9), (0, 4), (1, 25)])
def test_polynomials_are_integrated_exactly_under_the_weight_of_the_path(now, ahead, rate):
    def curve(u: float | np.ndarray) -> float | np.ndarray:
        return 2 + 0.3 * (u - now) - 0.7 * (u - now) ** 2 + 0.1 * (u - now) ** 3

    nodes = [(u, torch.tensor([curve(u)], dtype=torch.float64)) for u in (now, now - 0.5, now - 1.5, ahead)]
    fine = np.linspace(now, ahead, 2_000_001)
    weight = np.exp(rate * (fine - ahead))
    expected = np.trapezoid(curve(fine) * weight, fine) / np.trapezoid(weight, fine)

    assert float(mean_x_0(nodes, now, ahead, rate)) == pytest.approx(expected, rel=1e-6)
    assert torch.equal(mean_x_0(nodes[:1], now, ahead, rate), nodes[0][1])


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
