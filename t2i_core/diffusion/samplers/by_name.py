"""The samplers that recipes and the command line offer."""

from t2i_core.diffusion.kinds import SamplerName
from t2i_core.diffusion.samplers.course import Sampler
from t2i_core.diffusion.samplers.ddim import sample_ddim, sample_ddpm
from t2i_core.diffusion.samplers.dpmpp import sample_dpmpp_2m
from t2i_core.diffusion.samplers.heun import sample_heun

SAMPLERS: dict[SamplerName, Sampler] = {
    "ddim": sample_ddim,
    "ddpm": sample_ddpm,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
}
