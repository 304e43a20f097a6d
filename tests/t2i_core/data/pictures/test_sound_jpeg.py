"""Where OpenCV decodes and encodes in Pillow's place, nobody can tell."""

import io
import random
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.jpeg_segments import END_OF_IMAGE, START_OF_SCAN, jpeg_segments
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.pictures.sound_jpeg import decode_sound


def photograph(seed: int, size: tuple[int, int] = (75, 61)) -> Image.Image:
    grain = np.random.default_rng(seed).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return Image.fromarray(grain).resize(size, Image.Resampling.BICUBIC)


def jpeg(seed: int, mode: str = "RGB", size: tuple[int, int] = (75, 61), **options: Any) -> bytes:
    buffer = io.BytesIO()
    photograph(seed, size).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def by_opencv(body: bytes, reduction: int) -> np.ndarray[Any, Any] | None:
    """Give red, green and blue as `decode_sound` has them."""
    with Image.open(io.BytesIO(body)) as image:
        image.draft(image.mode, (image.width // reduction, image.height // reduction))
        pixels = decode_sound(image, body, reduction)
    return None if pixels is None else pixels[:, :, ::-1]


def by_pillow(body: bytes, reduction: int) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(body)) as image:
        image.draft(image.mode, (image.width // reduction, image.height // reduction))
        return np.asarray(image)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8])
@pytest.mark.parametrize(
    "options",
    [
        {"subsampling": 0},
        {"subsampling": 1, "optimize": True},
        {"subsampling": 2, "quality": 30},
        {"keep_rgb": True},
        {"restart_marker_rows": 1},
        {"exif": b"Exif\0\0II*\0" + bytes((8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0))},
    ],
)
def test_both_get_the_same_pixels(options: dict[str, Any], reduction: int) -> None:
    body = jpeg(1, **options)
    found = by_opencv(body, reduction)
    assert found is not None and np.array_equal(found, by_pillow(body, reduction))


@pytest.mark.parametrize(
    "body",
    [
        jpeg(1, progressive=True),
        jpeg(1, mode="L"),
        jpeg(1, mode="CMYK"),
        jpeg(1) + b"\0",
        jpeg(1)[:-2],
        jpeg(1)[:-40],
        jpeg(1)[:-40] + b"\xff\xc0" + jpeg(1)[-38:],
    ],
    ids=["progressive", "gray", "four colors", "something behind", "no end", "broken off", "a marker among pixels"],
)
def test_the_unusual_is_left_to_pillow(body: bytes) -> None:
    assert by_opencv(body, 1) is None


def test_what_opencv_takes_of_damaged_files_pillow_takes_alike() -> None:
    rng = random.Random(0)
    taken = 0
    for seed in range(300):
        damaged = bytearray(jpeg(seed % 7, subsampling=seed % 3, restart_marker_rows=seed % 2))
        start = next(end for marker, _, end in jpeg_segments(bytes(damaged)) if marker == START_OF_SCAN)
        for _ in range(rng.choice((1, 3, 20))):
            damaged[rng.randrange(start, len(damaged) - 2)] = rng.choice((0, 0xFF, rng.randrange(256)))
        found = by_opencv(bytes(damaged), 1)
        if found is not None:
            taken += 1
            assert np.array_equal(found, by_pillow(bytes(damaged), 1)), seed
    assert 50 < taken < 290


def test_segments_end_with_the_end_only_in_order() -> None:
    body = jpeg(1)
    markers = [marker for marker, _, _ in jpeg_segments(body)]
    assert markers[-2:] == [START_OF_SCAN, END_OF_IMAGE]
    for other in (b"", body[2:], body[:-1], body + b"\0", body[:30] + body[-2:], b"\xff\xd8\xff\xda\xff\xff" * 3):
        assert END_OF_IMAGE not in [marker for marker, _, _ in jpeg_segments(other)]


@pytest.mark.parametrize("quality", [1, 50, 75, 95, 100])
def test_stored_bytes_are_those_of_pillow(quality: int) -> None:
    source = io.BytesIO()
    photograph(3).save(source, "PNG")
    made = process_picture(source.getvalue(), ImageOptions(resize_mode="no", encode_quality=quality))
    assert isinstance(made, Picture)
    assert made.data == jpeg(3, quality=quality, subsampling=0)
