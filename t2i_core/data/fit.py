"""Fitting pictures to a size by the resize modes: which part is kept, how it is scaled, and where it lies then."""

import math

from PIL import Image

from t2i_core.data.boxes import Frame
from t2i_core.data.modes import read_color
from t2i_core.data.picture import ImageOptions, ResizeMode

_FILTERS = {
    "lanczos": Image.Resampling.LANCZOS,
    "bicubic": Image.Resampling.BICUBIC,
    "hamming": Image.Resampling.HAMMING,
}


def draft(image: Image.Image, options: ImageOptions) -> None:
    """Let the JPEG decoder skip detail that resizing would throw away: down to a half, a quarter or an eighth.

    It computes smaller blocks from the low frequencies alone, which is nearer to an ideal filter than averaging is.
    """
    if options.resize_mode == "no" or image.format != "JPEG":
        return
    scale = options.image_size / _named_side(image.size, options.resize_mode)
    if scale < 1:
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))


def fit(image: Image.Image, original: tuple[int, int], options: ImageOptions) -> Image.Image:
    """Scale a picture to `image_size` by the chosen mode; the square of `border` comes last, when colours are final.

    Args:
        image: the picture, perhaps decoded at a reduced scale already.
        original: width and height that it has at full scale, which decide the size of the result.
        options: the mode and the size.
    """
    if not _is_resized(original, options):
        return image
    size, side = options.image_size, _named_side(original, options.resize_mode)
    if options.resize_mode == "center_crop":
        left, top = _corner(original)
        box, fitted = (left, top, left + side, top + side), (size, size)
    else:
        width, height = (max(1, round(length * size / side)) for length in original)
        box, fitted = (0, 0, *original), (width, height)
    reduction = round(max(original) / max(image.size))
    start, end = (box[0] / reduction, box[1] / reduction), (box[2] / reduction, box[3] / reduction)
    place = (*start, min(end[0], image.width), min(end[1], image.height))
    # Whole-number averaging comes before the filter only where the picture is more than twice too large.
    return image.resize(fitted, _FILTERS[options.resampling], box=place, reducing_gap=2.0)


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


def _named_side(size: tuple[int, int], mode: ResizeMode) -> int:
    return min(size) if mode in ("keep_ratio", "center_crop") else max(size)


def _is_resized(original: tuple[int, int], options: ImageOptions) -> bool:
    side = _named_side(original, options.resize_mode)
    return options.resize_mode != "no" and not (options.resize_only_if_bigger and side <= options.image_size)


def _corner(original: tuple[int, int]) -> tuple[int, int]:
    """Say where the largest square in the middle begins."""
    width, height = original
    side = min(original)
    return (width - side) // 2, (height - side) // 2
