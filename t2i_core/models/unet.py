"""U-Net denoiser with cross-attention to the caption's tokens (Ho et al. 2020; Dhariwal & Nichol 2021; GLIDE 2021).

A space-to-depth stem turns patches of pixels into channels, so that all convolutions run at a fraction of the picture's
side, where they cost little and keep a CPU's matrix units busy.
"""

from typing import Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.config import Config
from t2i_core.models.layers import (
    NUM_COORDINATES,
    Attention,
    ChannelNorm,
    FeedForward,
    TimeEmbedding,
    coordinates,
    zero_init,
)


class UNetConfig(Config):
    """Size of the U-Net."""

    patch_size: int = Field(4, ge=1, description="Pixels a side of a patch that the stem folds into channels.")
    channels: tuple[int, ...] = Field((64, 192), min_length=1, description="Channels of each level, finest first.")
    num_blocks: tuple[int, ...] = Field((1, 1), min_length=1, description="Blocks of each level, down and again up.")
    attention: tuple[bool, ...] = Field(
        (False, True), description="Whether the blocks of each level attend to the text."
    )
    num_middle_blocks: int = Field(1, ge=0, description="Extra blocks at the coarsest level.")
    head_width: int = Field(32, gt=0, description="Channels of an attention head.")
    text_width: int = Field(128, gt=0, description="Width of a token vector.")
    embedding_width: int = Field(256, gt=0, description="Width of the joint embedding of time and pooled text.")

    @model_validator(mode="after")
    def _same_levels(self) -> Self:
        if not len(self.channels) == len(self.num_blocks) == len(self.attention):
            raise ValueError("channels, num_blocks and attention must have one entry a level")
        return self


class ResBlock(nn.Module):
    """Two 3x3 convolutions; time and pooled text scale and shift the features between them."""

    def __init__(self, channels_in: int, channels: int, embedding_width: int) -> None:
        super().__init__()
        self.norm_in = ChannelNorm(channels_in)
        self.conv_in = nn.Conv2d(channels_in, channels, 3, padding=1)
        self.modulation = zero_init(nn.Linear(embedding_width, 2 * channels))
        self.norm_out = ChannelNorm(channels)
        self.conv_out = zero_init(nn.Conv2d(channels, channels, 3, padding=1))
        self.skip = nn.Conv2d(channels_in, channels, 1) if channels_in != channels else nn.Identity()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        """Map x: (B, C_in, h, w) to (B, C, h, w) under embedding: (B, D)."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        scale, shift = self.modulation(embedding)[:, :, None, None].chunk(2, dim=1)
        h = self.norm_out(h) * (1 + scale) + shift
        out: Tensor = self.skip(x) + self.conv_out(F.silu(h))
        return out


class AttentionBlock(nn.Module):
    """Positions attend to each other, then to the caption's tokens, then a feed-forward layer."""

    def __init__(self, channels: int, text_width: int, head_width: int) -> None:
        super().__init__()
        heads = max(1, channels // head_width)
        self.position = nn.Linear(NUM_COORDINATES, channels)
        self.norm_self = nn.LayerNorm(channels)
        self.attend_self = Attention(channels, channels, heads)
        self.norm_text = nn.LayerNorm(channels)
        self.attend_text = Attention(channels, text_width, heads)
        self.norm_ff = nn.LayerNorm(channels)
        self.ff = FeedForward(channels, 2)

    def forward(self, x: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Mix x: (B, C, h, w) with tokens: (B, L, D) that mask: (B, L) calls real."""
        height, width = x.shape[-2:]
        place = coordinates(height, width, x).flatten(1).transpose(0, 1)
        h = x.flatten(2).transpose(1, 2) + self.position(place)
        normed = self.norm_self(h)
        h = h + self.attend_self(normed, normed)
        h = h + self.attend_text(self.norm_text(h), tokens, mask)
        h = h + self.ff(self.norm_ff(h))
        grid: Tensor = h.view(len(h), height, width, -1).permute(0, 3, 1, 2)
        return grid


class Block(nn.Module):
    """A residual block, followed by attention where the level has it."""

    def __init__(self, channels_in: int, channels: int, config: UNetConfig, *, attention: bool) -> None:
        super().__init__()
        self.res = ResBlock(channels_in, channels, config.embedding_width)
        self.attention = AttentionBlock(channels, config.text_width, config.head_width) if attention else None

    def forward(self, x: Tensor, embedding: Tensor, tokens: Tensor, mask: Tensor) -> Tensor:
        """Map x: (B, C_in, h, w) to (B, C, h, w)."""
        x = self.res(x, embedding)
        return x if self.attention is None else self.attention(x, tokens, mask)


class Stack(nn.ModuleList):
    """Blocks in a row at one level."""

    def __init__(
        self, channels_in: int, channels: int, num_blocks: int, config: UNetConfig, *, attention: bool
    ) -> None:
        widths = [channels_in] + [channels] * max(0, num_blocks - 1)
        super().__init__(Block(width, channels, config, attention=attention) for width in widths[:num_blocks])

    def forward(self, x: Tensor, *condition: Tensor) -> Tensor:
        """Map x: (B, C_in, h, w) to (B, C, h, w)."""
        for block in self:
            x = block(x, *condition)
        return x


class UNet(nn.Module):
    """(x_t, t, caption) -> raw prediction of the same shape as x_t."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        patch_channels = 3 * config.patch_size**2
        channels, above = config.channels, (config.channels[0], *config.channels[:-1])
        self.time = TimeEmbedding(config.embedding_width)
        self.pooled = nn.Linear(config.text_width, config.embedding_width)
        self.stem = nn.Conv2d(patch_channels, channels[0], 3, padding=1)
        rows = list(zip(channels, above, config.num_blocks, config.attention, strict=True))
        self.down = nn.ModuleList(Stack(c, c, n, config, attention=a) for c, _, n, a in rows)
        self.shrink = nn.ModuleList(nn.Conv2d(up, c, 3, stride=2, padding=1) for c, up, _, _ in rows[1:])
        self.middle = Stack(
            channels[-1], channels[-1], config.num_middle_blocks, config, attention=config.attention[-1]
        )
        self.up = nn.ModuleList(Stack(2 * c, c, n, config, attention=a) for c, _, n, a in rows)
        self.grow = nn.ModuleList(nn.Conv2d(c, up, 1) for c, up, _, _ in rows[1:])
        self.head_norm = ChannelNorm(channels[0])
        self.head = zero_init(nn.Conv2d(channels[0], patch_channels, 3, padding=1))

    def forward(self, x_t: Tensor, t: Tensor, tokens: Tensor, pooled: Tensor, mask: Tensor) -> Tensor:
        """Predict.

        Args:
            x_t: (B, 3, H, W) float, noised picture; H and W multiples of patch_size * 2 ** (levels - 1).
            t: (B,) float in [0, 1]; 0 is clean.
            tokens: (B, L, D) float, token vectors.
            pooled: (B, D) float, pooled text.
            mask: (B, L) bool, True = real token.
        """
        condition = (F.silu(self.time(t) + self.pooled(pooled)), tokens, mask)
        x = self.stem(F.pixel_unshuffle(x_t, self.config.patch_size))
        skips = []
        for depth, stack in enumerate(self.down):
            x = stack(self.shrink[depth - 1](x) if depth else x, *condition)
            skips.append(x)
        x = self.middle(x, *condition)
        for depth, stack in reversed(list(enumerate(self.up))):
            x = stack(torch.cat([x, skips[depth]], dim=1), *condition)
            if depth:
                x = F.interpolate(self.grow[depth - 1](x), scale_factor=2.0, mode="nearest")
        x = self.head(F.silu(self.head_norm(x)))
        return F.pixel_shuffle(x, self.config.patch_size)
