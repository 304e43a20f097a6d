"""The variational bound, which learned variances are trained by (Nichol & Dhariwal 2021, arXiv:2102.09672)."""

import math

import torch
from torch import Tensor

from t2i_core.diffusion.estimate import Estimate
from t2i_core.diffusion.schedule import Schedule, over
from t2i_core.diffusion.table import NUM_STEPS

# Of the bound in the hybrid loss, beside the squared error of the mean (equation 16).
VLB_WEIGHT = 0.001
# Half the distance between two gray levels of pictures in [-1, 1].
_HALF_LEVEL = 1 / 255
_SMALLEST_PROBABILITY = 1e-12


def bound(
    estimate: Estimate, x_0: Tensor, x_t: Tensor, t: Tensor, schedule: Schedule, num_steps: int = NUM_STEPS
) -> Tensor:
    """Estimate the variational bound of each sample by one of its steps, that from t on.

    The step's term (equations 4 to 7) times the number of steps. No gradient reaches the mean, which is trained by its
    squared error (section 3.1).

    Args:
        estimate: of x_0, with its variance.
        x_0: (B, C, H, W) float in [-1, 1], clean sample.
        x_t: like x_0, what was estimated from.
        t: (B,) float in (0, 1].
        schedule: path of alpha and sigma.
        num_steps: into which the path is parted.

    Returns:
        (B,) float, bits a dimension.
    """
    assert estimate.variance is not None
    s = (t.double() - 1 / num_steps).clamp(min=0)
    of_x_t, of_x_0, smallest, largest = (over(c, x_0).to(x_0.dtype) for c in _step(t.double(), s, schedule, num_steps))
    log_variance = smallest + (largest - smallest) * estimate.variance
    guess, right = (of_x_t * x_t + of_x_0 * mean for mean in (estimate.x_0.detach(), x_0))
    # The last step has no x_s to compare, but gray levels to hit.
    last = over(s < 0.5 / num_steps, x_0)
    terms = torch.where(last, surprise(x_0, guess, log_variance), divergence(right, smallest, guess, log_variance))
    return num_steps * terms.flatten(1).mean(1) / math.log(2)


def divergence(mean: Tensor, log_variance: Tensor, other_mean: Tensor, other_log_variance: Tensor) -> Tensor:
    """Give the Kullback-Leibler divergence of one normal distribution from another, nats."""
    apart = (mean - other_mean).square() * torch.exp(-other_log_variance)
    narrower = log_variance - other_log_variance
    return 0.5 * (torch.exp(narrower) - 1 - narrower + apart)


def surprise(x_0: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Give the negative log-probability of gray levels under a normal distribution, nats.

    Each level has what lies nearer to it than to the others, black and white all that lies beyond (Ho et al. 2020,
    arXiv:2006.11239, equation 13).
    """
    scale = torch.exp(-0.5 * log_variance)
    below = torch.special.ndtr((x_0 - _HALF_LEVEL - mean) * scale)
    upto = torch.special.ndtr((x_0 + _HALF_LEVEL - mean) * scale)
    upto = torch.where(x_0 > 1 - _HALF_LEVEL, 1.0, upto)
    below = torch.where(x_0 < _HALF_LEVEL - 1, 0.0, below)
    return -torch.log((upto - below).clamp(min=_SMALLEST_PROBABILITY))


def _step(t: Tensor, s: Tensor, schedule: Schedule, num_steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Give the weights of x_t and x_0 in the mean of x_s, and the bounds of its log-variance: (B,) each."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = far, near = schedule.alpha_sigma(t), schedule.alpha_sigma(s)
    of_x_t = alpha_t * sigma_s**2 / (alpha_s * sigma_t**2)
    largest = _added(far, near) * (alpha_s**2 + sigma_s**2) / (alpha_t**2 + sigma_t**2)
    # The last step has no smallest variance of its own and takes that of the one before.
    s = s.clamp(min=1 / num_steps)
    far, near = schedule.alpha_sigma(s + 1 / num_steps), schedule.alpha_sigma(s)
    smallest = _added(far, near) * (near[1] / far[1]) ** 2
    return of_x_t, alpha_s - alpha_t * of_x_t, smallest.log(), largest.log()


def _added(far: tuple[Tensor, Tensor], near: tuple[Tensor, Tensor]) -> Tensor:
    """Give the variance of x_t given x_s, of alpha and sigma at t and at s."""
    return far[1] ** 2 - (far[0] / near[0] * near[1]) ** 2
