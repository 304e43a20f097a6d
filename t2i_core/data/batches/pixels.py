"""Pixels are uint8 0..255 on disk and float in [-1, 1] in the core; only this file converts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def to_unit(pixels: torch.Tensor | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> torch.Tensor:
    """Convert stored pixels to the model's range.

    Args:
        pixels: (B, H, W, 3) uint8, 0..255.

    Returns:
        (B, 3, H, W) float32 in [-1, 1], channels last in memory.
    """
    import torch

    return torch.as_tensor(pixels).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Convert the model's range to pixels, rounded and clamped; the exact inverse of `to_unit`.

    Args:
        images: (B, 3, H, W) float in [-1, 1].

    Returns:
        (B, H, W, 3) uint8, 0..255.
    """
    import torch

    scaled = images.detach().to(torch.float32).add(1.0).mul(127.5)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
