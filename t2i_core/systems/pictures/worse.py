"""Small pictures made worse by counted chance, so that an upsampler takes drawn ones, which have faults, for theirs.

Several ways one after another, in an order of its own for each picture, are BSRGAN's (Zhang et al. 2021,
arXiv:2103.14006), which unCLIP trains its last upsampler with (Ramesh et al. 2022, arXiv:2204.06125, section 2.3).
"""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from t2i_core.diffusion.chance import Chance
from t2i_core.diffusion.schedule import over

# Pixels that a blur reaches to each side: three standard deviations of the widest.
REACH = 4
# Of the ways of BSR: blur in pixels, sides that a picture is shrunk to and enlarged from, noise with pixels in [-1, 1],
# and quality of JPEG.
BLURS, SIDES, NOISES, QUALITIES = (0.1, 1.2), (1.0, 0.75, 0.5), (0.0, 0.06), (30.0, 95.0)
BLOCK = 8
# The tables of quantization that all programs use (ITU T.81, annex K), rows of luminance and of chrominance.
LUMINANCE = (
    *(16, 11, 10, 16, 24, 40, 51, 61, 12, 12, 14, 19, 26, 58, 60, 55, 14, 13, 16, 24, 40, 57, 69, 56),
    *(14, 17, 22, 29, 51, 87, 80, 62, 18, 22, 37, 56, 68, 109, 103, 77, 24, 35, 55, 64, 81, 104, 113, 92),
    *(49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99),
)
CHROMINANCE = (
    *(17, 18, 24, 47, 99, 99, 99, 99, 18, 21, 26, 66, 99, 99, 99, 99, 24, 26, 56, 99, 99, 99, 99, 99),
    *(47, 66, 99, 99, 99, 99, 99, 99),
    *(99,) * 32,
)
# From red, green and blue to brightness and two colours (JFIF).
YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))


def blurred(picture: Tensor, std: Tensor, reach: int = REACH) -> Tensor:
    """Blur each picture of (B, C, h, w) with its own Gaussian.

    Args:
        picture: the pictures.
        std: (B,) float, pixels; 0 leaves a picture as it is.
        reach: pixels to each side that the Gaussian is cut off beyond.
    """
    steps = torch.arange(-reach, reach + 1, device=picture.device)
    weights = torch.exp(-0.5 * (steps / std.clamp(min=1e-2)[:, None]).square())
    kernels = (weights / weights.sum(1, keepdim=True))[:, None, None, None]
    padded = F.pad(picture, [reach] * 4, mode="replicate")
    # No convolution, which autocast would do with a few bits.
    rows = (padded.unfold(3, len(steps), 1) * kernels).sum(-1)
    return (rows.unfold(2, len(steps), 1) * kernels).sum(-1)


def bsr(picture: Tensor, chance: Chance) -> Tensor:
    """Blur, shrink and enlarge, add noise, and compress, in an order of its own for each of (B, 3, h, w) in [-1, 1]."""
    ways = [_blurred, _resized, _noised, _compressed]
    order = torch.stack([chance.uniform(f"low/order/{number}") for number in range(len(ways))], dim=1).argsort(1)
    for place in order.unbind(1):
        picture = _by_way(picture, place, ways, chance)
    return picture.clamp(-1, 1)


def _by_way(picture: Tensor, way: Tensor, ways: Sequence[Callable[[Tensor, Chance], Tensor]], chance: Chance) -> Tensor:
    """Treat each picture in its way: (B,) int64."""
    treated = picture
    for number, treat in enumerate(ways):
        treated = torch.where(over(way == number, picture), treat(picture, chance), treated)
    return treated


def _between(bounds: tuple[float, float], u: Tensor) -> Tensor:
    return bounds[0] + u * (bounds[1] - bounds[0])


def _blurred(picture: Tensor, chance: Chance) -> Tensor:
    return blurred(picture, _between(BLURS, chance.uniform("low/blur")))


def _resized(picture: Tensor, chance: Chance) -> Tensor:
    """Shrink pictures and enlarge them again; some are left as they are."""
    chosen = (chance.uniform("low/side") * len(SIDES)).long()
    out, shape = picture, picture.shape[2:]
    for number, share in enumerate(SIDES):
        if share < 1:
            sides = [max(1, round(share * side)) for side in shape]
            small = F.interpolate(picture, sides, mode="bilinear", antialias=True, align_corners=False)
            back = F.interpolate(small, list(shape), mode="bilinear", align_corners=False)
            out = torch.where(over(chosen == number, picture), back, out)
    return out


def _noised(picture: Tensor, chance: Chance) -> Tensor:
    level = over(_between(NOISES, chance.uniform("low/level")), picture)
    return picture + level * chance.normal("low/eps", picture.shape[1:])


def _compressed(picture: Tensor, chance: Chance) -> Tensor:
    return compressed(picture, _between(QUALITIES, chance.uniform("low/quality")))


def compressed(picture: Tensor, quality: Tensor) -> Tensor:
    """Give what JPEG leaves of pictures, whose colours are kept at full resolution.

    Args:
        picture: (B, 3, h, w) float in [-1, 1].
        quality: (B,) float, 1 to 100, as programs count it.
    """
    height, width = picture.shape[2:]
    ycc, middle = torch.tensor(YCC, device=picture.device), torch.zeros(3, 1, 1, device=picture.device)
    middle[0] = 128
    levels = ((picture.clamp(-1, 1) + 1) * 127.5).round()
    colors = torch.einsum("ij,bjhw->bihw", ycc, levels) - middle
    padded = F.pad(colors.round(), (0, -width % BLOCK, 0, -height % BLOCK), mode="replicate")
    basis, steps = _cosines(picture.device), _steps(quality)
    blocks = padded.unfold(2, BLOCK, BLOCK).unfold(3, BLOCK, BLOCK)
    kept = (basis @ blocks @ basis.T / steps).round() * steps
    back = (basis.T @ kept @ basis).permute(0, 1, 2, 4, 3, 5).reshape(padded.shape)[..., :height, :width]
    back = back.round().clamp(-128, 127) + middle
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(ycc), back).round().clamp(0, 255) / 127.5 - 1


def _cosines(device: torch.device) -> Tensor:
    """Give the waves of a block's side as rows (8, 8), orthonormal."""
    wave = torch.arange(BLOCK, device=device)
    place, wave = wave + 0.5, wave[:, None]
    waves = torch.cos(math.pi * wave * place / BLOCK) * math.sqrt(2 / BLOCK)
    waves[0] /= math.sqrt(2)
    return waves


def _steps(quality: Tensor) -> Tensor:
    """Give what each wave of each colour is a multiple of: (B, 3, 1, 1, 8, 8)."""
    tables = torch.tensor([LUMINANCE, CHROMINANCE, CHROMINANCE], device=quality.device).view(3, 1, 1, BLOCK, BLOCK)
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    return ((tables * percent.view(-1, *[1] * 5) + 50) / 100).floor().clamp(1, 255)
