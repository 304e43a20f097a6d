"""The schedules that recipes offer, each made with its shift."""

from collections.abc import Callable
from functools import partial

from t2i_core.diffusion.continuous import EDM, Cosine, Flow, Linear
from t2i_core.diffusion.kinds import ScheduleName
from t2i_core.diffusion.schedule import Schedule
from t2i_core.diffusion.table import Table, cosine_betas, linear_betas, of_betas, zero_terminal

SCHEDULES: dict[ScheduleName, Callable[[float], Schedule]] = {
    "cosine": Cosine,
    "linear": Linear,
    "flow": Flow,
    "edm": EDM,
    "cosine_1000": partial(Table, kept=of_betas(cosine_betas())),
    "linear_1000": partial(Table, kept=of_betas(linear_betas())),
    "linear_1000_zero": partial(Table, kept=zero_terminal(of_betas(linear_betas()))),
}
