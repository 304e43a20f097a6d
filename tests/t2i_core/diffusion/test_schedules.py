"""Schedules against their closed forms and against each other."""

import math

import pytest
import torch

from t2i_core.diffusion.continuous import EDM, Cosine, Flow, Linear
from t2i_core.diffusion.schedule import Schedule
from t2i_core.diffusion.schedule_by_name import SCHEDULES
from t2i_core.diffusion.table import Table, cosine_betas, linear_betas, of_betas, respaced, zero_terminal

SHAPE = (3, 64, 64)
KEPT_OF_LINEAR = of_betas(linear_betas())
# What is left of the picture at t = 1, where it is not nothing.
LEFT = {
    "linear": math.exp(-0.25 * 20.1),
    "linear_1000": math.sqrt(KEPT_OF_LINEAR[-1]),
    "edm": 1 / math.hypot(1, 80),
    "cosine_1000": math.sqrt(of_betas(cosine_betas())[-1]),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_ends_of_a_schedule_are_picture_and_noise(name):
    alpha, sigma = SCHEDULES[name](1).alpha_sigma(torch.tensor([0.0, 1.0], dtype=torch.float64))

    left = LEFT.get(name, 0)
    assert left < 0.015
    assert alpha.tolist() == pytest.approx([1, left], abs=1e-12)
    assert sigma.tolist() == pytest.approx([0, math.sqrt(1 - left**2)], abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_keeps_the_variance_or_goes_straight(name):
    t = torch.linspace(0, 1, 1001, dtype=torch.float64)

    alpha, sigma = SCHEDULES[name](1).alpha_sigma(t)

    whole = alpha + sigma if name == "flow" else alpha**2 + sigma**2
    assert torch.allclose(whole, torch.ones_like(t))
    assert bool((alpha.diff() < 0).all()) and bool((sigma.diff() > 0).all() or name in LEFT)


@pytest.mark.parametrize("name", SCHEDULES)
def test_one_time_is_read_like_many(name):
    schedule = SCHEDULES[name](1)
    times = [0.0, 0.00005, 0.0005, 0.1234, 0.5, 0.9999, 1.0]

    alpha, sigma = schedule.alpha_sigma(torch.tensor(times, dtype=torch.float64))

    alphas, sigmas = zip(*map(schedule.scales, times), strict=True)
    assert alpha.tolist() == pytest.approx(alphas, rel=1e-12, abs=1e-12)
    assert sigma.tolist() == pytest.approx(sigmas, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", SCHEDULES)
def test_log_snr_falls_with_time_and_is_finite_at_the_ends(name):
    values = SCHEDULES[name](1).log_snr(torch.tensor([0.0, 0.3, 0.5, 0.9, 1.0], dtype=torch.float64))

    assert bool((values.diff() < 0).all())
    assert bool(values.isfinite().all())


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_time_is_found_by_its_log_snr(name):
    schedule = SCHEDULES[name](1)
    t = torch.tensor([0.004, 0.3, 0.77, 0.99], dtype=torch.float64)

    assert torch.allclose(schedule.time_of(schedule.log_snr(t)), t, rtol=0, atol=1e-8)
    assert schedule.time_of(torch.tensor([1e6, -1e6])).tolist() == pytest.approx([0, 1], abs=1e-4)


def test_log_snr_is_zero_where_the_scales_are_equal():
    middle = torch.tensor(0.5, dtype=torch.float64)

    assert float(Flow().log_snr(middle)) == pytest.approx(0)
    assert float(Cosine().log_snr(middle)) == pytest.approx(0)


def test_linear_is_what_the_table_of_a_thousand_steps_becomes():
    t = torch.arange(1001, dtype=torch.float64) / 1000

    (alpha, sigma), (coarse, _) = Linear().alpha_sigma(t), Table(kept=KEPT_OF_LINEAR).alpha_sigma(t)
    finer = Table(kept=of_betas(linear_betas(100_000))).alpha_sigma(t)

    assert torch.allclose(alpha, coarse, rtol=0, atol=1e-3)
    assert torch.allclose(alpha, finer[0], rtol=0, atol=1e-5)
    assert torch.allclose(sigma, finer[1], rtol=0, atol=3e-5)


def test_the_cosine_table_follows_its_curve_until_the_cap():
    betas = cosine_betas()
    kept = of_betas(betas)

    def curve(n: int) -> float:
        return math.cos((n / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2

    assert kept[:-1] == pytest.approx([curve(n) / curve(0) for n in range(1000)])
    assert betas[-1] == 0.999 > max(betas[:-1])
    assert kept[-1] == pytest.approx(kept[-2] * 0.001)


def test_the_linear_table_has_the_published_ends():
    betas = linear_betas()

    assert (len(betas), betas[0], betas[-1]) == (1000, 1e-4, pytest.approx(0.02))
    assert KEPT_OF_LINEAR[-1] == pytest.approx(4.0358e-5, rel=1e-4)


def test_zero_terminal_leaves_nothing_and_keeps_the_first_step():
    kept = zero_terminal(KEPT_OF_LINEAR)

    assert kept[0] == 1 and kept[1] == pytest.approx(KEPT_OF_LINEAR[1]) and kept[-1] == 0
    # The square roots were moved and stretched, so that their second differences keep their proportions.
    alphas, before = (torch.tensor(k[1:], dtype=torch.float64).sqrt() for k in (kept, KEPT_OF_LINEAR))
    ratio = alphas.diff() / before.diff()
    assert torch.allclose(ratio, ratio[0].expand_as(ratio))


def test_edm_visits_the_published_noise_levels():
    times = EDM().times(18, SHAPE)

    levels = [sigma / alpha for alpha, sigma in map(EDM().scales, times)]
    root = [80 ** (1 / 7) + i / 17 * (0.002 ** (1 / 7) - 80 ** (1 / 7)) for i in range(18)]
    assert levels == pytest.approx([r**7 for r in root] + [0], rel=1e-9)
    assert EDM().times(1, SHAPE) == [1, 0]


def test_training_meets_every_step_of_a_table_equally_often():
    table = Table(kept=of_betas(linear_betas(50)))
    u = (torch.arange(5000) + 0.5) / 5000

    steps = (table.shifted(u, SHAPE) * 50).round()

    assert steps.unique(return_counts=True)[1].tolist() == [100] * 50
    assert (int(steps.min()), int(steps.max())) == (1, 50)


@pytest.mark.parametrize("num_steps", [1, 7, 27, 100, 1000])
def test_a_sampler_visits_whole_steps_of_a_table(num_steps):
    times = Table(kept=KEPT_OF_LINEAR).times(num_steps, SHAPE)

    assert len(times) == num_steps + 1 and (times[0], times[-1]) == (1, 0)
    assert [1000 * t for t in times] == pytest.approx([round(1000 * t) for t in times])
    assert max(abs(t - (1 - i / num_steps)) for i, t in enumerate(times)) <= 1e-3


def test_a_sampler_cannot_visit_more_steps_than_there_are():
    assert Table(kept=of_betas(linear_betas(4))).times(10, SHAPE) == [1, 0.75, 0.5, 0.25, 0]


def test_respacing_chooses_more_steps_where_it_is_asked_to():
    times = respaced((10, 10, 3, 2, 2))

    steps = [round(1000 * t) for t in times]
    assert len(steps) == 28 and steps == sorted(steps, reverse=True)
    assert steps[:8] == [1000, 801, 800, 601, 600, 501, 401, 400]
    assert steps[-3:] == [23, 1, 0]
    assert respaced([4], 4) == [1, 0.75, 0.5, 0.25, 0]
    with pytest.raises(ValueError, match="6 steps cannot be chosen from 5"):
        respaced([6, 1], 10)


def test_shift_adds_its_logarithm_to_the_logit_and_grows_with_the_side():
    t = torch.tensor([0.1, 0.5, 0.9], dtype=torch.float64)

    assert torch.allclose(Flow(6).shifted(t, (3, 64, 64)).logit(), t.logit() + math.log(6))
    assert torch.allclose(Flow(6).shifted(t, (3, 256, 64)).logit(), t.logit() + math.log(12))
    assert torch.allclose(Flow(6).shifted(t, (512,)).logit(), t.logit() + math.log(6))
    assert torch.allclose(Flow().shifted(t, (3, 64, 64)), t)


@pytest.mark.parametrize("schedule", [Flow(0), Cosine(0)])
def test_no_shift_holds_at_any_side(schedule: Schedule):
    t = torch.tensor([0.1, 0.5, 0.9])

    assert torch.equal(schedule.shifted(t, (3, 256, 256)), t)
    assert schedule.times(4, (3, 32, 32)) == [1, 0.75, 0.5, 0.25, 0]


def test_a_sampler_visits_shifted_times_from_noise_to_clean():
    assert Flow(3).times(4, (3, 64, 64)) == pytest.approx([1, 0.9, 0.75, 0.5, 0])


@pytest.mark.parametrize("schedule", [Flow(0), Flow(3), Table(kept=KEPT_OF_LINEAR), EDM()])
def test_a_shift_that_is_asked_for_multiplies_the_schedules_own(schedule: Schedule):
    assert schedule.times(7, SHAPE, 1.0) == schedule.times(7, SHAPE)
    assert Flow(0).times(4, SHAPE, 3.0) == pytest.approx([1, 0.9, 0.75, 0.5, 0])
    assert Flow(3).times(7, SHAPE, 0.5) == pytest.approx(Flow(1.5).times(7, SHAPE))
    to_noise, to_picture = schedule.times(7, SHAPE, 4.0), schedule.times(7, SHAPE, 0.25)
    assert len(to_noise) == len(to_picture) == 8 and to_noise[0] == to_picture[0] == 1 and to_noise[-1] == 0
    assert all(a > b for a, b in zip(to_noise[1:-1], to_picture[1:-1], strict=True))
