"""Schedules of N discrete steps, as the first diffusion models were trained with, and samplers' choices among them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from operator import mul

import torch
from torch import Tensor

from t2i_core.diffusion.schedule import Schedule, Time

NUM_STEPS = 1000
# The largest share of the variance that a step of the cosine table may replace.
LARGEST_BETA = 0.999
# Of a step, by which float32 may miss a time of the table.
_SLACK = 1e-3


@dataclass(frozen=True, slots=True)
class Table(Schedule):
    """Variance preserving in N steps; step n ends at t = n / N, and between two ends alpha^2 goes straight.

    Attributes:
        kept: N + 1 of them, alpha^2 after so many steps, from 1 down.
    """

    kept: tuple[float, ...] = field(kw_only=True, repr=False)

    @property
    def num_steps(self) -> int:
        """How many steps it has."""
        return len(self.kept) - 1

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See `Schedule.alpha_sigma`."""
        kept = torch.tensor(self.kept, dtype=torch.float64, device=t.device)
        position = t.double() * self.num_steps
        below = position.long().clamp(max=self.num_steps - 1)
        signal = torch.lerp(kept[below], kept[below + 1], position - below)
        return signal.sqrt().to(t.dtype), (1 - signal).sqrt().to(t.dtype)

    def scales(self, t: float) -> tuple[float, float]:
        """See `Schedule.scales`; looked up on the host, where samplers ask for it at every step."""
        position = t * self.num_steps
        below = min(int(position), self.num_steps - 1)
        signal = self.kept[below] + (position - below) * (self.kept[below + 1] - self.kept[below])
        return math.sqrt(signal), math.sqrt(1 - signal)

    def shifted(self, t: Time, shape: Sequence[int]) -> Time:
        """See `Schedule.shifted`; each time goes up to the end of its step, so that even times meet each step alike."""
        # Two arguments, since classes with slots are made anew and `super()` finds the one before.
        shifted = super(Table, self).shifted(t, shape)
        return (shifted * self.num_steps + 1 - _SLACK) // 1 / self.num_steps


def of_betas(betas: Sequence[float]) -> tuple[float, ...]:
    """Multiply up what is kept where each step replaces a share beta of the variance (Ho et al. 2020, equation 4)."""
    return tuple(accumulate((1 - beta for beta in betas), mul, initial=1.0))


def cosine_betas(num_steps: int = NUM_STEPS) -> list[float]:
    """Follow the squared cosine, no beta above 0.999 (Nichol & Dhariwal 2021, arXiv:2102.09672, equation 17)."""
    offset = 0.008  # so that the first steps do not vanish
    curve = [math.cos((n / num_steps + offset) / (1 + offset) * math.pi / 2) ** 2 for n in range(num_steps + 1)]
    return [min(1 - after / before, LARGEST_BETA) for before, after in pairwise(curve)]


def linear_betas(num_steps: int = NUM_STEPS) -> list[float]:
    """Rise evenly, for 1000 steps from 1e-4 to 0.02 (Ho et al. 2020, arXiv:2006.11239, section 4)."""
    first, last = 1e-4 * NUM_STEPS / num_steps, 0.02 * NUM_STEPS / num_steps
    return [first + (last - first) * n / (num_steps - 1) for n in range(num_steps)]


def zero_terminal(kept: Sequence[float]) -> tuple[float, ...]:
    """Leave nothing of the picture at the end and the first step as it is (Lin et al. 2023, arXiv:2305.08891).

    This is their algorithm 1.

    Args:
        kept: N + 1 of them, alpha^2 after so many steps, from 1 down.
    """
    alphas = [math.sqrt(k) for k in kept]
    stretch = alphas[1] / (alphas[1] - alphas[-1])
    return 1.0, *(((alpha - alphas[-1]) * stretch) ** 2 for alpha in alphas[1:])


def respaced(counts: Sequence[int], num_steps: int = NUM_STEPS) -> list[float]:
    """Choose steps of a table for a sampler, some parts of the way more densely (arXiv:2102.09672, section 4).

    Args:
        counts: how many steps in each of as many equal parts of the table, the first next to the picture: GLIDE's
            upsampler takes 10, 10, 3, 2, 2.
        num_steps: of the table.

    Returns:
        Times from 1, or from the first step of the last part where only one is asked of it, over the table's first step
        down to 0.

    Raises:
        ValueError: a part has fewer steps than are asked of it.
    """
    size, more = divmod(num_steps, len(counts))
    chosen, start = [0], 1
    for part, count in enumerate(counts):
        length = size + (part < more)
        if not 0 < count <= length:
            raise ValueError(f"{count} steps cannot be chosen from {length}")
        stride = (length - 1) / max(count - 1, 1)
        chosen += [start + round(stride * i) for i in range(count)]
        start += length
    return [n / num_steps for n in reversed(chosen)]
