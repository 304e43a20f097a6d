"""The stages of a system as one drawer: a base draws small pictures, an upsampler makes large ones of them."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from t2i_core.composition.config import BASE, Role
from t2i_core.diffusion.chance import Chance
from t2i_core.systems.condition import Condition, LowRes
from t2i_core.systems.stage import Drawer, DrawSettings


class Cascade:
    """What draws of a system, stage after stage.

    Attributes:
        drawers: by role; the base, and whatever else draws.
    """

    def __init__(self, drawers: Mapping[Role, Drawer]) -> None:
        self.drawers = drawers

    @property
    def roles(self) -> tuple[Role, ...]:
        """Those that have a part in drawing from words alone, in their order."""
        return (BASE, "upsampler") if "upsampler" in self.drawers else (BASE,)

    @property
    def side(self) -> int:
        """Side of the pictures that come out, pixels."""
        return self.drawers[self.roles[-1]].side

    def draw(
        self, conditions: Mapping[Role, Condition], chance: Chance, settings: Mapping[Role, DrawSettings]
    ) -> Tensor:
        """Draw pictures (B, 3, H, W) float that fit a condition; what is random differs a stage.

        Args:
            conditions: what they must fit, as each of `roles` reads it.
            chance: of the pictures.
            settings: of each of `roles`.
        """
        first = self.drawers[BASE]
        picture = first.draw(conditions[BASE], (3, first.side, first.side), chance, settings[BASE])
        for role in self.roles[1:]:
            picture = enlarged(self.drawers[role], picture, conditions[role], chance, settings[role])
        return picture


def enlarged(drawer: Drawer, picture: Tensor, condition: Condition, chance: Chance, settings: DrawSettings) -> Tensor:
    """Draw large pictures (B, 3, H, W) that small ones (B, 3, h, w) are the average of, and that fit a condition."""
    low = LowRes(picture=picture.clamp(-1, 1), level=torch.zeros(len(picture), device=picture.device))
    return drawer.draw(replace(condition, low=low), (3, drawer.side, drawer.side), chance, settings)
