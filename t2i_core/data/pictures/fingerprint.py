"""What a picture looks like in few bits that survive other sizes and encodings: shapes, colors, or nothing at all."""

import math
from itertools import product
from typing import cast

import numpy as np
from PIL import Image

from t2i_core.data.picture import GRID_SIDE

HASH_BITS = 64
# Standard deviation of every channel, in levels of 255; below it there is nothing to see but one color and its noise.
BLANK_DEVIATION = 2.0

_SIDE = 32
# Two fields of the small copy this far apart are deviation enough, whatever the others are.
_CLEAR_RANGE = BLANK_DEVIATION * math.sqrt(2) * _SIDE
_SCALE = 4096
_SLOWEST = sorted(product(range(_SIDE), repeat=2), key=lambda pair: (sum(pair), pair[0]))[1 : HASH_BITS + 1]
# Every fourth one in each quarter: fast waves are often missing, and each quarter is to tell pictures apart.
_ROWS, _COLUMNS = np.array([pair for quarter in range(4) for pair in _SLOWEST[quarter::4]]).T

# Whole numbers, so that every machine gets the same sums: one wave of half periods over 32 pixels a row (DCT-II).
_WAVES = np.round(
    _SCALE
    * np.cos(np.pi * np.outer(np.arange(1 + max(_ROWS.max(), _COLUMNS.max())), 2 * np.arange(_SIDE) + 1) / (2 * _SIDE))
).astype(np.int64)
# A wave must be a quarter of a level high to count; symmetric drawings have many of which only noise is there.
_LEAST = (_SCALE * _SIDE // 2) ** 2 // 4


def small_copy(image: Image.Image) -> Image.Image:
    """Average a picture over 32 x 32 equal fields."""
    return image.resize((_SIDE, _SIDE), Image.Resampling.BOX, reducing_gap=1.0)


def perceptual_hash(small: Image.Image) -> str:
    """Hash a small copy by its shapes: 16 hexadecimal digits, alike for pictures that look alike.

    One bit for each of the 64 slowest waves of the discrete cosine transform of its luminance, the constant left out:
    whether the wave is there with a positive sign. The waves are dealt to the four quarters in turn, slowest first.

    Args:
        small: 32 x 32, RGB.
    """
    luminance = np.asarray(small.convert("L")).astype(np.int64)
    waves = _WAVES @ luminance @ _WAVES.T
    return np.packbits(waves[_ROWS, _COLUMNS] > _LEAST).tobytes().hex()


def color_grid(small: Image.Image) -> str:
    """Tell the colors of a small copy, which its hash leaves out: 96 hexadecimal digits.

    The mean Y, Cb and Cr of each of 4 x 4 equal fields, row by row, two digits each. Never all zero: RGB has no such
    chroma.

    Args:
        small: 32 x 32, RGB.
    """
    return small.convert("YCbCr").resize((GRID_SIDE, GRID_SIDE), Image.Resampling.BOX).tobytes().hex()


def is_blank(image: Image.Image, small: Image.Image) -> bool:
    """Tell whether a picture is one color or nearly: all channels deviate less than `BLANK_DEVIATION`.

    Args:
        image: RGB.
        small: its small copy, which mostly answers the question at once.
    """
    extrema = cast("tuple[tuple[int, int], ...]", small.getextrema())
    if any(highest - lowest > _CLEAR_RANGE for lowest, highest in extrema):
        return False
    histogram = np.array(image.histogram(), np.int64).reshape(3, 256)
    levels = np.arange(256)
    count, total, squares = histogram.sum(axis=1), histogram @ levels, histogram @ levels**2
    # The variance times the square of the count, in whole numbers.
    return bool((squares * count - total**2 < (BLANK_DEVIATION * count) ** 2).all())
