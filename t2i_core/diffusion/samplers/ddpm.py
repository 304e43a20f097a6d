"""DDPM, which adds on the way what the forward process took away, or as much as the network has learned to."""

import math

from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course


def sample_ddpm(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """Draw each x_s from a normal distribution (Ho et al. 2020, arXiv:2006.11239, equation 11).

    Its mean is that of x_s given x_t and x_0. So is its variance, the smallest that a step can have; a learned one lies
    between that and what the forward process adds from s to t, the largest (Nichol & Dhariwal 2021, arXiv:2102.09672,
    equation 15): both belong to the step that is taken, however many were trained on. Arguments and result are those of
    `sample_ddim`.
    """
    for number, t, s in course.steps():
        estimate, scale = course.look(denoise, x, number), course.posterior_scale(t, s)
        x = course.step(x, estimate.x_0, t, s, scale)
        if scale:
            noise = scale * course.noise(x, number)
            x = x + (noise if estimate.variance is None else noise * _spread(t, s, course) ** estimate.variance)
    return x


def _spread(t: float, s: float, course: Course) -> float:
    """Give the ratio of the largest scale of a step, that of data of unit variance, to the smallest."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = course.schedule.scales(t), course.schedule.scales(s)
    return sigma_t / math.hypot(alpha_t, sigma_t) / (sigma_s / math.hypot(alpha_s, sigma_s))
