"""Samplers: from noise to a picture in S steps, knowing nothing but `denoise(x_t, t) -> x_0` and the schedule.

All step in the exact form x_s = (sigma_s / sigma_t) x_t + (alpha_s - alpha_t sigma_s / sigma_t) x_0, which integrates
the probability-flow ODE exactly while x_0 stays constant; they differ in how they follow x_0 between two times.
"""

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor

from t2i_core.diffusion.guidance import Denoiser
from t2i_core.diffusion.kinds import SamplerName, ScheduleName
from t2i_core.diffusion.schedule import alpha_sigma, log_snr

Sampler = Callable[[Denoiser, Tensor, Tensor, ScheduleName], Tensor]


def sample_ddim(denoise: Denoiser, x: Tensor, times: Tensor, schedule: ScheduleName) -> Tensor:
    """First order: hold x_0 over each step (Song et al. 2020, arXiv:2010.02502, equation 12 with eta = 0).

    Args:
        denoise: estimate of x_0.
        x: (B, C, H, W) float, standard normal noise.
        times: (S + 1,) float, from 1 down to 0.
        schedule: path of alpha and sigma.

    Returns:
        (B, C, H, W) float, the sample.
    """
    for t, s in pairwise(times):
        x = _step(x, denoise(x, _batch(t, x)), t, s, schedule)
    return x


def sample_heun(denoise: Denoiser, x: Tensor, times: Tensor, schedule: ScheduleName) -> Tensor:
    """Second order with two evaluations a step: x_0 averaged over both ends (Karras et al. 2022, arXiv:2206.00364).

    The average is taken of x_0 in the exponential form above rather than of the slope, so it is exact for constant x_0.
    Arguments and result are those of `sample_ddim`.
    """
    for t, s in pairwise(times):
        x_0 = denoise(x, _batch(t, x))
        ahead = _step(x, x_0, t, s, schedule)
        if float(s) > 0 and float(t) < 1:
            x_0 = _blend(x_0, denoise(ahead, _batch(s, x)), t, s, schedule)
            ahead = _step(x, x_0, t, s, schedule)
        x = ahead
    return x


def sample_dpmpp_2m(denoise: Denoiser, x: Tensor, times: Tensor, schedule: ScheduleName) -> Tensor:
    """Second order with one evaluation a step: DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    x_0 is extrapolated from the last two estimates, linear in half the log-SNR. Arguments and result are those of
    `sample_ddim`.
    """
    before: tuple[Tensor, float] | None = None
    for t, s in pairwise(times):
        x_0 = denoise(x, _batch(t, x))
        now, ahead = _half_log_snr(t, schedule), _half_log_snr(s, schedule)
        guess = x_0
        if before is not None and float(s) > 0:
            last_x_0, last = before
            ratio = (ahead - now) / (2 * (now - last))
            guess = x_0 + ratio * (x_0 - last_x_0)
        x = _step(x, guess, t, s, schedule)
        before = (x_0, now) if float(t) < 1 else None
    return x


SAMPLERS: dict[SamplerName, Sampler] = {
    "ddim": sample_ddim,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}


def _batch(t: Tensor, x: Tensor) -> Tensor:
    return torch.full((len(x),), float(t), dtype=x.dtype, device=x.device)


def _step(x: Tensor, x_0: Tensor, t: Tensor, s: Tensor, schedule: ScheduleName) -> Tensor:
    (alpha_t, sigma_t), (alpha_s, sigma_s) = alpha_sigma(schedule, t), alpha_sigma(schedule, s)
    ratio = float(sigma_s / sigma_t)
    return ratio * x + (float(alpha_s) - float(alpha_t) * ratio) * x_0


def _half_log_snr(t: Tensor, schedule: ScheduleName) -> float:
    return 0.5 * float(log_snr(schedule, t.view(1)))


def _blend(x_0: Tensor, ahead: Tensor, t: Tensor, s: Tensor, schedule: ScheduleName) -> Tensor:
    """Weigh the estimates at both ends of a step so that an x_0 linear in half the log-SNR is integrated exactly.

    The path weighs x_0 by exp(u) over a step of length h in half log-SNR, so the far end gets the mean of u / h under
    that weight, (h - 1 + exp(-h)) / (h (1 - exp(-h))); one half for small h.
    """
    h = torch.tensor(_half_log_snr(s, schedule) - _half_log_snr(t, schedule), dtype=torch.float64)
    weight = float((h - 1 + torch.exp(-h)) / (h * (1 - torch.exp(-h))))
    return (1 - weight) * x_0 + weight * ahead
