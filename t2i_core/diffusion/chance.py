"""Randomness that is counted, not stored: each number is a function of a seed, a stream's name and a sample's number.

So neither the size of a batch nor who else is in it changes a bit of what a sample gets, and nothing needs to be saved.
The counter is hashed on the device itself by SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195), which all
devices calculate alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from t2i_core.canonical import digest_of

_BITS = 24  # of a float32's fraction


def _signed(number: int) -> int:
    return (number + 2**63) % 2**64 - 2**63


# 2^64 over the golden ratio: multiples of it, modulo 2^64, leave the widest gaps.
_GOLDEN = _signed(0x9E3779B97F4A7C15)
_ROUNDS = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)), (31, 1))


@dataclass(frozen=True, slots=True)
class Chance:
    """The random numbers of some samples.

    Attributes:
        seed: of a run.
        samples: (B,) int64, number of each sample, counted over a whole run; of a picture to be drawn, its seed.
    """

    seed: int
    samples: Tensor

    def uniform(self, stream: str) -> Tensor:
        """Give each sample a number: (B,) float in (0, 1)."""
        return _fraction(self._keys(stream), 0)

    def spread(self, stream: str) -> Tensor:
        """Give each sample a number such that those of any samples in a row lie evenly: (B,) float in (0, 1).

        They are the multiples of the golden ratio, from a start that the seed decides.
        """
        return _fraction(self.samples * _GOLDEN + _start(self.seed, stream), 0)

    def normal(self, stream: str, shape: Sequence[int]) -> Tensor:
        """Give each sample standard normal numbers: (B, *shape) float, pictures with their channels last in memory."""
        channels, *rest = shape
        size = math.prod(shape)
        counters = torch.arange(1, (size + 3) // 2, device=self.samples.device) * _GOLDEN
        bits = _mixed(self._keys(stream)[:, None] + counters)
        radius = _fraction(bits, 0).log_().mul_(-2).sqrt_()
        angle = _fraction(bits, 1).mul_(2 * math.pi)
        # Two normal numbers of each hash (Box & Muller 1958).
        pairs = torch.cat([angle.cos().mul_(radius), angle.sin_().mul_(radius)], dim=1)
        return pairs[:, :size].reshape(-1, *rest, channels).movedim(-1, 1)

    def _keys(self, stream: str) -> Tensor:
        return _mixed(self.samples * _GOLDEN + _start(self.seed, stream))


@lru_cache(maxsize=1024)
def _start(seed: int, stream: str) -> int:
    return _signed(int(digest_of({"seed": seed, "stream": stream})[:16], 16))


def _mixed(z: Tensor) -> Tensor:
    """Hash 64 bits in place; shifts of PyTorch draw the sign along, which is masked out."""
    moved = torch.empty_like(z)
    for shift, factor in _ROUNDS:
        torch.bitwise_right_shift(z, shift, out=moved)
        z.bitwise_xor_(moved.bitwise_and_((1 << 64 - shift) - 1)).mul_(factor)
    return z


def _fraction(bits: Tensor, part: int) -> Tensor:
    """Make a number in (0, 1) of the first 24 bits, or the next ones."""
    chosen = (bits >> (64 - (part + 1) * _BITS)).bitwise_and_((1 << _BITS) - 1)
    return chosen.to(torch.float32).add_(0.5).div_(1 << _BITS)
