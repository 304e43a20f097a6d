"""How alike drawings are, by plain features of edges and colors: nothing is learned, so nothing is judge of itself.

Edges are histograms of oriented gradients (HOG, Dalal & Triggs 2005): unsigned angles in nine bins with shared votes,
cells of 8 x 8 pixels, blocks of 2 x 2 cells normalised by L2-Hys. Colors are histograms of 4 x 4 x 4 colors with shared
votes.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

Pictures = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

SIDE, CELL, NUM_ANGLES, NUM_LEVELS = 64, 8, 9, 4
CLIP, TINY = 0.2, 1e-6


def features(pictures: Pictures) -> Floats:
    """Describe pictures so that the dot product of two descriptions says how alike they are, at most 1.

    Args:
        pictures: (B, H, W, 3) uint8.

    Returns:
        (B, D) of unit length, one half of it edges, one the colors of each quarter of the picture.
    """
    small, half = _at_side(pictures), SIDE // 2
    quarters = [small[:, y : y + half, x : x + half] for y in (0, half) for x in (0, half)]
    colors = np.concatenate([np.sqrt(color_histograms(quarter)) for quarter in quarters], axis=1)
    return _unit(np.concatenate([_unit(edge_histograms(small)), _unit(colors)], axis=1))


def edge_histograms(pictures: Pictures) -> Floats:
    """Give the HOG of pictures, (B, 64, 64, 3) uint8, as (B, 7 * 7 * 36)."""
    across, along = _gradients(np.divide(pictures, 255, dtype=np.float32))
    place = np.arctan2(along, across) / np.pi % 1 * NUM_ANGLES
    lower, strength = np.floor(place), np.hypot(across, along)
    share = place - lower
    angles = np.arange(NUM_ANGLES)
    votes = (1 - share[..., None]) * (lower[..., None] % NUM_ANGLES == angles)
    votes += share[..., None] * ((lower[..., None] + 1) % NUM_ANGLES == angles)
    num = SIDE // CELL
    cells = (strength[..., None] * votes).reshape(-1, num, CELL, num, CELL, NUM_ANGLES).sum(axis=(2, 4))
    blocks = np.concatenate([cells[:, y : num - 1 + y, x : num - 1 + x] for y in (0, 1) for x in (0, 1)], axis=-1)
    return _unit(_unit(blocks).clip(max=CLIP)).reshape(len(pictures), -1)


def _gradients(pixels: Floats) -> tuple[Floats, Floats]:
    """Give the differences between a pixel's neighbours across and along, of its most changing channel."""
    padded = np.pad(pixels, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    across, along = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2], padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
    strongest = (across**2 + along**2).argmax(axis=-1)[..., None]
    return np.take_along_axis(across, strongest, -1)[..., 0], np.take_along_axis(along, strongest, -1)[..., 0]


def color_histograms(pictures: Pictures) -> Floats:
    """Give the share of each of 64 colors, (B, 64), in pictures, (B, H, W, 3) uint8; nearest levels share a pixel."""
    place = pictures.reshape(len(pictures), -1, 3).astype(np.float32) * ((NUM_LEVELS - 1) / 255)
    levels = np.maximum(0, 1 - np.abs(place[..., None] - np.arange(NUM_LEVELS, dtype=np.float32)))
    shares = np.einsum("bpr,bpg,bpc->brgc", levels[:, :, 0], levels[:, :, 1], levels[:, :, 2], optimize=True)
    return np.asarray(shares.reshape(len(pictures), -1) / place.shape[1], dtype=np.float32)


def color_distance(first: Floats, second: Floats) -> Floats:
    """Give the Hellinger distance of histograms along the last axis: 0 for the same colors, 1 for none in common."""
    shared = np.sqrt(first * second).sum(axis=-1)
    return np.asarray(np.sqrt((1 - shared).clip(min=0)), dtype=np.float32)


def copied(pictures: Pictures) -> Pictures:
    """Give pictures, (B, H, W, 3) uint8, as another rasterizer would draw them: other pixels, half a pixel aside."""
    return np.stack([_copied(Image.fromarray(picture)) for picture in pictures])


def _copied(picture: Image.Image) -> Pictures:
    width, height = picture.size
    # Where it is only half there, the last row and column come from the edge.
    box = (0.5, 0.5, width, height)
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC, box=box))


def _at_side(pictures: Pictures) -> Pictures:
    if pictures.shape[1:3] == (SIDE, SIDE):
        return pictures
    scaled = [Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.BICUBIC) for picture in pictures]
    return np.stack([np.asarray(picture) for picture in scaled])


def _unit(vectors: Floats) -> Floats:
    return np.asarray(vectors / (np.linalg.norm(vectors, axis=-1, keepdims=True) + TINY), dtype=np.float32)
