"""What stages make of pictures: their own size, small ones to enlarge, and the channels that join the noised one."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.schedule import over
from t2i_core.systems.condition import Known, LowRes
from t2i_core.systems.pictures.worse import blurred

# Where the noise on small pictures comes from.
LOW_NOISE = "low/eps"


def factor_of(larger: int, smaller: int) -> int:
    """Give how many times as long the sides of one picture are as those of another; a `smaller` of 0 is as large.

    Raises:
        ValueError: no whole number of times.
    """
    if smaller and (larger % smaller or larger < smaller):
        raise ValueError(f"pictures of {larger} pixels cannot be averaged to {smaller}: use a divisor of {larger}.")
    return larger // smaller if smaller else 1


def shrunk(picture: Tensor, factor: int) -> Tensor:
    """Average squares of pixels of (B, C, H, W), H and W multiples of the factor."""
    return F.avg_pool2d(picture, factor) if factor > 1 else picture


def cut(pictures: Tensor, side: int, chance: Chance) -> Tensor:
    """Cut squares (B, C, side, side) out of pictures (B, C, H, W), each at a place of its own."""
    rows, columns = (
        (chance.uniform(f"crop/{axis}") * (whole - side + 1)).long()[:, None]
        + torch.arange(side, device=pictures.device)
        for axis, whole in zip("yx", pictures.shape[2:], strict=True)
    )
    number = torch.arange(len(pictures), device=pictures.device)[:, None, None]
    parts = pictures.movedim(1, -1)[number, rows[:, :, None], columns[:, None, :]]
    return parts.movedim(-1, 1)


def low_channels(low: LowRes, shape: Sequence[int], *, tells_level: bool) -> Tensor:
    """Give what an upsampler sees of small pictures: them, interpolated to the shape (C, H, W), and their level."""
    picture = F.interpolate(low.picture, size=list(shape[1:]), mode="bilinear", align_corners=False)
    level = over(low.level, picture).expand_as(picture[:, :1])
    return torch.cat([picture, level], dim=1) if tells_level else picture


def known_channels(known: Known) -> Tensor:
    """Give what a stage sees of what is known: (B, 4, H, W), the pixels, 0 where they are not, and where they are."""
    mask = known.mask.to(known.picture.dtype)
    return torch.cat([known.picture * mask, mask], dim=1)


def known_at(known: Known, shape: Sequence[int]) -> Known:
    """Average what is known to pictures of a shape (C, H, W); of a partly known square of pixels nothing is.

    Raises:
        ValueError: it is not a whole number of times as large.
    """
    factor = factor_of(known.picture.shape[-1], shape[-1])
    if factor == 1:
        return known
    mask = shrunk(known.mask.float(), factor) == 1
    return Known(picture=shrunk(known.picture, factor), mask=mask)


def low_of(picture: Tensor, factor: int, chance: Chance, *, blur: float, noise: float) -> LowRes:
    """Make the small picture that an upsampler learns from, worse than it is by chance, since drawn ones are.

    Args:
        picture: (B, 3, H, W) float in [-1, 1], the large one.
        factor: how many times smaller it gets.
        chance: of the samples; half of them are not blurred.
        blur: largest standard deviation, pixels of the small picture.
        noise: largest level.
    """
    low = shrunk(picture, factor)
    if blur:
        low = blurred(low, blur * (2 * chance.uniform("low/blur") - 1).clamp(min=0))
    return noised_low(low, noise * chance.uniform("low/level"), chance) if noise else clean_low(low)


def low_at(low: Tensor, level: float, chance: Chance, stream: str = LOW_NOISE) -> LowRes:
    """Put noise of one level on all small pictures (B, 3, h, w); none is drawn for level 0."""
    if not level:
        return clean_low(low)
    return noised_low(low, torch.full((len(low),), level, device=low.device), chance, stream)


def clean_low(low: Tensor) -> LowRes:
    """Give small pictures (B, 3, h, w) as they are."""
    return LowRes(picture=low, level=torch.zeros(len(low), device=low.device))


def noised_low(low: Tensor, level: Tensor, chance: Chance, stream: str = LOW_NOISE) -> LowRes:
    """Put noise on small pictures (Saharia et al. 2022, arXiv:2205.11487, section 2.4).

    Args:
        low: (B, 3, h, w) float in [-1, 1].
        level: (B,) float in [0, 1], standard deviation of the noise; the signal's scale falls so that variance stays.
        chance: of the samples.
        stream: of chance that the noise comes from.
    """
    sigma = over(level, low)
    return LowRes(picture=(1 - sigma**2).sqrt() * low + sigma * chance.normal(stream, low.shape[1:]), level=level)
