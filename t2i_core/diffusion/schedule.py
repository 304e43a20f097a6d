"""What a noise schedule is: t in [0, 1] -> (alpha, sigma), and the times that training and samplers visit."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

# Keeps log-SNR finite at both ends; the error it makes is far below one gray level.
EDGE = 1e-4
# Side of the pictures that a shift is given for, pixels.
SHIFT_SIDE = 64
# Until a time is as near as float32 can say.
_HALVINGS = 30
Time = TypeVar("Time", float, Tensor)


@dataclass(frozen=True, slots=True)
class Schedule(ABC):
    """A path from picture to noise.

    Attributes:
        shift: how far times lean to noise for pictures of 64 pixels a side; 1 leaves them as they are there, 0 leaves
            them as they are whatever the side.
    """

    shift: float = 1.0

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Give signal and noise scale at times t: float in [0, 1], any shape."""

    def scales(self, t: float) -> tuple[float, float]:
        """Give signal and noise scale at one time."""
        alpha, sigma = self.alpha_sigma(torch.tensor(t, dtype=torch.float64))
        return float(alpha), float(sigma)

    def log_snr(self, t: Tensor) -> Tensor:
        """Give 2 log(alpha / sigma) at times t, any shape, clipped away from the infinite ends."""
        alpha, sigma = self.alpha_sigma(t.clamp(EDGE, 1 - EDGE))
        return 2 * (alpha.log() - sigma.log())

    def time_of(self, log_snr: Tensor) -> Tensor:
        """Find the times t at which `log_snr` is so much, any shape, by halving; beyond the ends, the ends."""
        low, high = torch.zeros_like(log_snr), torch.ones_like(log_snr)
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            clearer = self.log_snr(middle) > log_snr
            low, high = torch.where(clearer, middle, low), torch.where(clearer, high, middle)
        return (low + high) / 2

    def shifted(self, t: Time, shape: Sequence[int]) -> Time:
        """Lean times to noise as `leaned` does.

        The more pixels share a color, the more noise it takes to hide it, so s grows with
        the square root of their number.

        Args:
            t: float in [0, 1], or a tensor of them, any shape.
            shape: of a sample, (C, H, W); what is no picture is not shifted further.
        """
        if not self.shift:
            return t
        shift = self.shift * math.sqrt(math.prod(shape[1:])) / SHIFT_SIDE if len(shape) > 1 else self.shift
        return leaned(t, shift)

    def times(self, num_steps: int, shape: Sequence[int], by: float = 1.0) -> list[float]:
        """List the S + 1 times of a sampler, evenly spaced before the shift, from 1 (noise) down to 0.

        They are fewer where a table has fewer.

        Args:
            num_steps: S.
            shape: of a sample, (C, H, W).
            by: how far they lean to noise beside the schedule's own shift; 1 not at all, below 1 to the picture.
        """
        return list(dict.fromkeys(self.shifted(leaned(1 - i / num_steps, by), shape) for i in range(num_steps + 1)))


def leaned(t: Time, by: float) -> Time:
    """Lean times to noise: s t / (1 + (s - 1) t) (Esser et al. 2024, arXiv:2403.03206, equation 23).

    In logits this adds log(s), so one after the other multiply.

    Args:
        t: float in [0, 1], or a tensor of them, any shape.
        by: s; 1 leaves times as they are, below 1 they lean to the picture.
    """
    return by * t / (1 + (by - 1) * t)


def over(t: Tensor, x: Tensor) -> Tensor:
    """Shape times t: (B,) so that each spreads over its sample of x: (B, ...)."""
    return t.view(-1, *[1] * (x.ndim - 1))
