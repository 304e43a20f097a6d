"""DDIM, which holds x_0 over each step, and its way back."""

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
        fresh = course.eta * course.posterior_scale(t, s)
        x = course.step(x, course.look(denoise, x, number).x_0, t, s, fresh)
        if fresh:
            x = x + fresh * course.noise(x, number)
    return x


def invert_ddim(denoise: Denoiser, x: Tensor, course: Course, *, iterations: int = 1) -> Tensor:
    """Find the noise from which `sample_ddim` without eta draws a sample.

    Each step solves x_s = step(x_t, x_0(x_t)) for x_t by fixed-point iteration, the estimate first made at x_s in place
    of x_t, which is the plain inversion (Song et al. 2020, arXiv:2010.02502, section 5.4; iterated by Pan et al. 2023,
    arXiv:2309.04907).

    Args:
        denoise: estimate of x_0; it must be the one drawn with, without guidance, which has no inverse.
        x: (B, ...) float, clean sample.
        course: the way that drawing goes, from noise to clean.
        iterations: evaluations a step; 1 is first order, more tend to the exact inverse.

    Returns:
        The noise, like x.
    """
    for number, t, s in reversed(list(course.steps())):
        x_s = x
        for _ in range(iterations):
            x = _step_back(x_s, x, course.look(denoise, x, number).x_0, t, s, course)
    return x


def _step_back(x_s: Tensor, x_t: Tensor, x_0: Tensor, t: float, s: float, course: Course) -> Tensor:
    """Improve x_t, given x_s and what is estimated at the x_t so far.

    Holding x_0 contracts where noise prevails, holding eps where the picture does: each where the other would not.
    """
    (alpha_t, sigma_t), (alpha_s, sigma_s) = course.schedule.scales(t), course.schedule.scales(s)
    if course.half_log_snr(t) + course.half_log_snr(s) < 0:
        return sigma_t / sigma_s * x_s + (alpha_t - alpha_s * sigma_t / sigma_s) * x_0
    eps = (x_t - alpha_t * x_0) / sigma_t
    return alpha_t / alpha_s * x_s + (sigma_t - sigma_s * alpha_t / alpha_s) * eps
