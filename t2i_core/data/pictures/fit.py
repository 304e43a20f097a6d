"""Fitting pictures to a size by the resize modes: which part is kept, how it is scaled, and where it lies then."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from t2i_core.data.picture import ImageOptions, ResizeMode
from t2i_core.data.pictures.boxes import Frame
from t2i_core.data.pictures.modes import read_color
from t2i_core.data.pictures.sound_jpeg import decode_sound

# Left, top, right and bottom, in pixels.
Edges = tuple[float, float, float, float]
# (H, W) or (H, W, C) uint8.
Pixels = npt.NDArray[Any]

_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
    # Of what has hard edges, and of what is much too large.
    "fast": Image.Resampling.BICUBIC,
}
# Beyond it, straight lines between neighbours would leave pixels out.
MAX_LINEAR_SHRINK = 2.0


def draft(image: Image.Image, options: ImageOptions) -> None:
    """Let the JPEG decoder skip detail that resizing would throw away: down to a half, a quarter or an eighth.

    It computes smaller blocks from the low frequencies alone, which is nearer to an ideal filter than averaging is.
    """
    if options.resize_mode == "no" or image.format != "JPEG":
        return
    scale = options.image_size / _named_side(image.size, options.resize_mode)
    if scale < 1:
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))


def fit(
    image: Image.Image, original: tuple[int, int], options: ImageOptions, *, is_photograph: bool = False
) -> Image.Image:
    """Scale a picture to `image_size` by the chosen mode; the square of `border` comes last, when colors are final.

    Args:
        image: the picture, perhaps decoded at a reduced scale already.
        original: width and height that it has at full scale, which decide the size of the result.
        options: the mode and the size.
        is_photograph: it has no hard edges that `fast` would make jagged.
    """
    if not _is_resized(original, options):
        return image
    place, fitted = _scaling(image.size, original, options)
    if is_photograph and image.mode in ("L", "RGB") and _is_straight(place, fitted, options):
        return Image.fromarray(_interpolated(np.asarray(image), place, fitted))
    # Whole-number averaging comes before the filter only where the picture is more than twice too large.
    return image.resize(fitted, _FILTERS[options.resampling], box=place, reducing_gap=2.0)


def drawn_size(size: tuple[float, float], options: ImageOptions) -> tuple[int, int]:
    """Say how many pixels wide and high to draw what has none of its own, so that `fit` need not scale it.

    Args:
        size: width and height that it names.
        options: the mode and the size.
    """
    scale = 1.0 if options.resize_mode == "no" else options.image_size / _named_side(size, options.resize_mode)
    width, height = (max(1, round(length * scale)) for length in size)
    return width, height


def fit_photograph(
    image: Image.Image, body: bytes, original: tuple[int, int], options: ImageOptions
) -> Image.Image | None:
    """Decode and fit a JPEG in one go, to the pixels that `fit` makes of it; None where `fit` must.

    Args:
        image: the picture, not decoded yet.
        body: its file.
        original: width and height that it has at full scale.
        options: the mode and the size.
    """
    if not _is_resized(original, options):
        return None
    place, fitted = _scaling(image.size, original, options)
    if not _is_straight(place, fitted, options):
        return None
    pixels = decode_sound(image, body, _reduction(image.size, original))
    if pixels is None:
        return None
    return Image.frombytes("RGB", fitted, _interpolated(pixels, place, fitted).data, "raw", "BGR")


def _reduction(size: tuple[int, int], original: tuple[int, int]) -> int:
    return round(max(original) / max(size))


def _scaling(size: tuple[int, int], original: tuple[int, int], options: ImageOptions) -> tuple[Edges, tuple[int, int]]:
    """Say which part of a picture of a size is kept, and how wide and high it becomes."""
    box, fitted = _part(original, options)
    left, top, right, bottom = (edge / _reduction(size, original) for edge in box)
    return (left, top, min(right, size[0]), min(bottom, size[1])), fitted


def _is_straight(place: Edges, fitted: tuple[int, int], options: ImageOptions) -> bool:
    """Tell whether photographs are scaled along straight lines."""
    left, top, right, bottom = place
    shrink = max((right - left) / fitted[0], (bottom - top) / fitted[1])
    return options.resampling == "fast" and 1 <= shrink <= MAX_LINEAR_SHRINK


def _part(original: tuple[int, int], options: ImageOptions) -> tuple[Edges, tuple[int, int]]:
    """Say which part of the source is kept, left, top, right and bottom, and how wide and high it becomes."""
    size, side = options.image_size, _named_side(original, options.resize_mode)
    if options.resize_mode == "center_crop":
        left, top = _corner(original)
        return (left, top, left + side, top + side), (size, size)
    width, height = (max(1, round(length * size / side)) for length in original)
    return (0, 0, *original), (width, height)


def _interpolated(pixels: Pixels, box: Edges, size: tuple[int, int]) -> Pixels:
    """Scale a part of a picture along straight lines between neighbours, exactly rounded."""
    # It takes a moment to import, which only who fits photographs need wait for.
    import cv2

    (left, top, right, bottom), (width, height) = box, size
    step_x, step_y = (right - left) / width, (bottom - top) / height
    # From centres of pixels to centres of pixels.
    steps = np.array([[step_x, 0, left + (step_x - 1) / 2], [0, step_y, top + (step_y - 1) / 2]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(pixels, steps, size, flags=flags, borderMode=cv2.BORDER_REPLICATE)


def whole(size: tuple[int, int], original: tuple[int, int], options: ImageOptions) -> Frame:
    """Say where the whole source lies in the pixels that were made of it: `center_crop` cuts the longer side.

    Args:
        size: width and height of what was made.
        original: of the upright source.
        options: how it was made.
    """
    if options.resize_mode != "center_crop" or not _is_resized(original, options):
        return Frame(0, 0, *size)
    left, top = _corner(original)
    return Frame(*(round(length * options.image_size / min(original)) for length in (-left, -top, *original)))


def pad(image: Image.Image, original: tuple[int, int], options: ImageOptions) -> Image.Image:
    """Put a picture fitted by `border` in the middle of a square."""
    side = options.image_size
    if options.resize_mode != "border" or image.width == image.height or not _is_resized(original, options):
        return image
    square = Image.new("RGB", (side, side), read_color(options.background))
    square.paste(image, ((side - image.width) // 2, (side - image.height) // 2))
    return square


def _named_side(size: tuple[float, float], mode: ResizeMode) -> float:
    return min(size) if mode in ("keep_ratio", "center_crop") else max(size)


def _is_resized(original: tuple[int, int], options: ImageOptions) -> bool:
    side = _named_side(original, options.resize_mode)
    return options.resize_mode != "no" and not (options.resize_only_if_bigger and side <= options.image_size)


def _corner(original: tuple[int, int]) -> tuple[float, float]:
    """Say where the largest square in the middle begins, within a pixel too."""
    width, height = original
    side = min(original)
    return (width - side) / 2, (height - side) / 2
