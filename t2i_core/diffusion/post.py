"""What is done to each estimate of x_0 before a sampler goes on with it.

A `Post` takes (x_0, x_t, t); `processed` of `estimate.py` puts some of them behind a denoiser.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from t2i_core.diffusion.estimate import Post
from t2i_core.diffusion.parameterization import SMALLEST_SCALE
from t2i_core.diffusion.schedule import Schedule, over


def clip(x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
    """Keep pictures within [-1, 1]."""
    return x_0.clamp(-1, 1)


def dynamic_threshold(percentile: float = 0.995, cap: float = math.inf) -> Post:
    """Bring back to [-1, 1] what strong guidance drives out of it (Saharia et al. 2022, arXiv:2205.11487, section 2.3).

    Each picture is clipped to [-s, s] and divided by s, where s is a percentile of its absolute values, at least 1.

    Args:
        percentile: as a share, in (0, 1].
        cap: the largest s; 1 only clips.
    """

    def threshold(x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        sizes = x_0.abs().flatten(1)
        # `quantile` would do the same for small pictures only.
        s = sizes.kthvalue(math.ceil(percentile * sizes.shape[1]), dim=1).values
        s = over(s.clamp(1, cap), x_0)
        return x_0.clamp(-s, s) / s

    return threshold


def paste(known: Tensor, mask: Tensor) -> Post:
    """Put known pixels over what is thought of them; since samplers end on their last x_0, they stay to the bit.

    Args:
        known: (B, C, H, W) float, in [-1, 1].
        mask: (B, 1, H, W) bool, True where known.
    """

    def put(x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        return torch.where(mask, known, x_0)

    return put


def leaned(
    gradient: Callable[[Tensor, Tensor], Tensor],
    scale: float,
    schedule: Schedule,
    interval: tuple[float, float] = (0.0, 1.0),
) -> Post:
    """Lean to what a classifier or a CLIP that reads noised pictures prefers: x_0 + scale * sigma^2 / alpha * gradient.

    So the score of p(x_t) becomes that of p(x_t) p(y | x_t)^scale (Dhariwal & Nichol 2021, arXiv:2105.05233,
    equation 14; with CLIP Nichol et al. 2021, arXiv:2112.10741, section 2.4).

    Args:
        gradient: (x_t, t) -> gradient of log p(y | x_t) in x_t, like x_t.
        scale: 0 leaves the estimate as it is.
        schedule: path of alpha and sigma.
        interval: times between which it acts; near t = 1 who judges sees nothing but noise.
    """

    def lean(x_0: Tensor, x_t: Tensor, t: Tensor) -> Tensor:
        alpha, sigma = schedule.alpha_sigma(t)
        acts = (t >= interval[0]) & (t <= interval[1])
        length = torch.where(acts, scale * sigma**2 / alpha.clamp(min=SMALLEST_SCALE), 0.0)
        return x_0 + over(length, x_0) * gradient(x_t, t)

    return lean
