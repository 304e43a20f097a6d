"""The Efficient U-Net of Imagen's super-resolution stages (Saharia et al. 2022, arXiv:2205.11487, appendix B and F).

Most of its weights lie where pictures are smallest, so each level first shrinks and then works, and on the way up works
and then grows; what the way down found joins the way up scaled by 1 / sqrt 2. Time, pooled caption and the level of the
noise on the small picture are one embedding; the caption's tokens are keys and values at the coarsest levels, beside
the picture's own places or, without self-attention, alone. A space-to-depth stem, which the paper does not have, makes
small presets fast on a CPU.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.adm_unet import Given
from t2i_core.models.config import EfficientConfig
from t2i_core.models.layers import NUM_COORDINATES, TimeEmbedding, attend, coordinates, zero_init
from t2i_core.models.norms import GroupNorm

# Of attention: its inner width beside the channels of the places that attend.
WIDENING = 2


class ResBlock(nn.Module):
    """Two 3x3 convolutions, each behind a norm and its activation; the embedding scales and shifts the second norm."""

    def __init__(self, channels: int, out_channels: int, config: EfficientConfig) -> None:
        super().__init__()
        self.norm_in = GroupNorm(config.groups, channels)
        self.conv_in = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.modulation = nn.Linear(config.embedding_width, 2 * out_channels)
        self.norm_out = GroupNorm(config.groups, out_channels)
        self.conv_out = zero_init(nn.Conv2d(out_channels, out_channels, 3, padding=1))
        self.skip = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map x: (B, C, h, w) to (B, C', h, w) under embedding: (B, D)."""
        h = self.conv_in(self.norm_in(x))
        h = self.conv_out(self.norm_out(h, self.modulation(embedding)))
        out: Tensor = self.skip(x) + h
        return out


class WideAttention(nn.Module):
    """Places attend to the caption's tokens, and to each other too where the recipe says so."""

    def __init__(self, channels: int, config: EfficientConfig) -> None:
        super().__init__()
        width = WIDENING * channels
        self.num_heads = config.num_heads
        self.position = nn.Linear(NUM_COORDINATES, channels) if config.positions else None
        self.norm = GroupNorm(config.groups, channels, activates=False)
        self.to_q = nn.Linear(channels, width)
        self.to_kv = nn.Linear(channels, 2 * width) if config.self_attention else None
        self.text_to_kv = nn.Linear(config.text_width, 2 * width)
        self.to_out = zero_init(nn.Linear(width, channels))

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Mix the places of x: (B, C, h, w) with tokens: (B, L, D) that mask: (B, L) calls real."""
        places = self.norm(x).flatten(2).transpose(1, 2)
        if self.position is not None:
            height, width = x.shape[2:]
            places = places + self.position(coordinates(height, width, x).flatten(1).transpose(0, 1))
        kv = self.text_to_kv(tokens)
        if self.to_kv is not None:
            kv = torch.cat([kv, self.to_kv(places).to(kv.dtype)], dim=1)
            mask = None if mask is None else F.pad(mask, (0, places.shape[1]), value=True)
        k, v = kv.chunk(2, dim=2)
        q, k, v = (part.unflatten(2, (self.num_heads, -1)).transpose(1, 2) for part in (self.to_q(places), k, v))
        mixed = self.to_out(attend(q, k, v, mask).transpose(1, 2).flatten(2))
        out: Tensor = x + mixed.transpose(1, 2).view_as(x)
        return out


class Stack(nn.Module):
    """Residual blocks of a level in a row, and attention behind them where the level has it."""

    def __init__(self, inputs: int, channels: int, num_blocks: int, config: EfficientConfig, *, attends: bool) -> None:
        super().__init__()
        widths = [inputs] + [channels] * (num_blocks - 1)
        self.blocks = nn.ModuleList(ResBlock(width, channels, config) for width in widths)
        self.attention = WideAttention(channels, config) if attends else None

    def forward(self, x: Tensor, given: Given) -> Tensor:
        """Map x: (B, C, h, w) to (B, C', h, w)."""
        for block in self.blocks:
            x = block(x, given.embedding)
        return x if self.attention is None or given.tokens is None else self.attention(x, given.tokens, given.mask)


class EfficientUNet(nn.Module):
    """(x, t, what the picture must fit) -> prediction."""

    def __init__(self, config: EfficientConfig) -> None:
        super().__init__()
        self.config = config
        patch, channels, width = config.patch_size**2, config.channels, config.embedding_width
        self.time = TimeEmbedding(width)
        self.level = TimeEmbedding(width)
        self.pooled = nn.Linear(config.text_width, width)
        self.stem = nn.Conv2d(config.in_channels * patch, channels[0], 3, padding=1)
        above, below = (channels[0], *channels[:-1]), (*channels[1:], 0)
        rows = list(zip(above, channels, below, config.num_blocks, config.attention, strict=True))
        self.shrink = nn.ModuleList(nn.Conv2d(a, c, 3, stride=2, padding=1) for a, c, *_ in rows)
        self.down = nn.ModuleList(Stack(c, c, n, config, attends=attends) for _, c, _, n, attends in rows)
        self.up = nn.ModuleList(Stack(b + c, c, n, config, attends=attends) for _, c, b, n, attends in rows)
        self.grow = nn.ModuleList(nn.Conv2d(c, c, 3, padding=1) for c in channels)
        self.norm = GroupNorm(config.groups, channels[0])
        self.head = zero_init(nn.Conv2d(channels[0], config.out_channels * patch, 3, padding=1))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        pooled: Tensor,
        tokens: Tensor,
        mask: Tensor | None = None,
        level: Tensor | None = None,
    ) -> Tensor:
        """Predict (B, out_channels, H, W).

        Args:
            x: (B, in_channels, H, W) float; H and W multiples of `config.side_multiple`.
            t: (B,) float in [0, 1]; 0 is clean.
            pooled: (B, text_width) float, what the whole picture must fit.
            tokens: (B, L, text_width) float, what its places may look up.
            mask: (B, L) bool, True = real token; None where all are.
            level: (B,) float in [0, 1], noise on the small picture among x; None where it has none.
        """
        given = Given(self._embed(t, pooled, level), tokens, mask)
        h = self.stem(F.pixel_unshuffle(x, self.config.patch_size))
        found: list[Tensor] = []
        for shrink, stack in zip(self.shrink, self.down, strict=True):
            found.append(stack(shrink(found[-1] if found else h), given))
        h = found.pop()
        for depth, (stack, grow) in reversed(list(enumerate(zip(self.up, self.grow, strict=True)))):
            h = grow(F.interpolate(stack(h, given), scale_factor=2.0, mode="nearest"))
            h = torch.cat([h, found.pop() * math.sqrt(0.5)], dim=1) if depth else h
        return F.pixel_shuffle(self.head(self.norm(h)), self.config.patch_size)

    def _embed(self, t: Tensor, pooled: Tensor, level: Tensor | None) -> Tensor:
        told = torch.zeros_like(t) if level is None else level
        return F.silu(self.time(t) + self.level(told) + self.pooled(pooled))

    def outer_layers(self) -> list[nn.Module]:
        """List the layers that face the outside: pixels, times, levels, places and embeddings."""
        modulations = [m.modulation for m in self.modules() if isinstance(m, ResBlock)]
        places = [m.position for m in self.modules() if isinstance(m, WideAttention) and m.position is not None]
        return [self.stem, self.head, self.time, self.level, self.pooled, *places, *modulations]
