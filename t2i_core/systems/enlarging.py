"""unCLIP's upsamplers (Ramesh et al. 2022, arXiv:2204.06125, section 2.3 and appendix C).

They see neither captions nor embeddings, draw without guidance and have no attention, so that they are trained on
parts a quarter as large and draw whole pictures.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.models.config import Sizes
from t2i_core.systems.config import EnlargingConfig
from t2i_core.systems.diffusion import DiffusionStage
from t2i_core.systems.pictures.worse import blurred, bsr
from t2i_core.systems.stage import Batch, Stage
from t2i_core.systems.view import clean_low, shrunk

# Of the blur that half of the small pictures get (Ho et al. 2021, Cascaded Diffusion Models, arXiv:2106.15282).
BLUR_STD, BLUR_REACH = 0.6, 1


class EnlargingStage(DiffusionStage):
    """Noise and a small picture -> a large one."""

    config: EnlargingConfig

    def __init__(self, config: EnlargingConfig, sizes: Sizes, given: Mapping[str, Stage]) -> None:
        super().__init__(config, sizes, given)
        if config.crops and self.side % (2 * config.network.side_multiple):
            raise ValueError(f"half of {self.side} pixels is no multiple of {config.network.side_multiple}.")

    def view(self, batch: Batch) -> Batch:
        """Make parts of pictures of its own side, and small ones of them, worse than they are."""
        target = shrunk(batch.target, self._shrinks)
        if self.config.crops:
            target = cut(target, batch.chance, self.side // 2)
        low = worsened(shrunk(target, self._enlarges), self.config, batch.chance)
        return replace(batch, target=target, condition=replace(batch.condition, low=clean_low(low)))


def cut(pictures: Tensor, chance: Chance, side: int) -> Tensor:
    """Cut squares (B, C, side, side) out of pictures (B, C, H, W), each at a place of its own."""
    rows, columns = (
        (chance.uniform(f"crop/{axis}") * (whole - side + 1)).long()[:, None]
        + torch.arange(side, device=pictures.device)
        for axis, whole in zip("yx", pictures.shape[2:], strict=True)
    )
    number = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    parts = pictures.movedim(1, -1)[number, rows[:, :, None], columns[:, None, :]]
    return parts.movedim(-1, 1)


def worsened(low: Tensor, config: EnlargingConfig, chance: Chance) -> Tensor:
    """Make small pictures (B, 3, h, w) worse, as the recipe says."""
    if config.low_worse == "bsr":
        return bsr(low, chance)
    return blurred(low, BLUR_STD * (chance.uniform("low/blur") < 0.5), BLUR_REACH)
