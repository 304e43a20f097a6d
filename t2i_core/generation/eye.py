"""The CLIP inside a system, which sees pictures and reads captions, and what stands in the place of a prior."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.composition.config import BASE, parts_of
from t2i_core.data.batches.decode import cover
from t2i_core.diffusion.chance import Chance
from t2i_core.encoders.encoder import FrozenEncoder, PictureEncoder
from t2i_core.generation.prompts import open_encoder
from t2i_core.systems.condition import Condition
from t2i_core.systems.stage import DrawSettings
from t2i_core.training.config import EMBEDDINGS


class Eye:
    """The CLIP that a decoder was trained with.

    Args:
        folder: of the run or system.

    Attributes:
        side: of the squares that it looks at, pixels.

    Raises:
        ConfigError: its base reads no embeddings of pictures, or their CLIP is gone or another one.
    """

    def __init__(self, folder: Path) -> None:
        encoder = open_encoder(parts_of(folder)[BASE], EMBEDDINGS)
        assert isinstance(encoder, PictureEncoder)
        self._pictures: PictureEncoder = encoder
        self._captions: FrozenEncoder = encoder
        self.side = encoder.side

    def see(self, pictures: NDArray[np.uint8]) -> Tensor:
        """Embed pictures (B, H, W, 3) uint8: (B, E) float32 of length 1, on the CPU."""
        squares = [cover(torch.tensor(picture), self.side, self.side)[0] for picture in pictures]
        return self._pictures.embed(torch.stack(squares)).float()

    def read(self, captions: Sequence[str]) -> Tensor:
        """Embed captions: (B, E) float32 of length 1, on the CPU."""
        return self._captions.encode(captions).pooled.float()


class Remembered:
    """In the place of a prior: gives embeddings that are known, by the seeds of the pictures.

    Args:
        seeds: of B pictures.
        images: (B, E) float, of length 1; who has another seed gets the first.
    """

    def __init__(self, seeds: Sequence[int], images: Tensor) -> None:
        self._images, self._rows = images, {seed: row for row, seed in enumerate(seeds)}

    def imagine(self, condition: Condition, chance: Chance, settings: DrawSettings) -> Tensor:
        """See `Prior.imagine`."""
        rows = [self._rows.get(seed, 0) for seed in chance.samples.tolist()]
        return self._images[rows].to(chance.samples.device)
