"""Schedules with a formula; all but the straight path preserve variance, alpha^2 + sigma^2 = 1."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from t2i_core.diffusion.schedule import EDGE, Schedule, leaned

# Rates of lost signal at both ends: the limit of 1000 steps with betas from 1e-4 to 0.02.
BETA_MIN, BETA_MAX = 0.1, 20.0
# Noise levels sigma / alpha, and the root in which they are evenly spaced (Karras et al. 2022, table 1).
LEVEL_MIN, LEVEL_MAX, RHO = 0.002, 80.0, 7


class Cosine(Schedule):
    """Variance preserving: alpha = cos(pi t / 2) (Nichol & Dhariwal 2021, arXiv:2102.09672, without offset)."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule.alpha_sigma`."""
        return torch.cos(0.5 * math.pi * t), torch.sin(0.5 * math.pi * t)


class Linear(Schedule):
    """Signal is lost at a rate that grows linearly (Song et al. 2021, arXiv:2011.13456, equation 33).

    It is what DDPM's table of betas becomes with ever more steps, and leaves 0.7 % of the picture at t = 1.
    """

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule.alpha_sigma`."""
        lost = BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t**2
        return torch.exp(-0.5 * lost), torch.sqrt(-torch.expm1(-lost))


class Flow(Schedule):
    """The straight path: alpha = 1 - t, sigma = t (Liu et al. 2022, arXiv:2209.03003)."""

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule.alpha_sigma`."""
        return 1 - t, t


class EDM(Schedule):
    """Noise levels evenly spaced in their seventh root (Karras et al. 2022, arXiv:2206.00364, equation 5).

    The paper adds noise of standard deviation `level` to a picture; here both are divided by sqrt(1 + level^2), so that
    what a sampler starts from is standard normal as with every other schedule. The lowest level lies at t = EDGE, and
    below it all noise goes.
    """

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule.alpha_sigma`."""
        low, high = LEVEL_MIN ** (1 / RHO), LEVEL_MAX ** (1 / RHO)
        ramp = ((t - EDGE) / (1 - EDGE)).clamp(min=0)
        level = (low + ramp * (high - low)) ** RHO * (t / EDGE).clamp(max=1)
        alpha = (1 + level**2).rsqrt()
        return alpha, level * alpha

    def times(self, num_steps: int, shape: Sequence[int], by: float = 1.0) -> list[float]:
        """See `Schedule.times`: the last step is that from the lowest level to none."""
        ramp = [1 - (1 - EDGE) * i / max(num_steps - 1, 1) for i in range(num_steps)]
        return [self.shifted(leaned(t, by), shape) for t in ramp] + [0.0]
