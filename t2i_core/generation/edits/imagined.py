"""Pictures as a CLIP sees them and the noise that a decoder draws them from: both halves of unCLIP's latent.

Ramesh et al. 2022, arXiv:2204.06125, section 3. What is drawn of both, without a caption, is the picture again; with
noise on the way it is a variation, and between two pictures or along two captions what lies there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from t2i_core.composition.config import BASE
from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.generation.config import DrawConfig
from t2i_core.generation.edits.canvas import Pixels
from t2i_core.generation.edits.sphere import slerp
from t2i_core.generation.eye import Eye
from t2i_core.generation.generator import Generator
from t2i_core.systems.condition import Condition
from t2i_core.systems.stage import DrawSettings, Editor
from t2i_core.systems.view import shrunk


@dataclass(frozen=True, slots=True)
class Latent:
    """What a picture is made of.

    Attributes:
        image: (1, E) float, its embedding, of length 1.
        noise: (1, 3, h, w) float, what the decoder draws it from.
    """

    image: Tensor
    noise: Tensor

    def towards(self, other: "Latent", theta: float) -> "Latent":
        """Go a share of the way to another picture, 0 to 1."""
        return Latent(slerp(self.image, other.image, theta), slerp(self.noise, other.noise, theta))


class Imagination:
    """A system with a decoder, and the CLIP that it was trained with.

    Args:
        folder: of the run or system.
        generator: of it.
        config: with which settings it draws.

    Raises:
        ConfigError: its base reads no embeddings of pictures, or their CLIP is gone or another one.
    """

    def __init__(self, folder: Path, generator: Generator, config: DrawConfig) -> None:
        self._eye, self._generator, self._config = Eye(folder), generator, config

    def caption(self, text: str) -> Tensor:
        """Give the embedding (1, E) float of a caption."""
        return self._eye.read([text]).to(self._generator.compute.device)

    def latent(self, picture: Pixels, iterations: int) -> Latent:
        """Take a picture (H, W, 3) uint8 apart.

        Args:
            picture: of sides that the system draws.
            iterations: fixed-point rounds of each step back to noise.

        Raises:
            ConfigError: it is of other sides.
        """
        height, width = picture.shape[:2]
        self._generator.cascade.require_editor((height, width))
        image = self._eye.see(picture[None]).to(self._generator.compute.device)
        small = shrunk(to_unit(picture[None]).to(self._generator.compute.device), self._generator.factor)
        settings = DrawSettings(num_steps=self._config.steps)
        with torch.no_grad():
            return Latent(image, self._decoder.invert(self._bare(image), small, settings, iterations=iterations))

    def drawn(self, latents: Sequence[Latent], seeds: Sequence[int], eta: float = 0.0) -> Pixels:
        """Draw latents, one by one, each with its seed: (B, H, W, 3) uint8; eta is DDIM's, noise on the way."""
        pictures = [self._drawn(latent, seed, eta) for latent, seed in zip(latents, seeds, strict=True)]
        return np.concatenate(pictures)

    def _drawn(self, latent: Latent, seed: int, eta: float) -> Pixels:
        generator, config = self._generator, self._config
        cascade, chance = generator.cascade, generator.chance([seed])
        asked = replace(generator.settings(BASE, config, 1), sampler="ddim", eta=eta, noise=latent.noise)
        asked = replace(asked, guidance_scale=asked.guidance_scale or 1.0)
        with torch.no_grad():
            small = self._decoder.draw(self._bare(latent.image), latent.noise.shape[1:], chance, asked)
        settings = {role: generator.settings(role, config, 1) for role in cascade.upsamplers}
        conditions = {role: Condition(text=generator.text(role, [""])) for role in settings}
        with torch.no_grad(), generator.compute.autocast():
            large = cascade.enlarge(small, conditions, chance, settings)
        pictures: Pixels = to_uint8(large).cpu().numpy()
        return pictures

    @property
    def _decoder(self) -> Editor:
        drawer = self._generator.cascade.drawers[BASE]
        assert isinstance(drawer, Editor)
        return drawer

    def _bare(self, image: Tensor) -> Condition:
        """Give an embedding without a caption."""
        condition = Condition(text=self._generator.text(BASE, [""] * len(image)), image=image)
        return condition.kept("text", torch.zeros(len(image), dtype=torch.bool, device=image.device))


def thetas(number: int, end: float) -> list[float]:
    """Space places on a way evenly, from its start to an end; a single one is the end."""
    return [end * i / (number - 1) for i in range(number)] if number > 1 else [end]
