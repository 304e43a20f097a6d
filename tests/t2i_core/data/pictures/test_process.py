import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from scipy.ndimage import map_coordinates

from t2i_core.data.batches.pixels import to_uint8, to_unit
from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.fit import fit
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.reject import Rejection

AS_IT_IS = ImageOptions(resize_mode="no", encode_format="png")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, fmt: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def picture(body: bytes, options: ImageOptions = AS_IT_IS) -> Picture:
    result = process_picture(body, options)
    assert isinstance(result, Picture), result
    return result


def pixels(body: bytes, options: ImageOptions = AS_IT_IS) -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(picture(body, options).data)) as image:
        assert image.mode == "RGB"
        return np.asarray(image)


def reason(body: bytes, **limits: Any) -> str:
    result = process_picture(body, ImageOptions(**limits))
    return str(result.reason) if isinstance(result, Rejection) else "ok"


def halves(width: int = 40, height: int = 20) -> Image.Image:
    """Left half red, right half blue."""
    image = Image.new("RGB", (width, height), RED)
    image.paste(BLUE, (width // 2, 0, width, height))
    return image


@pytest.mark.parametrize(
    ("orientation", "size", "red_at"),
    [
        (1, (40, 20), (0, 0)),
        (2, (40, 20), (39, 0)),
        (3, (40, 20), (39, 0)),
        (4, (40, 20), (0, 0)),
        (5, (20, 40), (0, 0)),
        (6, (20, 40), (0, 0)),
        (7, (20, 40), (0, 39)),
        (8, (20, 40), (0, 39)),
        (99, (40, 20), (0, 0)),
    ],
)
@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_turned_upright(
    fmt: str, orientation: int, size: tuple[int, int], red_at: tuple[int, int]
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = picture(encoded(halves(), fmt, exif=exif))
    assert (result.width, result.height) == (result.original_width, result.original_height) == size
    with Image.open(io.BytesIO(result.data)) as image:
        x, y = red_at
        red, _, blue = image.getpixel((x, y))  # type: ignore[misc]
        assert red > 200 > 50 > blue
        red, _, blue = image.getpixel((size[0] - 1 - x, size[1] - 1 - y))  # type: ignore[misc]
        assert blue > 200 > 50 > red


def test_modes_become_8_bit_rgb() -> None:
    size = (4, 4)
    palette = Image.new("P", size, 1)
    palette.putpalette([*GREEN, *BLUE])
    deep = Image.fromarray(np.full((4, 4), 0xABCD, np.uint16))
    cases: list[tuple[bytes, tuple[int, int, int]]] = [
        (encoded(Image.new("L", size, 77)), (77, 77, 77)),
        (encoded(Image.new("1", size, 1)), WHITE),
        (encoded(palette), BLUE),
        (encoded(deep), (0xAB, 0xAB, 0xAB)),
        (encoded(deep, "TIFF"), (0xAB, 0xAB, 0xAB)),
        (encoded(Image.new("CMYK", size, (0, 255, 255, 0)), "TIFF"), RED),
        (encoded(Image.new("RGB", size, GREEN), "BMP"), GREEN),
        (encoded(Image.new("RGB", size, GREEN), "GIF"), GREEN),
    ]
    for body, color in cases:
        assert (pixels(body) == color).all()


def test_cmyk_jpeg_is_not_inverted() -> None:
    found = pixels(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG", quality=100))
    assert np.abs(found.astype(int) - RED).max() <= 8


def test_transparency_lies_over_white() -> None:
    size = (4, 4)
    palette = Image.new("P", size, 1)
    palette.putpalette([*GREEN, *BLUE])
    assert (pixels(encoded(Image.new("RGBA", size, (255, 0, 0, 0)))) == WHITE).all()
    assert (pixels(encoded(Image.new("RGBA", size, (255, 0, 0, 255)))) == RED).all()
    assert (pixels(encoded(Image.new("RGBA", size, (0, 0, 0, 51)))) == (204, 204, 204)).all()
    assert (pixels(encoded(Image.new("LA", size, (0, 51)))) == (204, 204, 204)).all()
    assert (pixels(encoded(palette, transparency=1)) == WHITE).all()
    assert (pixels(encoded(palette, transparency=0)) == BLUE).all()
    assert (pixels(encoded(palette, "GIF", transparency=1)) == WHITE).all()
    assert (pixels(encoded(Image.new("RGB", size, RED), transparency=RED)) == WHITE).all()


CROPPED = ImageOptions(image_size=24, resize_mode="border", encode_format="png", crop_transparent=True)


def around(mode: str) -> tuple[Image.Image, dict[str, Any]]:
    """Give 12 by 6 gray pixels at (5, 20) of a large transparent picture, and how it is to be saved."""
    size, place = (60, 40), (5, 20, 17, 26)
    if mode == "P":
        image = Image.new("P", size, 1)
        image.putpalette([128, 128, 128, *GREEN])
        image.paste(0, place)
        return image, {"transparency": 1}
    if mode in ("I;16", "L"):
        image = Image.new(mode, size, 7)
        image.paste(32896 if mode == "I;16" else 128, place)
        return image, {"transparency": 7}
    image = Image.new(mode, size, 0)
    image.paste((128, 255) if mode == "LA" else (128, 128, 128, 255), place)
    return image, {}


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "L", "I;16"])
def test_what_is_transparent_around_a_picture_is_cut_away_and_the_rest_lies_on_a_white_square(mode: str) -> None:
    image, saved = around(mode)
    body = encoded(image, **saved)
    found = picture(body, CROPPED)
    rows = np.asarray(Image.open(io.BytesIO(found.data)))
    # Twice as large, 24 by 12, with as much white above as below.
    assert (found.width, found.height, found.original_width, found.original_height) == (24, 24, 60, 40)
    assert (rows[:6] == 255).all() and (rows[6:18] == 128).all() and (rows[18:] == 255).all()
    whole = pixels(body, CROPPED.__class__(image_size=60, resize_mode="border", encode_format="png"))
    assert (whole == 128).all(axis=2).sum() == 72


def test_what_is_left_must_be_large_enough_and_something() -> None:
    dot = Image.new("RGBA", (60, 40))
    dot.paste((9, 9, 9, 255), (5, 5, 8, 25))
    empty = process_picture(encoded(Image.new("RGBA", (60, 40), (9, 9, 9, 0))), CROPPED)
    assert isinstance(empty, Rejection) and (empty.reason, empty.detail) == ("blank", "transparent all over")
    assert reason(encoded(dot), crop_transparent=True, min_image_size=4) == "too_small"
    assert reason(encoded(dot), crop_transparent=True, max_aspect_ratio=4) == "bad_aspect"
    assert reason(encoded(dot), min_image_size=4, max_aspect_ratio=4) == "ok"


def test_a_picture_without_anything_transparent_is_not_cut() -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    for body in (encoded(halves(), "JPEG", exif=turned), encoded(halves()), encoded(halves().convert("RGBA"))):
        plain = ImageOptions(image_size=24, resize_mode="border", encode_format="png")
        assert picture(body, CROPPED) == picture(body, plain)


def test_colours_go_through_the_profile() -> None:
    """A profile that calls red what is green: after conversion, red pixels have to be green."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    offsets = {}
    for at in range(132, 132 + 12 * struct.unpack_from(">I", profile, 128)[0], 12):
        offsets[bytes(profile[at : at + 4])] = at + 4
    red, green = offsets[b"rXYZ"], offsets[b"gXYZ"]
    profile[red : red + 8], profile[green : green + 8] = profile[green : green + 8], profile[red : red + 8]
    found = pixels(encoded(Image.new("RGB", (4, 4), RED), icc_profile=bytes(profile)))
    assert np.abs(found.astype(int) - GREEN).max() <= 3
    unusable = pixels(encoded(Image.new("RGB", (4, 4), RED), icc_profile=b"not a profile"))
    assert (unusable == RED).all()


def test_the_first_frame_counts() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in (GREEN, RED, BLUE)]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert (pixels(body) == GREEN).all()


@pytest.mark.parametrize(
    ("mode", "size", "expected"),
    [
        ("no", (40, 20), (40, 20)),
        ("border", (40, 20), (16, 16)),
        ("border", (10, 20), (16, 16)),
        ("keep_ratio", (40, 20), (32, 16)),
        ("keep_ratio_largest", (40, 20), (16, 8)),
        ("center_crop", (40, 20), (16, 16)),
        ("center_crop", (20, 40), (16, 16)),
        ("center_crop", (7, 9), (16, 16)),
        ("keep_ratio", (1000, 1), (16000, 16)),
        ("keep_ratio_largest", (1000, 1), (16, 1)),
    ],
)
def test_resize_modes(mode: Any, size: tuple[int, int], expected: tuple[int, int]) -> None:
    options = ImageOptions(image_size=16, resize_mode=mode, encode_format="png")
    result = picture(encoded(Image.new("RGB", size)), options)
    assert (result.width, result.height) == expected
    assert (result.original_width, result.original_height) == size


def test_resize_only_if_bigger_leaves_small_pictures_alone() -> None:
    options = ImageOptions(image_size=16, encode_format="png", resize_only_if_bigger=True)
    small, big = (
        picture(encoded(Image.new("RGB", (30, 10))), options),
        picture(encoded(Image.new("RGB", (30, 20))), options),
    )
    assert (small.width, small.height, big.width, big.height) == (30, 10, 16, 16)


def test_borders_are_white_and_crops_are_centred() -> None:
    bordered = pixels(encoded(halves()), ImageOptions(image_size=20, resize_mode="border", encode_format="png"))
    assert (bordered[:5] == WHITE).all() and (bordered[-5:] == WHITE).all()
    assert (bordered[6:14, :5] == RED).all() and (bordered[6:14, -5:] == BLUE).all()
    cropped = pixels(encoded(halves()), ImageOptions(image_size=20, resize_mode="center_crop", encode_format="png"))
    assert (cropped[:, :10] == RED).all() and (cropped[:, 10:] == BLUE).all()


def test_large_jpegs_are_decoded_small_and_look_the_same() -> None:
    gradient = np.linspace(0, 255, 1024, dtype=np.uint8)
    across, flat = np.tile(gradient, (1024, 1)), np.full((1024, 1024), 128, np.uint8)
    image = Image.fromarray(np.stack([across, across.T, flat], axis=-1))
    options = ImageOptions(image_size=64, encode_format="png")
    result = picture(encoded(image, "JPEG", quality=95), options)
    assert (result.original_width, result.original_height) == (1024, 1024)
    found = pixels(encoded(image, "JPEG", quality=95), options).astype(int)
    expected = np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)).astype(int)
    assert np.abs(found - expected).max() <= 4


@pytest.mark.parametrize("size", [(512, 700), (513, 600), (1023, 800), (1024, 1024), (2100, 2050)])
@pytest.mark.parametrize("mode", ["center_crop", "keep_ratio", "keep_ratio_largest"])
def test_decoding_at_a_reduced_scale_is_near_full_decoding(size: tuple[int, int], mode: Any) -> None:
    rng = np.random.default_rng(0)
    layers = (
        Image.fromarray(rng.integers(0, 256, (2 << octave, 2 << octave, 3), dtype=np.uint8)).resize(size)
        for octave in range(8)
    )
    detail = sum((np.asarray(layer, np.float32) - 128) * 0.7**octave for octave, layer in enumerate(layers))
    body = encoded(Image.fromarray((detail + 128).clip(0, 255).astype(np.uint8)), "JPEG", quality=90)
    options = ImageOptions(image_size=256, resize_mode=mode, encode_format="png")
    with Image.open(io.BytesIO(body)) as image:
        side = min(image.size) if mode != "keep_ratio_largest" else max(image.size)
        left, top = ((length - side) // 2 for length in image.size)
        square = image.crop((left, top, left + side, top + side)) if mode == "center_crop" else image
        width, height = (round(length * 256 / side) for length in square.size)
        full = square.resize((width, height), Image.Resampling.LANCZOS)
    error = np.mean((pixels(body, options).astype(float) - np.asarray(full).astype(float)) ** 2)
    assert 10 * np.log10(255**2 / error) > 40


@pytest.mark.parametrize("size", [(47, 30), (30, 47), (46, 30)])
@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_a_square_is_cut_out_of_the_very_middle(size: tuple[int, int], format: str) -> None:
    ramp = np.add.outer(np.arange(size[1]) - (size[1] - 1) / 2, np.arange(size[0]) - (size[0] - 1) / 2)
    # Brightness says how far a pixel is from the middle, and nothing else.
    image = Image.fromarray((128 + 2 * ramp).clip(0, 255).astype(np.uint8)).convert("RGB")
    body = encoded(image, format, **({"quality": 100, "subsampling": 0} if format == "JPEG" else {}))
    found = pixels(body, ImageOptions(image_size=24, encode_format="png"))[..., 1].astype(float)
    assert abs(found[::-1, ::-1] + found - 255.5).mean() < 1
    assert abs(found.mean() - 127.75) < 0.5


def test_straight_lines_are_rounded_exactly() -> None:
    rng = np.random.default_rng(0)
    source = rng.integers(0, 256, (37, 52, 3), dtype=np.uint8)
    made = fit(Image.fromarray(source), (52, 37), ImageOptions(image_size=23), is_photograph=True)
    rows = np.clip((np.arange(23) + 0.5) * 37 / 23 - 0.5, 0, 36)
    columns = np.clip(7.5 + (np.arange(23) + 0.5) * 37 / 23 - 0.5, 0, 51)
    exact = map_coordinates(
        source.astype(float),
        np.stack(np.broadcast_arrays(rows[:, None, None], columns[None, :, None], np.arange(3)[None, None, :])),
        order=1,
    )
    assert np.abs(np.asarray(made) - exact).max() <= 0.5 + 1e-3


@pytest.mark.parametrize("fmt", ["jpg", "png", "webp"])
def test_formats_of_the_output(fmt: Any) -> None:
    result = picture(encoded(halves(64, 64)), ImageOptions(image_size=64, encode_format=fmt))
    with Image.open(io.BytesIO(result.data)) as image:
        assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[fmt]
        assert image.size == (64, 64)


@pytest.mark.parametrize("fmt", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
def test_broken_off_pictures_are_truncated(fmt: str, kept: float) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    body = encoded(Image.fromarray(noise), fmt)
    assert reason(body) == "ok"
    assert reason(body[: int(len(body) * kept)]) == "truncated"


def huge_header() -> bytes:
    """A PNG that says it is 60,000 pixels wide and high."""
    body = bytearray(encoded(Image.new("RGB", (1, 1))))
    body[16:24] = struct.pack(">II", 60_000, 60_000)
    body[29:33] = struct.pack(">I", zlib.crc32(body[12:29]))
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "limits", "expected"),
    [
        (b"", {}, "not_an_image"),
        (b"<html><body>404</body></html>", {}, "not_an_image"),
        (b"RIFF\x24\0\0\0WAVEfmt ", {}, "not_an_image"),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", {}, "unsupported_format"),
        (b"\0\0\0\x1cftypavif" + bytes(50), {}, "unsupported_format"),
        (b"\0\0\x01\0" + bytes(50), {}, "unsupported_format"),
        (b"GIF89a" + b"\xff" * 20, {}, "decode_error"),
        (huge_header(), {}, "too_many_pixels"),
        (encoded(Image.new("RGB", (101, 100))), {"max_pixels": 10_000}, "too_many_pixels"),
        (encoded(Image.new("RGB", (100, 100))), {"max_pixels": 10_000}, "ok"),
        (encoded(Image.new("RGB", (1, 1))), {"min_image_size": 2}, "too_small"),
        (encoded(Image.new("RGB", (31, 10))), {"max_aspect_ratio": 3.0}, "bad_aspect"),
        (encoded(Image.new("RGB", (10, 30))), {"max_aspect_ratio": 3.0}, "ok"),
        (encoded(Image.new("F", (4, 4)), "TIFF"), {}, "unsupported_format"),
    ],
)
def test_unusable_bytes_have_a_reason(body: bytes, limits: dict[str, Any], expected: str) -> None:
    assert reason(body, **limits) == expected


def test_random_damage_never_raises() -> None:
    rng = np.random.default_rng(1)
    noise = rng.integers(0, 255, (32, 32, 3), dtype=np.uint8)
    for fmt in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"):
        body = encoded(Image.fromarray(noise), fmt)
        for _ in range(30):
            damaged = bytearray(body)
            for at in rng.integers(4, len(body), 8):
                damaged[at] = rng.integers(0, 256)
            assert isinstance(process_picture(bytes(damaged), ImageOptions(image_size=32)), Picture | Rejection)


def test_the_model_range_and_back_is_exact() -> None:
    values = torch.arange(256, dtype=torch.uint8).reshape(1, 16, 16, 1).repeat(2, 1, 1, 3)
    unit = to_unit(values)
    assert unit.shape == (2, 3, 16, 16)
    assert unit.dtype == torch.float32
    assert (unit.min().item(), unit.max().item()) == (-1.0, 1.0)
    assert torch.equal(to_uint8(unit), values)
    assert torch.equal(to_unit(values.numpy()), unit)


def test_the_range_is_rounded_and_clamped() -> None:
    images = torch.tensor([-3.0, -1.0, 0.003, 1.0, 3.0]).reshape(1, 1, 1, 5).expand(1, 3, 1, 5)
    assert to_uint8(images)[0, 0, :, 0].tolist() == [0, 0, 128, 255, 255]
