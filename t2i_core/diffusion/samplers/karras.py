"""Steps along the probability-flow ODE as Karras et al. take them (2022, arXiv:2206.00364): Euler and Heun."""

from dataclasses import replace

from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course, batch_of
from t2i_core.diffusion.samplers.ddim import sample_ddim
from t2i_core.diffusion.samplers.polynomial import mean_x_0


def sample_euler(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """First order: a straight step of x / alpha over sigma / alpha (algorithm 1 without its correction).

    It is DDIM's step without noise, and on the straight path x + (s - t) * velocity. Arguments and result are those of
    `sample_ddim`.
    """
    return sample_ddim(denoise, x, replace(course, eta=0.0))


def sample_heun(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """Second order with two evaluations a step: x_0 averaged over both ends (algorithm 1).

    The average is taken of x_0 in the exponential form of `Course.step` rather than of the slope, so it is exact for
    an x_0 linear in half the log-SNR. Arguments and result are those of `sample_ddim`.
    """
    for number, t, s in course.steps():
        x_0 = course.look(denoise, x, number).x_0
        end = course.step(x, x_0, t, s)
        if s > 0 and t < 1:
            now, ahead = course.half_log_snr(t), course.half_log_snr(s)
            x_0 = mean_x_0([(now, x_0), (ahead, denoise(end, batch_of(s, x)).x_0)], now, ahead)
            end = course.step(x, x_0, t, s)
        x = end
    return x
