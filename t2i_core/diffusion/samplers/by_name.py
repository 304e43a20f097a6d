"""The samplers that recipes and the command line offer."""

from t2i_core.diffusion.kinds import SamplerName
from t2i_core.diffusion.samplers.course import Sampler
from t2i_core.diffusion.samplers.ddim import sample_ddim
from t2i_core.diffusion.samplers.ddpm import sample_ddpm
from t2i_core.diffusion.samplers.dpmpp import sample_dpmpp_2m, sample_dpmpp_3m_sde
from t2i_core.diffusion.samplers.karras import sample_euler, sample_heun
from t2i_core.diffusion.samplers.unipc import sample_unipc

SAMPLERS: dict[SamplerName, Sampler] = {
    "ddim": sample_ddim,
    "ddpm": sample_ddpm,
    "euler": sample_euler,
    "heun": sample_heun,
    "dpmpp_2m": sample_dpmpp_2m,
    "dpmpp_3m_sde": sample_dpmpp_3m_sde,
    "unipc": sample_unipc,
}
