"""Layers that more than one network uses."""

import math
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_COORDINATES = 14
# From as many keys on attention goes through the fused kernel on a CPU too.
MANY_KEYS = 2048
Layer = TypeVar("Layer", nn.Linear, nn.Conv2d)


class TimeEmbedding(nn.Module):
    """Sines and cosines of the time, then a small network (Ho et al. 2020, arXiv:2006.11239)."""

    def __init__(self, width: int, num_frequencies: int = 64) -> None:
        super().__init__()
        self.num_frequencies = num_frequencies
        self.mlp = nn.Sequential(nn.Linear(2 * num_frequencies, width), nn.SiLU(), nn.Linear(width, width))

    def forward(self, t: Tensor) -> Tensor:
        """Embed times t: (B,) float in [0, 1] as (B, D)."""
        steps = torch.arange(self.num_frequencies, device=t.device, dtype=torch.float32) / self.num_frequencies
        angles = t.float()[:, None] * 1000 * torch.exp(-math.log(10_000) * steps)
        embedding: Tensor = self.mlp(torch.cat([angles.cos(), angles.sin()], dim=1))
        return embedding


class Attention(nn.Module):
    """Multi-head attention from queries to a context (or to themselves), with a mask over the context."""

    def __init__(self, width: int, context_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(context_width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width)

    def forward(self, x: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, N, D) float, queries.
            context: (B, L, D') float, keys and values.
            mask: (B, L) bool, True = real token; or (B, heads, N, L) bool, True = this query may see it.
        """
        q = self._heads(self.to_q(x))
        k, v = (self._heads(part) for part in self.to_kv(context).chunk(2, dim=-1))
        mixed = attend(q, k, v, mask)
        out: Tensor = self.to_out(mixed.transpose(1, 2).flatten(2))
        return out

    def _heads(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        return x.view(batch, length, self.num_heads, width // self.num_heads).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """Scaled dot-product attention.

    With few keys two plain matrix products train several times faster on a CPU than the fused kernel, whose backward
    pass dominated the whole step; with many, the memory of their scores costs more than it saves. CUDA keeps the fused
    one.

    Args:
        q: (B, heads, N, D) float.
        k: (B, heads, L, D) float.
        v: (B, heads, L, D) float.
        mask: (B, L) bool, True = real token; or (B, heads, N, L) bool, True = this query may see it.
    """
    allowed = mask[:, None, None, :] if mask is not None and mask.ndim == 2 else mask
    if q.is_cuda or k.shape[2] >= MANY_KEYS:
        return F.scaled_dot_product_attention(q, k, v, attn_mask=allowed)
    scores = wide((q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2))
    if allowed is not None:
        scores = scores.masked_fill(~allowed, float("-inf"))
    mixed: Tensor = scores.softmax(-1).to(v.dtype) @ v
    return mixed


def wide(x: Tensor) -> Tensor:
    """Give x in at least float32, in which sums are taken."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class FeedForward(nn.Module):
    """Two linear layers with GELU between."""

    def __init__(self, width: int, factor: int = 4) -> None:
        super().__init__()
        self.first = nn.Linear(width, factor * width)
        self.last = nn.Linear(factor * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map each vector of x: (..., D) by itself."""
        out: Tensor = self.last(F.gelu(self.first(x)))
        return out


def zero_init(layer: Layer) -> Layer:
    """Start a layer at zero, so that the branch it ends adds nothing at first."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def coordinates(height: int, width: int, like: Tensor) -> Tensor:
    """Describe each position of a grid: its coordinates and three octaves of their sines and cosines.

    At high noise a convolution cannot tell left from right; this can, at any size of grid.

    Returns:
        (NUM_COORDINATES, height, width) float in [-1, 1].
    """
    y, x = torch.meshgrid(
        torch.linspace(-1, 1, height, device=like.device),
        torch.linspace(-1, 1, width, device=like.device),
        indexing="ij",
    )
    waves = [
        wave(math.pi * octave * axis) for axis in (x, y) for octave in (0.5, 1, 2) for wave in (torch.sin, torch.cos)
    ]
    return torch.stack([x, y, *waves])


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each position.

    In channels_last layout these lie side by side, which makes it several times as fast on a CPU as a group norm.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise x: (B, C, h, w)."""
        normed: Tensor = super().forward(x.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)
