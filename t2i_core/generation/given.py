"""Pictures of somebody's that drawing starts from."""

from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from t2i_core.data.batches.pixels import to_unit
from t2i_core.systems.condition import Known
from t2i_core.systems.stage import Start


@dataclass(frozen=True, slots=True)
class Given:
    """What is given beside each prompt.

    Attributes:
        pictures: (B, H, W, 3) uint8.
        redraw: (H, W) bool, where to draw; all else is known and stays. None knows nothing.
        strength: share of the steps from noise to picture that are taken, starting from the pictures; None begins with
            noise.
        resamples: how often a base goes over each stretch of its steps, so that what it draws fits what is known.
        jump_length: steps of a stretch; None for a 25th of all.
    """

    pictures: NDArray[np.uint8]
    redraw: NDArray[np.bool_] | None = None
    strength: float | None = None
    resamples: int = 1
    jump_length: int | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width, pixels."""
        height, width = self.pictures.shape[1:3]
        return height, width

    def rows(self, first: int, size: int) -> "Given":
        """Give those of a batch, the last one again where there are too few."""
        chosen = np.arange(first, first + size).clip(max=len(self.pictures) - 1)
        return replace(self, pictures=self.pictures[chosen])

    def known(self, device: str) -> Known | None:
        """Give what stays of the pictures."""
        if self.redraw is None:
            return None
        mask = torch.from_numpy(~self.redraw).expand(len(self.pictures), 1, -1, -1)
        return Known(picture=to_unit(self.pictures).to(device), mask=mask.to(device))

    def start(self, device: str) -> Start | None:
        """Give what drawing begins from."""
        return (
            None if self.strength is None else Start(picture=to_unit(self.pictures).to(device), strength=self.strength)
        )

    def pasted(self, drawn: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Put the known pixels, byte by byte, over what was drawn (B, H, W, 3)."""
        return drawn if self.redraw is None else np.where(self.redraw[..., None], drawn, self.pictures)
