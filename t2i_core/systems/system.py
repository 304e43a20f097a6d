"""What every system has in common: a condition to be given, a loss to train by, a way to draw."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What a picture must fit. A missing field stands for its null.

    Attributes:
        token_ids: (B, L) int64. The null caption is the empty one: [EOS] alone.
        token_mask: (B, L) bool, True = real token.
    """

    token_ids: Tensor
    token_mask: Tensor

    def to(self, device: str) -> "Condition":
        """Move it to a device."""
        return Condition(token_ids=self.token_ids.to(device), token_mask=self.token_mask.to(device))

    def trimmed(self) -> "Condition":
        """Cut the padding that no caption of the batch needs."""
        length = int(self.token_mask.sum(1).max())
        return Condition(token_ids=self.token_ids[:, :length], token_mask=self.token_mask[:, :length])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What a training step sees.

    Attributes:
        x_0: (B, 3, H, W) float in [-1, 1].
        condition: captions, some replaced by the null one.
        eps: (B, 3, H, W) float, standard normal, or (B, 0) where the system needs none.
        u: (B,) float in (0, 1), uniform.
    """

    x_0: Tensor
    condition: Condition
    eps: Tensor
    u: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """What a training step found.

    Attributes:
        total: () float, to be minimised.
        each: (B,) float, unweighted error of each sample.
        band: (B,) int64, noise band of each sample, 0 for systems without noise.
    """

    total: Tensor
    each: Tensor
    band: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawSettings:
    """How to draw; None leaves the system's own default."""

    guidance_scale: float | None = None
    num_steps: int | None = None


class System(Protocol):
    """A trainable text-to-image system; always an `nn.Module` too."""

    uses_noise: bool
    can_draw: bool

    def loss(self, batch: Batch) -> Losses:
        """Compute the training loss of a batch."""
        ...

    def draw(self, condition: Condition, noise: Tensor, settings: DrawSettings) -> Tensor:
        """Draw (B, 3, H, W) float, about [-1, 1], from noise of that shape."""
        ...

    def hidden_matrices(self) -> Sequence[nn.Parameter]:
        """List the weight matrices inside the network that the Muon optimizer may train."""
        ...


def hidden_matrices(module: nn.Module, outer: Sequence[nn.Module]) -> list[nn.Parameter]:
    """List linear and convolution weights, leaving out the modules named `outer` (embeddings, stem, head)."""
    skipped = {id(p) for m in outer for p in m.parameters()}
    layers = (m for m in module.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    weights = [m.weight for m in layers if id(m.weight) not in skipped]
    return [w for w in weights if isinstance(w, nn.Parameter)]


def no_bands(each: Tensor) -> Tensor:
    """Put all samples in one band."""
    return torch.zeros(len(each), dtype=torch.int64)
