"""Pixels of any format as 8-bit ones: deep gray scaled, palettes looked up, transparency laid over one color."""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Color = tuple[int, int, int]
_BITS_PER_SAMPLE = 258
_ROWS_AT_ONCE = 64
# Why a picture of which nothing can be seen is left out.
TRANSPARENT = "transparent all over"


class UnsupportedModeError(Exception):
    """A pixel format with no agreed way to show it."""


def read_color(text: str) -> Color:
    """Read a color such as "#ffffff"."""
    red, green, blue = bytes.fromhex(text.removeprefix("#"))
    return red, green, blue


def flatten(image: Image.Image, background: Color) -> Image.Image:
    """Bring any mode to 8-bit L, RGB, CMYK or LAB, with transparency laid over the background.

    Raises:
        UnsupportedModeError: float and 32-bit pictures, whose range is not known.
    """
    mode = image.mode
    if mode in ("I", "F"):
        raise UnsupportedModeError(f"pixels of mode {mode}")
    if mode.startswith("I;16"):
        image = _from_deep(image)
    if _is_transparent(image):
        return _palette_over(image, background) if image.mode == "P" else _over(image, background)
    if mode in ("1", "L"):
        return image.convert("L")
    return image if image.mode in ("L", "RGB", "CMYK", "LAB") else image.convert("RGB")


def visible_box(image: Image.Image) -> tuple[int, int, int, int] | None:
    """Say where a picture is not transparent: left, top, right and bottom of it in pixels; None for nowhere."""
    if not _is_transparent(image):
        return (0, 0, *image.size)
    if image.mode.startswith("I;16"):
        image = _from_deep(image)
    if image.mode not in ("LA", "RGBA"):
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    return image.getbbox(alpha_only=True)


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info


def _from_deep(image: Image.Image) -> Image.Image:
    """Scale gray of 9 to 16 bits so that its white becomes 255, with the one level that is transparent as alpha."""
    levels = np.asarray(image)
    white = 2 ** _bits(image) - 1
    scaled = ((np.arange(2**16) * 255 + white // 2) // white).clip(0, 255).astype(np.uint8)
    gray = Image.fromarray(_looked_up(levels, scaled))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(levels == transparent, np.uint8(0), np.uint8(255))))
    return gray


def _looked_up(levels: npt.NDArray[Any], table: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    found = np.empty(levels.shape, np.uint8)
    # A few rows at a time: levels used as indices take eight bytes each.
    for row in range(0, len(levels), _ROWS_AT_ONCE):
        found[row : row + _ROWS_AT_ONCE] = table[levels[row : row + _ROWS_AT_ONCE]]
    return found


def _bits(image: Image.Image) -> int:
    """Give the bits of a gray level, of which only TIFF has other numbers than 16."""
    stated = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (16,))
    return int(stated[0]) if 8 < stated[0] <= 16 else 16


def _palette_over(image: Image.Image, background: Color) -> Image.Image:
    """Lay the 256 colors of a palette over the background, in place of all pixels."""
    colors = image.crop((0, 0, 256, 1))
    colors.putdata(range(256))
    flat = image.copy()
    del flat.info["transparency"]
    flat.putpalette(_over(colors, background).tobytes())
    return flat.convert("RGB")


def _over(image: Image.Image, background: Color) -> Image.Image:
    gray = image.mode in ("LA", "La") and len(set(background)) == 1
    image = image.convert("LA" if gray else "RGBA")
    canvas = Image.new("L" if gray else "RGB", image.size, background[0] if gray else background)
    canvas.paste(image, mask=image)
    return canvas
