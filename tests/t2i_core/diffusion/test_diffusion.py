"""What networks predict, how they are trained and guided: formulas against their closed forms."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor

from t2i_core.diffusion.continuous import EDM, Cosine, Flow, Linear
from t2i_core.diffusion.kinds import Parameterization
from t2i_core.diffusion.loss import NUM_BANDS, by_band, sample_times, squared_errors
from t2i_core.diffusion.parameterization import eps_from_x_0, target_of, x_0_from
from t2i_core.diffusion.schedule import over
from t2i_core.diffusion.schedule_by_name import SCHEDULES as SCHEDULES_BY_NAME

SCHEDULES = (Cosine(), Linear(), Flow(), EDM())
KINDS = get_args(Parameterization)


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

    t = sample_times(u, "logit_normal", Flow(), mean=0.4, std=1.2)

    assert t.logit().tolist() == pytest.approx([0.4, 1.6], abs=1e-6)
    assert torch.equal(sample_times(u, "uniform", Flow()), u)
    assert torch.equal(sample_times(u, "noise", Flow()), torch.ones_like(u))


@pytest.mark.parametrize("name", SCHEDULES_BY_NAME)
def test_log_normal_times_have_the_noise_levels_of_the_distribution_on_any_path(name):
    u = torch.tensor([0.1586552539314571, 0.5, 0.8413447460685429], dtype=torch.float64)
    schedule = SCHEDULES_BY_NAME[name](1)

    t = sample_times(u, "log_normal", schedule, mean=-1.2, std=1.2)

    assert (-0.5 * schedule.log_snr(t)).tolist() == pytest.approx([-2.4, -1.2, 0], abs=1e-5)


def test_bands_cut_the_training_times_into_equal_parts():
    u = torch.tensor([0.01, 0.19, 0.21, 0.99])

    bands = by_band(torch.tensor([1.0, 3.0, 5.0, 7.0]), u)

    assert len(bands) == NUM_BANDS
    means = [float(errors.nanmean()) for errors in bands.values()]
    assert means == pytest.approx([2, 5, math.nan, math.nan, 7], nan_ok=True)


def test_squared_error_is_one_number_a_sample():
    assert squared_errors(torch.ones(2, 3, 2, 2), torch.zeros(2, 3, 2, 2)).tolist() == [1, 1]
