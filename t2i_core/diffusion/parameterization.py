"""What a network may predict, and the one place where each is turned into x_0.

Throughout x_t = alpha * x_0 + sigma * eps. `v` = alpha * eps - sigma * x_0 (Salimans & Ho 2022, arXiv:2202.00512,
for alpha^2 + sigma^2 = 1) and `velocity` = eps - x_0 (rectified flow, arXiv:2209.03003, for alpha + sigma = 1).
"""

from typing import assert_never

from torch import Tensor

from t2i_core.diffusion.kinds import Parameterization

# Division by a vanishing scale is held at this; it only bites at the very ends of the path.
SMALLEST_SCALE = 1e-3


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
        case _:
            assert_never(kind)


def x_0_from(kind: Parameterization, prediction: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Turn a prediction into the estimate of x_0 that it implies; the inverse of `target_of`."""
    match kind:
        case "eps":
            return (x_t - sigma * prediction) / alpha.clamp(min=SMALLEST_SCALE)
        case "x_0":
            return prediction
        case "v":
            return (alpha * x_t - sigma * prediction) / (alpha**2 + sigma**2)
        case "velocity":
            return (x_t - sigma * prediction) / (alpha + sigma)
        case _:
            assert_never(kind)


def eps_from_x_0(x_0: Tensor, x_t: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """Give the noise that leads from an estimate of x_0 to x_t."""
    return (x_t - alpha * x_0) / sigma.clamp(min=SMALLEST_SCALE)
