"""Making parts of a picture unrecognisable: boxes from a column of the list, blurred with soft edges."""

import math
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from PIL import Image

from t2i_core.data.bounded.strict_json import parse_json

# Of the longer side of a box: how strongly it is blurred, and how far beyond its edges.
BLUR_SHARE = 0.1
MARGIN_SHARE = 0.1
# Detectors place boxes a little outside of pictures; anything further out is in other units.
_OVERHANG = 0.5


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a picture, as shares of its upright width and height."""

    left: float
    top: float
    right: float
    bottom: float


def read_boxes(text: str) -> tuple[Box, ...] | None:
    """Read a cell: a JSON list of [x_min, y_min, x_max, y_max], each 0 to 1; "" stands for no boxes.

    Returns:
        None when it is anything else, so that what should be hidden cannot be shown by mistake.
    """
    try:
        cells = parse_json(text) if text.strip() else []
    except ValueError:
        return None
    if not isinstance(cells, list) or not all(map(_is_box, cells)):
        return None
    return tuple(Box(*map(float, cell)) for cell in cells)


def _is_box(cell: Any) -> bool:
    if not isinstance(cell, list) or len(cell) != 4 or any(type(number) not in (int, float) for number in cell):
        return False
    left, top, right, bottom = cell
    return left < right and top < bottom and all(-_OVERHANG <= number <= 1 + _OVERHANG for number in cell)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where the whole upright source lies in the pixels of a picture, of which it may be the larger; in pixels."""

    left: int
    top: int
    width: int
    height: int


def blur_boxes(image: Image.Image, boxes: tuple[Box, ...], whole: Frame) -> Image.Image:
    """Blur boxes beyond recognition; what is further away than twice the margin stays exactly as it is.

    Args:
        image: RGB.
        boxes: relative to `whole`.
        whole: what they are shares of.
    """
    placed = sorted((_on_pixels(box, whole) for box in boxes), key=_octave)
    # Boxes of about the same size together, so that the number of blurs depends on the picture alone.
    for _, alike in groupby(placed, key=_octave):
        image = _blurred(image, list(alike))
    return image


_Place = tuple[float, float, float, float]


def _on_pixels(box: Box, whole: Frame) -> _Place:
    return (
        whole.left + box.left * whole.width,
        whole.top + box.top * whole.height,
        whole.left + box.right * whole.width,
        whole.top + box.bottom * whole.height,
    )


def _longer_side(place: _Place) -> float:
    left, top, right, bottom = place
    return max(right - left, bottom - top)


def _octave(place: _Place) -> int:
    return math.ceil(math.log2(max(_longer_side(place), 1.0)))


def _blurred(image: Image.Image, places: list[_Place]) -> Image.Image:
    # Few runs have boxes, and no run is to wait for what it does not use.
    from PIL import ImageDraw, ImageFilter

    longest = max(map(_longer_side, places))
    margin = max(MARGIN_SHARE * longest, 1.0)
    mask = Image.new("L", image.size)
    draw = ImageDraw.Draw(mask)
    for left, top, right, bottom in places:
        draw.rectangle((left - margin, top - margin, right + margin, bottom + margin), 255)
    # Three deviations wide on both sides: full within the box, nothing at twice the margin.
    mask = mask.filter(ImageFilter.GaussianBlur(margin / 3))
    return Image.composite(image.filter(ImageFilter.GaussianBlur(max(BLUR_SHARE * longest, 1.0))), image, mask)
