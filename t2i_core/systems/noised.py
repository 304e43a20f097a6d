"""Pictures on their way to noise, as the stages that look at such are trained on them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.loss import by_band, sample_times
from t2i_core.diffusion.schedule import Schedule, over
from t2i_core.diffusion.schedule_by_name import SCHEDULES
from t2i_core.systems.condition import Condition
from t2i_core.systems.config import NoisedConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Noised:
    """Pictures, the noise put on them, and how much of it.

    Attributes:
        x_t: (B, C, H, W) float, alpha x_0 + sigma eps.
        eps: like x_t, standard normal.
        t: (B,) float, the times.
        unshifted: (B,) float, the times before they lean to noise.
        u: (B,) float in (0, 1), what these were made of; near 1 is noise.
        alpha: (B, 1, 1, 1) float.
        sigma: (B, 1, 1, 1) float.
    """

    x_t: Tensor
    eps: Tensor
    t: Tensor
    unshifted: Tensor
    u: Tensor
    alpha: Tensor
    sigma: Tensor


def schedule_of(config: NoisedConfig) -> Schedule:
    """Build the path from picture to noise."""
    return SCHEDULES[config.schedule](config.time_shift)


def noised(x_0: Tensor, chance: Chance, schedule: Schedule, config: NoisedConfig) -> Noised:
    """Put noise on pictures at random times; x_0: (B, C, H, W) float in [-1, 1]."""
    eps, u = chance.normal("eps", x_0.shape[1:]), chance.spread("time")
    unshifted = sample_times(u, config.time_sampling, schedule, mean=config.time_mean, std=config.time_std)
    t = schedule.shifted(unshifted, x_0.shape[1:])
    alpha, sigma = schedule.alpha_sigma(over(t, x_0))
    x_t = alpha * x_0 + sigma * eps
    return Noised(x_t=x_t, eps=eps, t=t, unshifted=unshifted, u=u, alpha=alpha, sigma=sigma)


def loss_figures(each: Tensor, u: Tensor, condition: Condition) -> dict[str, Tensor]:
    """Give the losses by noise band, and those of samples without a caption: guidance lives on what they miss."""
    figures = {"loss": each} | by_band(each, u)
    if (keep := condition.keep.get("text")) is not None:
        figures["loss_without_text"] = torch.where(keep, math.nan, each)
    return figures
