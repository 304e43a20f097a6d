"""Exponential moving average of the weights, whose length grows with the run."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

from t2i_core.training.preset import EMAConfig

Averaged = TypeVar("Averaged", bound=nn.Module)


class EMA(Generic[Averaged]):
    """Average of a module's weights, in float32, for drawing."""

    def __init__(self, module: Averaged, config: EMAConfig) -> None:
        self.config = config
        self.module = copy.deepcopy(module).requires_grad_(False).eval()

    def decay_at(self, step: int) -> float:
        """Decay of a step: (1 + step) / (10 + step) until the maximum, so that early averages forget their start."""
        return min(self.config.max_decay, (1 + step) / (10 + step))

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the average towards the weights after step number `step`."""
        torch._foreach_lerp_(list(self.module.parameters()), list(module.parameters()), 1 - self.decay_at(step))
