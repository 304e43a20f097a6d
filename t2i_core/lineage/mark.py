"""The mark in a picture that says where it comes from: written and read here only."""

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from t2i_core.canonical import canonical_json
from t2i_core.door import open_named
from t2i_core.errors import ConfigError


def png_bytes(picture: NDArray[np.uint8], origin: dict[str, Any]) -> bytes:
    """Encode a picture as PNG with its origin in an iTXt chunk, which unlike tEXt is UTF-8."""
    info = PngInfo()
    info.add_itxt("t2i", canonical_json({"schema_version": 1} | origin))
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def origin_of_picture(path: Path) -> dict[str, Any]:
    """Read what a generated picture says of itself: prompt, seed and the digest of its run.

    Raises:
        ConfigError: the file is not a picture that t2i drew.
    """
    try:
        # Only the chunks before the pixels are read.
        with open_named(path) as file, Image.open(file, formats=("PNG",)) as picture:
            origin = json.loads(picture.info.get("t2i", ""))
    except (OSError, ValueError, SyntaxError, RecursionError, Image.DecompressionBombError) as err:
        raise ConfigError(f"{path} is no PNG that t2i drew: it does not say where it comes from.") from err
    if not isinstance(origin, dict) or not isinstance(origin.get("run"), str):
        raise ConfigError(f"{path} does not name the run that drew it.")
    return origin
