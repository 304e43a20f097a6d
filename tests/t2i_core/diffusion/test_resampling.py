"""Two pixels that nearly say the same have a known conditional distribution, which resampling comes nearer to."""

from functools import cache

import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.continuous import Cosine, Flow
from t2i_core.diffusion.estimate import Denoiser, Estimate, processed
from t2i_core.diffusion.samplers.by_name import SAMPLERS
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.samplers.resampling import resampled
from t2i_core.diffusion.schedule import Schedule

STD, RHO, NUM_STEPS = 0.5, 0.9, 20
COVARIANCE = STD**2 * torch.tensor([[1, RHO], [RHO, 1]], dtype=torch.float64)
CHANCE = Chance(0, torch.arange(3000))
KNOWN = STD * CHANCE.normal("known", (1,)).double()


def exact_denoiser(schedule: Schedule) -> Denoiser:
    """Give the mean of two correlated pixels behind their noise, the first of which is known."""

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        alpha, sigma = schedule.scales(float(t[0]))
        gain = alpha * COVARIANCE @ torch.linalg.inv(alpha**2 * COVARIANCE + sigma**2 * torch.eye(2))
        return Estimate(x_t @ gain.T)

    return processed(denoise, [lambda x_0, x_t, t: torch.cat([KNOWN[: len(x_0)], x_0[:, 1:]], dim=1)])


def drawn(name: str, schedule: Schedule, rounds: int, jump: int, chance: Chance = CHANCE) -> Tensor:
    course = Course(schedule, schedule.times(NUM_STEPS, (1, 64, 64)), chance)
    noise = chance.normal("eps", (2,)).double()
    return resampled(SAMPLERS[name], rounds, jump)(exact_denoiser(schedule), noise, course)


@cache
def missed(name: str, schedule: Schedule, rounds: int, jump: int) -> float:
    """Compare how far the unknown pixel follows the known one, covariance over variance, with how far it should."""
    known, unknown = drawn(name, schedule, rounds, jump).T
    return abs(float((known * unknown).mean() / known.square().mean()) - RHO)


@pytest.mark.parametrize("schedule", [Flow(), Cosine()])
@pytest.mark.parametrize("name", SAMPLERS)
def test_what_is_drawn_fits_what_is_known_better_with_each_round(name: str, schedule: Schedule) -> None:
    once, twice, often = (missed(name, schedule, rounds, 1) for rounds in (1, 2, 10))

    assert once > 0.3 * RHO
    assert twice < 0.75 * once
    assert often < 0.25 * once


@pytest.mark.parametrize("jump", [2, 5])
def test_longer_stretches_fit_better_too(jump: int) -> None:
    assert missed("dpmpp_2m", Cosine(), 10, jump) < 0.5 * missed("dpmpp_2m", Cosine(), 1, jump)


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_known_pixel_stays_to_the_bit_and_noise_is_counted(name: str) -> None:
    many, few = drawn(name, Flow(), 3, 4), drawn(name, Flow(), 3, 4, Chance(0, torch.arange(2)))

    assert torch.equal(many[:, :1], KNOWN)
    assert torch.allclose(many[:2], few, atol=1e-12)


def test_one_round_is_the_sampler_itself() -> None:
    assert resampled(SAMPLERS["heun"], 1, 5) is SAMPLERS["heun"]


@pytest.mark.parametrize(
    ("num_steps", "jump", "visited"),
    [
        (5, 2, [0, 1, 2, 1, 2, 3, 4, 3, 4]),
        (4, 2, [0, 1, 2, 3, 2, 3]),
        (3, 1, [0, 1, 1, 2, 2]),
        (3, 5, [0, 1, 2]),
    ],
)
def test_stretches_are_counted_from_the_picture_and_the_first_is_gone_over_once(
    num_steps: int, jump: int, visited: list[int]
) -> None:
    told: list[int] = []
    times = Flow().times(num_steps, (1,))
    course = Course(Flow(), times, Chance(0, torch.arange(2)), lambda number, *_: told.append(number))

    resampled(SAMPLERS["euler"], 2, jump)(lambda x, t: Estimate(x), torch.ones(2, 1), course)

    assert told == visited


@pytest.mark.parametrize("schedule", [Flow(), Cosine()])
def test_what_is_noised_again_is_spread_as_if_it_had_never_been_clearer(schedule: Schedule) -> None:
    course = Course(schedule, (0.9, 0.3), Chance(0, torch.arange(20_000)))
    (alpha_t, sigma_t), (alpha_s, sigma_s) = map(schedule.scales, course.times)
    x_0 = course.chance.normal("x_0", (1,)).double() * STD + 1
    x_s = alpha_s * x_0 + sigma_s * course.chance.normal("eps", (1,))

    x_t = course.noised_again(x_s, 0, 1, "back")

    assert float(x_t.mean()) == pytest.approx(alpha_t, abs=0.02)
    assert float(x_t.var()) == pytest.approx(alpha_t**2 * STD**2 + sigma_t**2, rel=0.03)
    assert not torch.equal(x_t, course.noised_again(x_s, 0, 1, "back/2"))
