"""What a network may predict, and the one place where each is turned into x_0.

Throughout x_t = alpha * x_0 + sigma * eps. `v` = alpha * eps - sigma * x_0 (Salimans & Ho 2022, arXiv:2202.00512,
for alpha^2 + sigma^2 = 1) and `velocity` = eps - x_0 (rectified flow, arXiv:2209.03003, for alpha + sigma = 1).
`edm` keeps the network's input and target at unit variance (Karras et al. 2022, arXiv:2206.00364, equation 7 and
table 1, whose sigma is our sigma / alpha).
"""

from typing import assert_never

import torch
from torch import Tensor

from t2i_core.diffusion.kinds import Parameterization

# Division by a vanishing scale is held at this; it only bites at the very ends of the path.
SMALLEST_SCALE = 1e-3
# Standard deviation of pictures in [-1, 1], as `edm` takes it.
SIGMA_DATA = 0.5


def target_of(kind: Parameterization, x_0: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give what the network should have predicted.

    Args:
        kind: the quantity predicted.
        x_0: (B, C, H, W) float, clean sample.
        eps: (B, C, H, W) float, standard normal.
        alpha: (B, 1, 1, 1) float, signal scale.
        sigma: (B, 1, 1, 1) float, noise scale.
    """
    match kind:
        case "eps":
            return eps
        case "x_0":
            return x_0
        case "v":
            return alpha * eps - sigma * x_0
        case "velocity":
            return eps - x_0
        case "edm":
            return (sigma * x_0 - SIGMA_DATA**2 * alpha * eps) / (SIGMA_DATA * _std_of_data(alpha, sigma))
        case _:
            assert_never(kind)


def affine(kind: Parameterization, alpha: Tensor, sigma: Tensor) -> tuple[Tensor, Tensor]:
    """Give skip and out, (B, 1, 1, 1) each, of x_0 = skip * x_t + out * prediction; the inverse of `target_of`."""
    match kind:
        case "eps":
            signal = alpha.clamp(min=SMALLEST_SCALE)
            return 1 / signal, -sigma / signal
        case "x_0":
            return torch.zeros_like(alpha), torch.ones_like(alpha)
        case "v":
            return alpha / (alpha**2 + sigma**2), -sigma / (alpha**2 + sigma**2)
        case "velocity":
            return 1 / (alpha + sigma), -sigma / (alpha + sigma)
        case "edm":
            std = _std_of_data(alpha, sigma)
            return SIGMA_DATA**2 * alpha / std**2, SIGMA_DATA * sigma / std
        case _:
            assert_never(kind)


def x_0_from(kind: Parameterization, prediction: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Turn a prediction into the estimate of x_0 that it implies."""
    skip, out = affine(kind, alpha, sigma)
    return skip * x_t + out * prediction


def network_input(kind: Parameterization, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give what the network sees of x_t: all but `edm` see it as it is."""
    return x_t / _std_of_data(alpha, sigma) if kind == "edm" else x_t


def eps_from_x_0(x_0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give the noise that leads from an estimate of x_0 to x_t."""
    return (x_t - alpha * x_0) / sigma.clamp(min=SMALLEST_SCALE)


def _std_of_data(alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give the standard deviation that x_t has where that of x_0 is SIGMA_DATA."""
    return torch.sqrt((SIGMA_DATA * alpha) ** 2 + sigma**2)
