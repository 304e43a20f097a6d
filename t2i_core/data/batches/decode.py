"""Stored pictures to pixels.

torchvision decodes JPEG: 400 us for a picture of 256 pixels a side, where Pillow takes 510 and OpenCV 400; all give the
same pixels. Pillow reads the header, which is refused before anything is decoded, and the other formats.
"""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from t2i_core.errors import DataError

MAX_PICTURE_SIDE = 4096


def decode(body: bytes, name: str) -> torch.Tensor:
    """Decode a picture: (H, W, 3) uint8.

    Args:
        body: as it is stored.
        name: of the picture, for a person.

    Raises:
        DataError: it is damaged, of another format than a dataset has, or larger than any that is trained on.
    """
    try:
        with Image.open(io.BytesIO(body), formats=("JPEG", "PNG", "WEBP")) as picture:
            if max(picture.size) > MAX_PICTURE_SIDE:
                raise ValueError(f"it has {picture.width} x {picture.height} pixels")
            if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
                return _decode_jpeg(body)
            pixels: NDArray[np.uint8] = np.array(picture.convert("RGB"))
            return torch.from_numpy(pixels)
    except (OSError, ValueError, SyntaxError, RuntimeError, Image.DecompressionBombError) as err:
        raise DataError(f"{name} cannot be used: {err}.") from err


def cover(picture: torch.Tensor, height: int, width: int) -> tuple[torch.Tensor, int, int]:
    """Shrink or enlarge a picture until it just covers a shape, and cut what is over equally from both ends.

    Args:
        picture: (h, w, 3) uint8.
        height: of the shape, in pixels.
        width: likewise.

    Returns:
        (height, width, 3) uint8, and what was cut at the top and at the left, in pixels of the new size.
    """
    from torchvision.transforms.v2 import functional

    rows, columns = picture.shape[:2]
    scale = max(height / rows, width / columns)
    size = [max(height, round(rows * scale)), max(width, round(columns * scale))]
    resized = picture.permute(2, 0, 1)
    if size != [rows, columns]:
        mode = functional.InterpolationMode.BICUBIC
        resized = functional.resize(resized, size, interpolation=mode, antialias=True)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return resized.permute(1, 2, 0)[top : top + height, left : left + width], top, left


def _decode_jpeg(body: bytes) -> torch.Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    encoded = torch.frombuffer(bytearray(body), dtype=torch.uint8)
    pixels: torch.Tensor = decode_jpeg(encoded, mode=ImageReadMode.RGB)
    return pixels.permute(1, 2, 0)
