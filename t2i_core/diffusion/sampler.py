"""Samplers: from noise to a picture in S steps, knowing nothing but `denoise(x_t, t) -> x_0` and the schedule.

All step in the exact form x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x_0, which integrates
the probability-flow ODE exactly while x_0 stays constant; they differ in how they follow x_0 between two times.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.guidance import Denoiser
from t2i_core.diffusion.kinds import SamplerName
from t2i_core.diffusion.schedule import Schedule

Sampler = Callable[[Denoiser, Tensor, Sequence[float], Schedule, Chance], Tensor]


def sample_ddim(
    denoise: Denoiser, x: Tensor, times: Sequence[float], schedule: Schedule, chance: Chance, *, eta: float = 0.0
) -> Tensor:
    """First order: hold x_0 over each step (Song et al. 2020, arXiv:2010.02502, equation 12).

    Args:
        denoise: estimate of x_0.
        x: (B, ...) float, standard normal noise.
        times: S + 1 of them, from 1 down to 0.
        schedule: path of alpha and sigma.
        chance: of the pictures, for fresh noise.
        eta: 0 adds no noise on the way; 1 as much as the forward process took away, which is DDPM.

    Returns:
        The sample, like x.
    """
    for number, (t, s) in enumerate(pairwise(times)):
        fresh = eta * _posterior_scale(t, s, schedule)
        x = _step(x, denoise(x, _batch(t, x)), t, s, schedule, fresh)
        if fresh:
            x = x + fresh * chance.normal(f"step/{number}", x.shape[1:])
    return x


def sample_heun(denoise: Denoiser, x: Tensor, times: Sequence[float], schedule: Schedule, chance: Chance) -> Tensor:
    """Second order with two evaluations a step: x_0 averaged over both ends (Karras et al. 2022, arXiv:2206.00364).

    The average is taken of x_0 in the exponential form above rather than of the slope, so it is exact for constant x_0.
    Arguments and result are those of `sample_ddim`.
    """
    for t, s in pairwise(times):
        x_0 = denoise(x, _batch(t, x))
        ahead = _step(x, x_0, t, s, schedule)
        if s > 0 and t < 1:
            x_0 = _blend(x_0, denoise(ahead, _batch(s, x)), t, s, schedule)
            ahead = _step(x, x_0, t, s, schedule)
        x = ahead
    return x


def sample_dpmpp_2m(denoise: Denoiser, x: Tensor, times: Sequence[float], schedule: Schedule, chance: Chance) -> Tensor:
    """Second order with one evaluation a step: DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    x_0 is extrapolated from the last two estimates, linear in half the log-SNR. Arguments and result are those of
    `sample_ddim`.
    """
    before: tuple[Tensor, float] | None = None
    for t, s in pairwise(times):
        x_0 = denoise(x, _batch(t, x))
        now, ahead = _half_log_snr(t, schedule), _half_log_snr(s, schedule)
        guess = x_0
        if before is not None and s > 0:
            last_x_0, last = before
            ratio = (ahead - now) / (2 * (now - last))
            guess = x_0 + ratio * (x_0 - last_x_0)
        x = _step(x, guess, t, s, schedule)
        before = (x_0, now) if t < 1 else None
    return x


SAMPLERS: dict[SamplerName, Sampler] = {
    "ddim": sample_ddim,
    "ddpm": partial(sample_ddim, eta=1.0),
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}


def _batch(t: float, x: Tensor) -> Tensor:
    return torch.full((len(x),), t, dtype=x.dtype, device=x.device)


def _step(x: Tensor, x_0: Tensor, t: float, s: float, schedule: Schedule, fresh: float = 0.0) -> Tensor:
    """Go from time t to s, where noise of scale `fresh` is still to be added."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = _scales(t, schedule), _scales(s, schedule)
    ratio = math.sqrt(sigma_s**2 - fresh**2) / sigma_t
    return ratio * x + (alpha_s - alpha_t * ratio) * x_0


def _posterior_scale(t: float, s: float, schedule: Schedule) -> float:
    """Give the scale of x_s given x_t and x_0 (Kingma et al. 2021, arXiv:2107.00630, equation 25)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = _scales(t, schedule), _scales(s, schedule)
    return sigma_s / sigma_t * math.sqrt(max(0.0, sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2))


def _scales(t: float, schedule: Schedule) -> tuple[float, float]:
    alpha, sigma = schedule.alpha_sigma(torch.tensor(t, dtype=torch.float64))
    return float(alpha), float(sigma)


def _half_log_snr(t: float, schedule: Schedule) -> float:
    return 0.5 * float(schedule.log_snr(torch.tensor(t, dtype=torch.float64)))


def _blend(x_0: Tensor, ahead: Tensor, t: float, s: float, schedule: Schedule) -> Tensor:
    """Weigh the estimates at both ends of a step so that an x_0 linear in half the log-SNR is integrated exactly.

    The path weighs x_0 by exp(u) over a step of length h in half log-SNR, so the far end gets the mean of u / h under
    that weight, (h - 1 + exp(-h)) / (h (1 - exp(-h))); one half for small h.
    """
    h = torch.tensor(_half_log_snr(s, schedule) - _half_log_snr(t, schedule), dtype=torch.float64)
    weight = float((h - 1 + torch.exp(-h)) / (h * (1 - torch.exp(-h))))
    return (1 - weight) * x_0 + weight * ahead
