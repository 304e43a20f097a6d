"""Opens pictures of our own folders, which somebody else may have filled, and lays pictures side by side.

They are PNG and nothing else, of a size for a page. Left to guess the format, Pillow starts Ghostscript for a file that
says it is EPS, whatever its name.
"""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from t2i_core.door import open_file
from t2i_core.errors import DataError

MAX_PIXELS, MAX_BYTES = 64_000_000, 200_000_000


def open_picture(path: Path) -> Image.Image:
    """Read a PNG, as RGB.

    Raises:
        DataError: it is none, is damaged, or has more than 64 million pixels.
    """
    try:
        with open_file(path, MAX_BYTES, levels=1) as file, Image.open(file, formats=("PNG",)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise DataError(f"{path} has {picture.width:,} x {picture.height:,} pixels, more than a report shows.")
            return picture.convert("RGB")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
        raise DataError(f"{path} is no sound PNG ({err}). Delete it, and run the step that wrote it again.") from err


def side_by_side(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Lay pictures of one size side by side, row by row; one black pixel where there are none."""
    width, height = pictures[0].size if pictures else (1, 1)
    columns = max(1, min(columns, len(pictures)))
    canvas = Image.new("RGB", (columns * width, max(1, -(-len(pictures) // columns)) * height))
    for i, picture in enumerate(pictures):
        canvas.paste(picture, (i % columns * width, i // columns * height))
    return canvas
