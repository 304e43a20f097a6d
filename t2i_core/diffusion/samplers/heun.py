"""Samplers with more than one evaluation a step."""

import torch
from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course, batch_of


def sample_heun(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """Second order with two evaluations a step: x_0 averaged over both ends (Karras et al. 2022, arXiv:2206.00364).

    The average is taken of x_0 in the exponential form of `Course.step` rather than of the slope, so it is exact for
    constant x_0. Arguments and result are those of `sample_ddim`.
    """
    for number, t, s in course.steps():
        x_0 = course.look(denoise, x, number).x_0
        ahead = course.step(x, x_0, t, s)
        if s > 0 and t < 1:
            x_0 = _blend(x_0, denoise(ahead, batch_of(s, x)).x_0, t, s, course)
            ahead = course.step(x, x_0, t, s)
        x = ahead
    return x


def _blend(x_0: Tensor, ahead: Tensor, t: float, s: float, course: Course) -> Tensor:
    """Weigh the estimates at both ends of a step so that an x_0 linear in half the log-SNR is integrated exactly.

    The path weighs x_0 by exp(u) over a step of length h in half log-SNR, so the far end gets the mean of u / h under
    that weight, (h - 1 + exp(-h)) / (h (1 - exp(-h))); one half for small h.
    """
    h = torch.tensor(course.half_log_snr(s) - course.half_log_snr(t), dtype=torch.float64)
    weight = float((h - 1 + torch.exp(-h)) / (h * (1 - torch.exp(-h))))
    return (1 - weight) * x_0 + weight * ahead
