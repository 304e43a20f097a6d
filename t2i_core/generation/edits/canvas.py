"""Pictures to be changed, and the parts of them that may be."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from t2i_core.data.batches.decode import decode
from t2i_core.door import open_named
from t2i_core.errors import ConfigError, DataError
from t2i_core.generation.edits.config import Box, Margins

MAX_BYTES = 100_000_000
# Of a mask: what is lighter is drawn anew.
GRAY = 128
VEIL = np.uint8(144)

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]


def read_picture(path: Path) -> Pixels:
    """Read a picture: (H, W, 3) uint8.

    Raises:
        ConfigError: the file is missing, no sound PNG, JPEG or WebP, or larger than any that is drawn.
    """
    try:
        with open_named(path) as file:
            body = file.read(MAX_BYTES + 1)
        if len(body) > MAX_BYTES:
            raise ConfigError(f"{path} has more than {MAX_BYTES:,} bytes: give a smaller picture.")
        return decode(body, str(path)).numpy()
    except (OSError, DataError) as err:
        raise ConfigError(f"cannot read the picture {path}: {err}") from err


def read_mask(path: Path, shape: Sequence[int]) -> Mask:
    """Read which part of a picture is to be drawn anew: (H, W) bool, True where the mask is white.

    Raises:
        ConfigError: it cannot be read, or has another size than the picture.
    """
    mask = read_picture(path)
    if mask.shape[:2] != tuple(shape[:2]):
        raise ConfigError(
            f"the mask {path} has {_size(mask.shape)} pixels, the picture {_size(shape)}: make them alike."
        )
    return _required(mask.mean(axis=2) >= GRAY, str(path))


def box_mask(box: Box, shape: Sequence[int]) -> Mask:
    """Give the mask of a box within a picture of some shape: (H, W) bool.

    Raises:
        ConfigError: it reaches beyond the picture.
    """
    height, width = shape[:2]
    if box.left + box.width > width or box.top + box.height > height:
        raise ConfigError(f"the box {','.join(map(str, box))} reaches beyond the picture of {_size(shape)} pixels.")
    mask = np.zeros((height, width), bool)
    mask[box.top : box.top + box.height, box.left : box.left + box.width] = True
    return mask


def enlarged(picture: Pixels, margins: Margins) -> tuple[Pixels, Mask]:
    """Put a picture on a larger canvas.

    Returns:
        The canvas (H, W, 3), its edge pixels drawn out into the margins, and what of it is to be drawn: (H, W) bool.
    """
    rows, columns = (margins.top, margins.bottom), (margins.left, margins.right)
    canvas = np.pad(picture, (rows, columns, (0, 0)), mode="edge")
    known = np.pad(np.ones(picture.shape[:2], bool), (rows, columns))
    return canvas, ~known


def veiled(picture: Pixels, redraw: Mask) -> Pixels:
    """Show what is to be drawn anew as a gray part of a picture."""
    return np.where(redraw[..., None], picture // 4 + VEIL, picture)


def psnrs(pictures: Pixels, truths: Pixels) -> NDArray[np.float64]:
    """Give the peak signal-to-noise ratios of pictures (B, H, W, 3) uint8 to their truths: (B,) dB, 99 if equal."""
    errors = np.square(pictures.astype(np.float64) - truths).mean(axis=(1, 2, 3))
    return np.asarray(np.minimum(99, 10 * np.log10(255**2 / np.maximum(errors, 1e-12))))


def _required(mask: Mask, name: str) -> Mask:
    if not mask.any():
        raise ConfigError(f"the mask {name} is black all over: paint white what is to be drawn anew.")
    return mask


def _size(shape: Sequence[int]) -> str:
    return f"{shape[1]} x {shape[0]}"
