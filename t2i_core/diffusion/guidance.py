"""Classifier-free guidance (Ho & Salimans 2022, arXiv:2207.12598) around any denoiser."""

import torch
from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser, Estimate
from t2i_core.diffusion.schedule import over


def guide(both: Denoiser, scale: float, interval: tuple[float, float] = (0.0, 1.0)) -> Denoiser:
    """Push the estimate away from the unconditional one: uncond + scale * (cond - uncond).

    In terms of x_0 this equals guidance on eps or v, since each is affine in x_0 at fixed x_t.

    Args:
        both: denoiser of twice the batch: the first half sees the prompts, the second what to lead away from.
        scale: 1 leaves the conditional estimate as it is.
        interval: times between which guidance acts (Kynkaanniemi et al. 2024, arXiv:2404.07724).
    """

    def denoise(x_t: Tensor, t: Tensor) -> Estimate:
        estimate = both(torch.cat([x_t, x_t]), torch.cat([t, t]))
        x_0, base = estimate.x_0.chunk(2)
        variance = None if estimate.variance is None else estimate.variance.chunk(2)[0]
        acts = (t >= interval[0]) & (t <= interval[1])
        return Estimate(base + over(torch.where(acts, scale, 1.0).to(x_0.dtype), x_0) * (x_0 - base), variance)

    return denoise
