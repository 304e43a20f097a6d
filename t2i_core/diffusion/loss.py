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


def band_of(t: Tensor) -> Tensor:
    """Number the noise band of each time, 0 (nearly clean) to NUM_BANDS - 1 (nearly noise): (B,) int64."""
    return (t * NUM_BANDS).long().clamp(0, NUM_BANDS - 1)
