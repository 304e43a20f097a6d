"""Exponential moving averages of the weights, whose length grows with the run."""

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from t2i_core.training.preset import EMAConfig

Averaged = TypeVar("Averaged", bound=nn.Module)


def average_name(number: int) -> str:
    """Name the tensors of an average in a checkpoint; the first one is what is drawn with unless another is named."""
    return f"ema_{number}" if number else "ema"


class EMA(Generic[Averaged]):
    """Averages of a module's weights and floating buffers, in float32, for drawing; one for each decay.

    Attributes:
        modules: the averages, in the order of the decays.
    """

    def __init__(self, module: Averaged, config: EMAConfig) -> None:
        self.config = config
        self.modules = [copy.deepcopy(module).requires_grad_(False).eval() for _ in config.decays]

    @property
    def module(self) -> Averaged:
        """The first average."""
        return self.modules[0]

    @property
    def by_name(self) -> dict[str, Averaged]:
        """The averages by their names in a checkpoint."""
        return {average_name(number): module for number, module in enumerate(self.modules)}

    def decays_at(self, step: int) -> list[float]:
        """Decays of a step: (1 + step) / (10 + step) until the maximum, so that early averages forget their start."""
        return [min(decay, (1 + step) / (10 + step)) for decay in self.config.decays]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move the averages towards the weights after step number `step`; buffers that only count are copied."""
        new = _tensors(module)
        floating = [tensor for tensor in new if tensor.is_floating_point()]
        for average, decay in zip(self.modules, self.decays_at(step), strict=True):
            old = _tensors(average)
            torch._foreach_lerp_([tensor for tensor in old if tensor.is_floating_point()], floating, 1 - decay)
            for mine, others in zip(old, new, strict=True):
                if not mine.is_floating_point():
                    mine.copy_(others)


def _tensors(module: nn.Module) -> list[Tensor]:
    """List what a module saves, shared weights once; masks of minus infinity, which no average survives, are not."""
    return list(dict.fromkeys(module.state_dict(keep_vars=True).values()))
