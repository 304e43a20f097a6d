"""Convolutional decoder: a caption vector grows to a picture in one step.

The text encoder is the encoder half; trained with mean squared error it gives the conditional mean of all pictures that
fit the caption, so blur where they differ is expected. It equals an ideal denoiser at the highest noise.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from t2i_core.models.config import CNNConfig
from t2i_core.models.layers import ChannelNorm


class CNNBlock(nn.Module):
    """Norm, activation, convolution, twice, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm_in, self.norm_out = ChannelNorm(channels), ChannelNorm(channels)
        self.conv_in = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv_out = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map x: (B, C, h, w) to the same shape."""
        h = self.conv_in(F.silu(self.norm_in(x)))
        out: Tensor = x + self.conv_out(F.silu(self.norm_out(h)))
        return out


class CNNDecoder(nn.Module):
    """Caption vector -> picture."""

    def __init__(self, config: CNNConfig, text_width: int, image_size: int) -> None:
        super().__init__()
        self.first = 4
        coarsest = self.first * 2 ** (len(config.channels) - 1)
        self.patch_size = image_size // coarsest
        if self.patch_size * coarsest != image_size:
            raise ValueError(f"image_size {image_size} is not a multiple of {coarsest}; use fewer levels")
        channels = config.channels
        self.seed = nn.Linear(text_width, channels[0] * self.first**2)
        self.levels = nn.ModuleList(nn.Sequential(*(CNNBlock(c) for _ in range(config.num_blocks))) for c in channels)
        self.grow = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(channels))
        self.norm = ChannelNorm(channels[-1])
        self.head = nn.Conv2d(channels[-1], 3 * self.patch_size**2, 3, padding=1)

    def forward(self, pooled: Tensor) -> Tensor:
        """Draw pictures (B, 3, H, W) of caption vectors pooled: (B, D)."""
        x = self.seed(pooled).unflatten(1, (-1, self.first, self.first))
        x = x.contiguous(memory_format=torch.channels_last)
        for depth, level in enumerate(self.levels):
            if depth:
                x = self.grow[depth - 1](F.interpolate(x, scale_factor=2.0, mode="nearest"))
            x = level(x)
        return F.pixel_shuffle(self.head(F.silu(self.norm(x))), self.patch_size)
