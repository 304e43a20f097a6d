"""Denoising losses: how training times are drawn and what is compared."""

import math

import torch
from torch import Tensor

from t2i_core.diffusion.kinds import TimeSampling

NUM_BANDS = 5


def sample_times(u: Tensor, sampling: TimeSampling, *, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Turn uniform numbers into training times.

    `logit_normal` draws logit(t) from a normal distribution, so that most steps are spent where the picture is decided
    (Esser et al. 2024, arXiv:2403.03206, section 3.1).

    Args:
        u: (B,) float in (0, 1).
        sampling: which distribution.
        mean: of logit(t); above zero leans to noise.
        std: of logit(t).

    Returns:
        (B,) float in (0, 1).
    """
    if sampling == "uniform":
        return u
    normal = math.sqrt(2) * torch.erfinv(2 * u.double().clamp(1e-6, 1 - 1e-6) - 1)
    return torch.sigmoid(mean + std * normal).to(u.dtype)


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
