"""Masks of what of a picture is given, by counted chance, for stages that learn to fill in the rest (GLIDE, 3.3)."""

import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance

NUM_BOXES, BOX_SIZES = 3, (0.2, 0.8)
NUM_CORNERS, STROKE_WIDTHS = 4, (0.06, 0.2)


def random_masks(chance: Chance, height: int, width: int) -> Tensor:
    """Hide strokes, boxes, one half, everything or nothing, each kind as often as the others.

    With everything hidden a stage goes on learning to draw whole pictures, which it would forget otherwise.

    Args:
        chance: of the samples.
        height: of the pictures, pixels.
        width: of the pictures, pixels.

    Returns:
        (B, 1, height, width) bool, True = given.
    """
    device = chance.samples.device
    x, y = ((torch.arange(side, device=device) + 0.5) / side for side in (width, height))
    x, y = x.expand(height, width), y[:, None].expand(height, width)
    everything = torch.ones(len(chance.samples), height, width, dtype=torch.bool, device=device)
    kinds = torch.stack([_strokes(chance, x, y), _boxes(chance, x, y), _half(chance, x, y), everything, ~everything])
    chosen = _numbers(chance, "kind", 1)[:, 0].mul(len(kinds)).long()
    return ~kinds[chosen, torch.arange(len(chosen), device=device)][:, None]


def _numbers(chance: Chance, name: str, count: int) -> Tensor:
    """Give each sample some numbers: (B, count) float in (0, 1)."""
    return torch.stack([chance.uniform(f"mask/{name}/{number}") for number in range(count)], dim=1)


def _spread(numbers: Tensor, ends: tuple[float, float]) -> Tensor:
    return ends[0] + (ends[1] - ends[0]) * numbers


def _boxes(chance: Chance, x: Tensor, y: Tensor) -> Tensor:
    """Some boxes that may overlap: (B, H, W) bool."""
    left, top, wide, high = _numbers(chance, "box", 4 * NUM_BOXES).view(-1, 4, NUM_BOXES, 1, 1).unbind(1)
    beside = (x - left).abs() < _spread(wide, BOX_SIZES) / 2
    within = (y - top).abs() < _spread(high, BOX_SIZES) / 2
    return (beside & within).any(1)


def _strokes(chance: Chance, x: Tensor, y: Tensor) -> Tensor:
    """One line of a brush through some points: (B, H, W) bool."""
    corners = _numbers(chance, "corner", 2 * NUM_CORNERS).view(-1, NUM_CORNERS, 2)
    radius = _spread(_numbers(chance, "width", 1), STROKE_WIDTHS)[..., None, None] / 2
    place = torch.stack([x, y], dim=-1)
    begin, way = corners[:, :-1, None, None], corners.diff(dim=1)[:, :, None, None]
    share = ((place - begin) * way).sum(-1) / way.square().sum(-1).clamp(min=1e-6)
    nearest = begin + share.clamp(0, 1)[..., None] * way
    return ((place - nearest).square().sum(-1) < radius.square()).any(1)


def _half(chance: Chance, x: Tensor, y: Tensor) -> Tensor:
    """The left, right, upper or lower half: (B, H, W) bool."""
    upright, first = _numbers(chance, "half", 2).view(-1, 2, 1, 1).unbind(1)
    return (torch.where(upright < 0.5, x, y) < 0.5) == (first < 0.5)
