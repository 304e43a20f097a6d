"""JPEGs as most of them are, decoded by OpenCV without the copies that Pillow makes on the way.

Both have libjpeg-turbo inside and get the same pixels. But OpenCV overlooks what is wrong behind the last row; so it is
given only files with nothing there, and Pillow is the judge of all others.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from t2i_core.data.pictures.jpeg_segments import END_OF_IMAGE, START_OF_SCAN, jpeg_segments


def decode_sound(image: Image.Image, body: bytes, reduction: int) -> npt.NDArray[Any] | None:
    """Decode an RGB JPEG of one scan that ends where it should.

    Args:
        image: the picture, to be decoded at a scale that `draft` has chosen.
        body: its file.
        reduction: that scale: 1, 2, 4 or 8.

    Returns:
        (H, W, 3) uint8 blue, green and red; None for what must be left to Pillow.
    """
    if image.format != "JPEG" or image.mode != "RGB" or not _is_one_scan(body):
        return None
    # It takes a moment to import, which only who fits photographs need wait for.
    import cv2

    scales = (cv2.IMREAD_COLOR, cv2.IMREAD_REDUCED_COLOR_2, cv2.IMREAD_REDUCED_COLOR_4, cv2.IMREAD_REDUCED_COLOR_8)
    flags = scales[reduction.bit_length() - 1] | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(body, np.uint8), flags)
    except cv2.error:
        return None
    return pixels if pixels is not None and pixels.shape == (image.height, image.width, 3) else None


def _is_one_scan(body: bytes) -> bool:
    markers = [marker for marker, _, _ in jpeg_segments(body)]
    return markers.count(START_OF_SCAN) == 1 and markers[-1] == END_OF_IMAGE
