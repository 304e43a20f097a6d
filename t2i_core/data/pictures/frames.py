"""How many frames a picture has, from its header and block lengths alone: none is decoded to be counted."""

from PIL import Image

# Enough for 2,000 frames of 100 kB; a file made of empty blocks is not worth more time.
_MAX_BLOCKS = 1_000_000
_EXTENSION, _FRAME = 0x21, 0x2C


def count_frames(image: Image.Image, body: bytes) -> int | None:
    """Count the frames of an opened picture of which `body` is the file; None for TIFF, whose pages are no frames."""
    if image.format == "TIFF":
        return None
    return _count_gif_frames(body) if image.format == "GIF" else int(getattr(image, "n_frames", 1))


def is_animated(image: Image.Image, num_frames: int | None) -> bool:
    """Tell whether several frames are a film; an MPO holds views of one scene."""
    return num_frames is not None and num_frames > 1 and image.format != "MPO"


def _count_gif_frames(body: bytes) -> int:
    """Walk over the blocks of a GIF, up to its end or to where it breaks off."""
    count, place = 0, 13 + _table_size(body[10])
    blocks = 0
    try:
        while body[place] in (_EXTENSION, _FRAME):
            if body[place] == _FRAME:
                count += 1
                place += 11 + _table_size(body[place + 9])
            else:
                place += 2
            while (size := body[place]) and blocks < _MAX_BLOCKS:
                blocks += 1
                place += 1 + size
            place += 1
    except IndexError:
        pass
    return max(count, 1)


def _table_size(flags: int) -> int:
    """Give the bytes of the color table that the flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0
