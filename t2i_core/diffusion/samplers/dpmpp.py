"""DPM-Solver++: x_0 is extrapolated from what it was, so that each step costs one evaluation."""

from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course


def sample_dpmpp_2m(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """Second order with one evaluation a step: DPM-Solver++(2M) (Lu et al. 2022, arXiv:2211.01095, algorithm 2).

    x_0 is extrapolated from the last two estimates, linear in half the log-SNR. Arguments and result are those of
    `sample_ddim`.
    """
    before: tuple[Tensor, float] | None = None
    for number, t, s in course.steps():
        x_0 = course.look(denoise, x, number).x_0
        now, ahead = course.half_log_snr(t), course.half_log_snr(s)
        guess = x_0
        if before is not None and s > 0:
            last_x_0, last = before
            ratio = (ahead - now) / (2 * (now - last))
            guess = x_0 + ratio * (x_0 - last_x_0)
        x = course.step(x, guess, t, s)
        before = (x_0, now) if t < 1 else None
    return x
