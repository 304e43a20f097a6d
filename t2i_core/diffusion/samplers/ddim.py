"""The first samplers, which hold x_0 over each step: DDIM, and DDPM with its fresh noise."""

import math
from dataclasses import replace

from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course


def sample_ddim(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """First order: hold x_0 over each step (Song et al. 2020, arXiv:2010.02502, equation 12).

    Args:
        denoise: estimate of x_0.
        x: (B, ...) float, standard normal noise.
        course: where to go; heeds its eta.

    Returns:
        The sample, like x.
    """
    for number, t, s in course.steps():
        fresh = course.eta * posterior_scale(course, t, s)
        x = course.step(x, course.look(denoise, x, number).x_0, t, s, fresh)
        if fresh:
            x = x + fresh * course.noise(x, number)
    return x


def sample_ddpm(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """Add as much noise on the way as the forward process took away (Ho et al. 2020, arXiv:2006.11239)."""
    return sample_ddim(denoise, x, replace(course, eta=1.0))


def posterior_scale(course: Course, t: float, s: float) -> float:
    """Give the scale of x_s given x_t and x_0 (Kingma et al. 2021, arXiv:2107.00630, equation 25)."""
    (alpha_t, sigma_t), (alpha_s, sigma_s) = course.schedule.scales(t), course.schedule.scales(s)
    return sigma_s / sigma_t * math.sqrt(max(0.0, sigma_t**2 - (alpha_t / alpha_s * sigma_s) ** 2))
