"""UniPC: each evaluation first corrects the step that led to it, then predicts the next."""

from torch import Tensor

from t2i_core.diffusion.estimate import Denoiser
from t2i_core.diffusion.samplers.course import Course
from t2i_core.diffusion.samplers.polynomial import Node, extrapolated_x_0, mean_x_0


def sample_unipc(denoise: Denoiser, x: Tensor, course: Course) -> Tensor:
    """Third order with one evaluation a step: UniPC-3 (Zhao et al. 2023, arXiv:2302.04867, algorithms 1 and 2).

    Its systems of equations are those of the polynomial through the last three estimates (UniP), and through the new
    one as well (UniC), in half the log-SNR; the function B(h) cancels where they are solved exactly. Arguments and
    result are those of `sample_ddim`.
    """
    nodes: list[Node] = []
    start = x
    for number, t, s in course.steps():
        now, ahead = course.half_log_snr(t), course.half_log_snr(s)
        x_0 = course.look(denoise, x, number).x_0
        if nodes:
            corrected = mean_x_0([(now, x_0), *nodes], nodes[0][0], now)
            x = course.step(start, corrected, course.times[number - 1], t)
        nodes, start = [(now, x_0), *nodes[:2]], x
        x = course.step(x, extrapolated_x_0(nodes, ahead) if s > 0 else x_0, t, s)
        if t == 1:
            nodes = []
    return x
