"""Denoising losses: how training times are drawn and what is compared."""

import math

import torch
from torch import Tensor

from t2i_core.diffusion.kinds import TimeSampling
from t2i_core.diffusion.schedule import Schedule

NUM_BANDS = 5


def sample_times(
    u: Tensor, sampling: TimeSampling, schedule: Schedule, *, mean: float = 0.0, std: float = 1.0
) -> Tensor:
    """Turn uniform numbers into training times.

    `logit_normal` draws logit(t) from a normal distribution, so that most steps are spent where the picture is decided
    (Esser et al. 2024, arXiv:2403.03206, section 3.1); `log_normal` so draws log(sigma / alpha), whatever the schedule
    (Karras et al. 2022, arXiv:2206.00364, table 1, with mean -1.2 and std 1.2). `noise` stays at the end, where nothing
    is seen of the picture: what is so trained with x_0 is a regressor, which draws in one step.

    Args:
        u: (B,) float in (0, 1).
        sampling: which distribution.
        schedule: path of alpha and sigma.
        mean: of the normal distribution; above zero leans to noise.
        std: of the normal distribution.

    Returns:
        (B,) float in (0, 1), or all 1.
    """
    if sampling == "uniform":
        return u
    if sampling == "noise":
        return torch.ones_like(u)
    normal = math.sqrt(2) * torch.erfinv(2 * u.double().clamp(1e-6, 1 - 1e-6) - 1)
    drawn = mean + std * normal
    t = torch.sigmoid(drawn) if sampling == "logit_normal" else schedule.time_of(-2 * drawn)
    return t.to(u.dtype)


def squared_errors(prediction: Tensor, target: Tensor) -> Tensor:
    """Give the mean squared error of each sample: (B,) float32."""
    return (prediction.float() - target.float()).square().flatten(1).mean(1)


def by_band(errors: Tensor, u: Tensor, name: str = "loss") -> dict[str, Tensor]:
    """Part errors, or other figures, by noise band: (B,) each, NaN for the samples of other bands.

    A band is a fifth of the training times, and so a range between two quantiles of their log-SNR.

    Args:
        errors: (B,) float.
        u: (B,) float in (0, 1), the uniform numbers that the times were made of; near 1 is noise.
        name: of the figure.
    """
    band = (u * NUM_BANDS).long()
    return {f"{name}_band_{b}": torch.where(band == b, errors, math.nan) for b in range(NUM_BANDS)}
