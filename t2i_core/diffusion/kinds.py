"""The kinds of path, prediction, weighting, training times and sampler, as a config names them; needs no PyTorch."""

from typing import Literal

ScheduleName = Literal["cosine", "linear", "flow", "edm", "cosine_1000", "linear_1000", "linear_1000_zero"]
Parameterization = Literal["eps", "x_0", "v", "velocity", "edm"]
Weighting = Literal["uniform", "min_snr", "soft_min_snr", "p2", "edm", "learned"]
TimeSampling = Literal["uniform", "logit_normal", "log_normal", "noise"]
SamplerName = Literal["ddim", "ddpm", "euler", "heun", "dpmpp_2m", "dpmpp_3m_sde", "unipc"]
