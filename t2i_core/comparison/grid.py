"""The picture grid: a row a system, a column a prompt, the same prompt and seed all the way down."""

import textwrap
from collections.abc import Mapping, Sequence

from PIL import Image, ImageDraw, ImageFont

SIDE, GAP = 128, 6
TEXT_SIZE, LINE_HEIGHT, NAME_SIZE = 13, 16, 15
# About what fits above a picture, and to the left of one.
LINE_CHARS, NAME_CHARS = 19, 13
LEFT = 112


def picture_grid(rows: Mapping[str, Sequence[Image.Image]], captions: Sequence[str]) -> Image.Image:
    """Draw pictures in rows under the captions of their columns, the name of each row before it.

    Args:
        rows: square RGB pictures by the name of the row, as many each as there are captions.
        captions: of the columns.
    """
    lines = [textwrap.wrap(caption, LINE_CHARS) for caption in captions]
    top = GAP + LINE_HEIGHT * max(map(len, lines), default=0) + GAP
    sheet = Image.new("RGB", (LEFT + len(captions) * (SIDE + GAP), top + len(rows) * (SIDE + GAP)), "white")
    pen = ImageDraw.Draw(sheet)
    for column, words in enumerate(lines):
        _write(pen, (LEFT + column * (SIDE + GAP), top - GAP - LINE_HEIGHT * len(words)), words, TEXT_SIZE)
    for number, (name, pictures) in enumerate(rows.items()):
        below = top + number * (SIDE + GAP)
        words = textwrap.wrap(name, NAME_CHARS)
        _write(pen, (GAP, below + (SIDE - LINE_HEIGHT * len(words)) // 2), words, NAME_SIZE)
        for column, picture in enumerate(pictures):
            sheet.paste(_sized(picture), (LEFT + column * (SIDE + GAP), below))
    return sheet


def _write(pen: ImageDraw.ImageDraw, place: tuple[int, int], lines: Sequence[str], size: int) -> None:
    """Write lines of text downward from a place."""
    font = ImageFont.load_default(size)
    for number, line in enumerate(lines):
        pen.text((place[0], place[1] + number * LINE_HEIGHT), line, "black", font)


def _sized(picture: Image.Image) -> Image.Image:
    """Bring a picture to the side of the grid; a small one as it is drawn, in larger pixels, where that fits."""
    whole = SIDE % picture.width == 0 and picture.width == picture.height
    return picture.resize((SIDE, SIDE), Image.Resampling.NEAREST if whole else Image.Resampling.LANCZOS)
