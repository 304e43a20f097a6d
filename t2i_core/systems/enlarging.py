"""unCLIP's upsamplers (Ramesh et al. 2022, arXiv:2204.06125, section 2.3 and appendix C).

They see neither captions nor embeddings, draw without guidance and have no attention, so that they are trained on
parts a quarter as large and draw whole pictures.
"""

from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.systems.condition import LowRes
from t2i_core.systems.config import EnlargingConfig
from t2i_core.systems.diffusion import DiffusionStage
from t2i_core.systems.pictures.worse import blurred, bsr
from t2i_core.systems.view import clean_low, shrunk

# Of the blur that half of the small pictures get (Ho et al. 2021, Cascaded Diffusion Models, arXiv:2106.15282).
BLUR_STD, BLUR_REACH = 0.6, 1


class EnlargingStage(DiffusionStage):
    """Noise and a small picture -> a large one."""

    config: EnlargingConfig

    def _small(self, target: Tensor, chance: Chance) -> LowRes:
        """Make small pictures, worse than they are."""
        return clean_low(worsened(shrunk(target, self._enlarges), self.config, chance))


def worsened(low: Tensor, config: EnlargingConfig, chance: Chance) -> Tensor:
    """Make small pictures (B, 3, h, w) worse, as the recipe says."""
    if config.low_worse == "bsr":
        return bsr(low, chance)
    return blurred(low, BLUR_STD * (chance.uniform("low/blur") < 0.5), BLUR_REACH)
