"""Golden pictures: what each awkward file must look like when it is stored, and what is seen of it."""

import io
import pickle
import struct
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from PIL import Image

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.boxes import Box, read_boxes
from t2i_core.data.pictures.fingerprint import color_grid, perceptual_hash, small_copy
from t2i_core.data.pictures.process import process_picture
from t2i_core.data.reject import Rejection
from t2i_core.samples.scenes import make_scene, render_scene

AS_IT_IS = ImageOptions(resize_mode="no", encode_format="png")
RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def encoded(image: Image.Image, fmt: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, fmt, **options)
    return buffer.getvalue()


def stored(body: bytes, options: ImageOptions = AS_IT_IS, boxes: str = "") -> Picture:
    result = process_picture(body, options, boxes)
    assert isinstance(result, Picture), result
    return result


def pixels(body: bytes, options: ImageOptions = AS_IT_IS, boxes: str = "") -> np.ndarray[Any, Any]:
    with Image.open(io.BytesIO(stored(body, options, boxes).data)) as image:
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)


def reason(body: bytes, boxes: str = "", **changes: Any) -> str:
    result = process_picture(body, ImageOptions(**changes), boxes)
    return str(result.reason) if isinstance(result, Rejection) else "ok"


def stripes(width: int = 64, height: int = 64) -> Image.Image:
    """Black and white columns, one pixel wide."""
    return Image.fromarray(np.tile(np.array([0, 255], np.uint8), (height, width // 2))).convert("RGB")


def landscape(seed: int, size: int = 384) -> Image.Image:
    """Noise whose large features are strong and whose small ones are weak, as in photographs."""
    rng = np.random.default_rng(seed)
    across = np.fft.fftfreq(size)
    distance = np.hypot(across[:, None], across)
    distance[0, 0] = 1
    waves = rng.normal(size=(3, size, size)) + 1j * rng.normal(size=(3, size, size))
    planes = np.fft.ifft2(waves / distance**1.2).real
    planes = (planes - planes.mean(axis=(1, 2), keepdims=True)) / planes.std(axis=(1, 2), keepdims=True)
    return Image.fromarray(np.clip(planes * 50 + 125, 0, 255).astype(np.uint8).transpose(1, 2, 0))


# --------------------------------------------------------------------------------------------------------------- pixels


def test_deep_gray_is_scaled_and_not_cut() -> None:
    levels, expected = [0, 127, 129, 0xABCD, 0xFFFF], [0, 0, 1, 171, 255]
    for dtype, fmt in (("<u2", "PNG"), ("<u2", "TIFF"), (">u2", "TIFF")):
        body = encoded(Image.fromarray(np.array([levels], dtype)), fmt)
        assert pixels(body)[0, :, 0].tolist() == expected


def test_the_white_of_twelve_bits_is_white() -> None:
    """A TIFF written by hand: four pixels of 12 bits, 0, 2048, 4095 and 1365."""
    entries = [(256, 3, 4), (257, 3, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 122), (277, 3, 1),
               (278, 3, 1), (279, 4, 6)]  # fmt: skip
    table = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in entries)
    body = b"II*\0" + struct.pack("<IH", 8, len(entries)) + table + struct.pack("<I", 0)
    assert len(body) == 122
    body += bytes.fromhex("000800fff555")
    assert pixels(body)[0, :, 0].tolist() == [0, 128, 255, 85]


def test_deep_gray_can_have_a_transparent_level() -> None:
    body = encoded(Image.fromarray(np.array([[0, 500, 0xFFFF]], np.uint16)), "PNG", transparency=500)
    options = ImageOptions(resize_mode="no", encode_format="png", background="#ff0000")
    assert pixels(body, options).tolist() == [[[0, 0, 0], [255, 0, 0], [255, 255, 255]]]


@pytest.mark.parametrize("background", ["#0000ff", "#808080"])
def test_transparency_lies_over_the_chosen_colour(background: str) -> None:
    below = np.array(list(bytes.fromhex(background[1:])))
    options = ImageOptions(resize_mode="no", encode_format="png", background=background)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([*GREEN, *RED])
    half = np.round(below * 204 / 255 + 0.0)
    for body, color in (
        (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0))), below),
        (encoded(Image.new("RGBA", (4, 4), (0, 0, 0, 51))), half),
        (encoded(Image.new("LA", (4, 4), (0, 51))), half),
        (encoded(palette, transparency=1), below),
        (encoded(palette, transparency=b"\xff\x33"), np.round(half + np.array(RED) * 51 / 255)),
        (encoded(Image.new("RGB", (4, 4), GREEN), transparency=GREEN), below),
        (encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)), "WEBP", lossless=True), below),
    ):
        assert np.abs(pixels(body, options) - color).max() <= 1


def test_every_colour_of_a_palette_lies_over_the_background() -> None:
    rng = np.random.default_rng(0)
    colors, alphas = rng.integers(0, 256, (256, 3)), rng.integers(0, 256, 256)
    palette = Image.fromarray(rng.permutation(np.arange(20 * 30) % 256).astype(np.uint8).reshape(20, 30)).convert("P")
    palette.putpalette(colors.astype(np.uint8).tobytes())
    options = ImageOptions(resize_mode="no", encode_format="png", background="#1080f0")
    over = (colors * alphas[:, None] + np.array([0x10, 0x80, 0xF0]) * (255 - alphas[:, None])) / 255
    found = pixels(encoded(palette, transparency=bytes(alphas.astype(np.uint8))), options)
    assert np.abs(found - over[np.asarray(palette)]).max() <= 0.5 + 1e-9


def test_borders_have_the_chosen_colour_whatever_the_source_is() -> None:
    options = ImageOptions(image_size=32, resize_mode="border", encode_format="png", background="#00ff00")
    lab = Image.new("LAB", (64, 32), (255, 128, 128))
    for body in (encoded(Image.new("CMYK", (64, 32)), "TIFF"), encoded(lab, "TIFF"), encoded(stripes(64, 32))):
        found = pixels(body, options)
        assert found.shape == (32, 32, 3)
        assert (found[:8] == GREEN).all() and (found[24:] == GREEN).all()
        assert (np.abs(found[8:24, :, 0] - found[8:24, :, 1]) <= 2).all()
    small = ImageOptions(image_size=100, resize_mode="border", encode_format="png", resize_only_if_bigger=True)
    assert pixels(encoded(stripes(64, 32)), small).shape == (32, 64, 3)


def test_lab_becomes_the_colour_that_it_names() -> None:
    # L* 53.2, a* 80.1, b* 67.2 is the red of sRGB.
    body = encoded(Image.new("LAB", (8, 8), (round(53.2 * 2.55), 128 + 80, 128 + 67)), "TIFF")
    assert np.abs(pixels(body) - RED).max() <= 12


@pytest.mark.parametrize("transform", [0, 2])
def test_four_colours_of_adobe_are_inverted_and_may_be_ycck(transform: int) -> None:
    """The marker that Adobe writes says whether the numbers are CMYK or YCCK; both are stored inverted."""
    cmyk = (200, 40, 120, 30)
    body = bytearray(encoded(Image.new("CMYK", (16, 16), cmyk), "JPEG", quality=100))
    marker = body.index(b"Adobe") + 11
    assert body[marker] == 0
    body[marker] = transform
    c, m, y, k = (255 - ink for ink in cmyk)
    if transform == 2:
        # Now these are luminance and two differences of color, from which the inks follow as red, green and blue do.
        c, m, y = c + 1.402 * (y - 128), c - 0.344136 * (m - 128) - 0.714136 * (y - 128), c + 1.772 * (m - 128)
        c, m, y = (255 - min(max(ink, 0), 255) for ink in (c, m, y))
    expected = [ink * k / 255 for ink in (c, m, y)]
    assert np.abs(pixels(bytes(body)) - expected).max() <= 4


def test_an_mpo_is_its_first_view() -> None:
    body = encoded(Image.new("RGB", (64, 64), RED), "MPO", save_all=True, append_images=[Image.new("RGB", (64, 64))])
    assert np.abs(pixels(body) - RED).max() <= 3
    result = stored(body, ImageOptions(image_size=16, reject_animated=True))
    assert (result.original_format, result.original_mode, result.frames) == ("MPO", "RGB", 2)


@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*" + bytes(8), b"\xff" * 99]
)
@pytest.mark.parametrize("icc", [b"", b"\0" * 128, b"\xff" * 5000, b"acsp" * 40])
def test_damaged_metadata_costs_no_picture(exif: bytes, icc: bytes) -> None:
    options = {name: value for name, value in (("exif", exif), ("icc_profile", icc)) if value}
    for fmt in ("JPEG", "PNG", "WEBP"):
        if fmt == "WEBP":
            options |= {"lossless": True}
        assert np.abs(pixels(encoded(Image.new("RGB", (16, 16), BLUE), fmt, **options)) - BLUE).max() <= 3


# ------------------------------------------------------------------------------------------------- broken off, animated


@pytest.mark.parametrize("progressive", [False, True])
def test_what_arrived_of_a_jpeg_can_be_kept(progressive: bool) -> None:
    body = encoded(landscape(0, 256), "JPEG", quality=90, progressive=progressive)
    cut = body[: len(body) // 2]
    assert reason(cut) == "truncated"
    keep = ImageOptions(resize_mode="no", encode_format="png", truncated="keep")
    found, whole = pixels(cut, keep), pixels(body, keep)
    rows = len(found) if progressive else len(found) // 3
    assert np.abs(found[:rows] - whole[:rows]).mean() < (12 if progressive else 0.01)
    assert stored(cut, keep).sha256 != stored(body, keep).sha256


@pytest.mark.parametrize("fmt", ["PNG", "GIF", "TIFF", "BMP"])
def test_what_arrived_of_rows_can_be_kept(fmt: str) -> None:
    body = encoded(landscape(0, 128), fmt, interlace=0)
    cut = body[: len(body) * 2 // 3]
    assert reason(cut) == "truncated"
    keep = ImageOptions(resize_mode="no", encode_format="png", truncated="keep")
    found, whole = pixels(cut, keep), pixels(body, keep)
    same = (found == whole).all(axis=(1, 2))
    assert same.mean() > 0.5 and (same[:64].all() or same[64:].all())
    assert reason(body[:20], truncated="keep") in ("truncated", "decode_error")


def test_a_film_is_told_from_a_picture() -> None:
    frames = [landscape(n, 32) for n in range(3)]
    film = {"save_all": True, "append_images": frames[1:]}
    for fmt, name in (("GIF", "GIF"), ("PNG", "PNG"), ("WEBP", "WEBP")):
        assert stored(encoded(frames[0], fmt, **film)).frames == 3
        assert stored(encoded(frames[0], fmt)).frames == 1
        assert stored(encoded(frames[0], fmt)).original_format == name
        assert reason(encoded(frames[0], fmt, **film), reject_animated=True) == "animated"
        assert reason(encoded(frames[0], fmt), reject_animated=True) == "ok"
    pages = encoded(frames[0], "TIFF", **film)
    assert stored(pages).frames is None and reason(pages, reject_animated=True) == "ok"


def test_frames_are_counted_as_far_as_a_gif_goes() -> None:
    frames = [landscape(n, 32).quantize(16, dither=Image.Dither.NONE) for n in range(5)]
    body = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:], optimize=False)
    assert stored(body).frames == 5
    assert 1 <= (stored(body[: len(body) // 2]).frames or 0) < 5
    assert stored(encoded(Image.new("L", (8, 8), 7), "GIF", comment=b"x" * 999)).frames == 1


# ---------------------------------------------------------------------------------------------------------------- blank


def test_one_colour_is_blank_and_a_dot_is_not() -> None:
    noise = np.random.default_rng(0).normal(0, 1, (64, 64, 3)) + 128
    faint = np.random.default_rng(0).normal(0, 3, (64, 64, 3)) + 128
    dotted = Image.new("RGB", (64, 64), WHITE)
    dotted.paste((0, 0, 0), (30, 30, 36, 36))
    of_one_gray = Image.new("RGB", (64, 64), (100, 100, 100))
    of_one_gray.paste((130, 84, 103), (0, 0, 32, 64))
    for image, expected in (
        (Image.new("RGB", (64, 64), RED), "blank"),
        (Image.new("L", (64, 64), 0), "blank"),
        (Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "blank"),
        (Image.fromarray(noise.astype(np.uint8)), "blank"),
        (Image.fromarray(faint.astype(np.uint8)), "ok"),
        (dotted, "ok"),
        (of_one_gray, "ok"),
        # Its small copy is even, the picture is not.
        (stripes(), "ok"),
    ):
        assert reason(encoded(image), reject_blank=True, image_size=64) == expected
        assert reason(encoded(image), image_size=64) == "ok"


def test_borders_do_not_hide_that_a_picture_is_blank() -> None:
    body = encoded(Image.new("RGB", (64, 32), RED))
    assert reason(body, reject_blank=True, resize_mode="border", image_size=32) == "blank"


# ---------------------------------------------------------------------------------------------------- perceptual hashes


def distance(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def test_the_hash_is_the_signs_of_the_slowest_waves() -> None:
    """A picture that is one wave sets the bit of its place among the 64 slowest, its negative does not."""
    place = (np.arange(32) + 0.5) * np.pi / 32
    for bit, (down, across) in enumerate([(0, 1), (1, 0), (0, 2), (1, 1), (2, 0), (0, 3)]):
        wave = 128 + 60 * np.outer(np.cos(down * place), np.cos(across * place))
        small = Image.fromarray(np.repeat(wave.round().astype(np.uint8)[:, :, None], 3, axis=2))
        negative = Image.fromarray(255 - np.asarray(small))
        place_of_bit = 63 - (bit % 4 * 16 + bit // 4)
        assert int(perceptual_hash(small), 16) >> place_of_bit & 1
        assert not int(perceptual_hash(negative), 16) >> place_of_bit & 1
    assert perceptual_hash(small_copy(Image.new("RGB", (300, 200), RED))) == "0" * 16


def test_copies_hash_alike_and_others_do_not() -> None:
    options = ImageOptions(image_size=256)
    pictures = [landscape(seed) for seed in range(12)] + [render_scene(make_scene(0, n), 384) for n in range(12)]
    hashes = []
    for image in pictures:
        copies = [
            encoded(image),
            encoded(image, "JPEG", quality=60),
            encoded(image.resize((192, 192), Image.Resampling.BICUBIC), "WEBP", quality=70),
            encoded(image.resize((500, 500), Image.Resampling.BICUBIC), "JPEG", quality=85),
        ]
        first, *others = [stored(copy, options).phash for copy in copies]
        assert max(distance(first, other) for other in others) <= 3
        hashes.append(first)
    assert min(distance(a, b) for a, b in combinations(hashes, 2)) > 3


def test_the_grid_is_the_mean_color_of_each_field() -> None:
    image = Image.new("RGB", (64, 64), "white")
    image.paste(RED, (16, 0, 32, 16))
    image.paste((0, 0, 0), (0, 48, 8, 64))
    fields = [color_grid(small_copy(image))[start : start + 6] for start in range(0, 96, 6)]
    red = bytes(Image.new("RGB", (1, 1), RED).convert("YCbCr").getpixel((0, 0))).hex()  # type: ignore[arg-type]
    assert fields == ["ff8080", red, *["ff8080"] * 10, "808080", *["ff8080"] * 3]
    assert stored(encoded(image, "PNG"), ImageOptions(image_size=64, encode_format="png")).color_grid == "".join(fields)


def test_borders_and_orientation_do_not_change_the_hash() -> None:
    image = landscape(1).crop((0, 0, 384, 192))
    exif = Image.Exif()
    exif[0x0112] = 6
    turned = encoded(image.transpose(Image.Transpose.ROTATE_90), exif=exif)
    keep_ratio = ImageOptions(image_size=256, resize_mode="keep_ratio_largest")
    plain = stored(encoded(image), keep_ratio).phash
    assert stored(encoded(image), ImageOptions(image_size=256, resize_mode="border")).phash == plain
    assert stored(turned, keep_ratio).phash == plain


# ---------------------------------------------------------------------------------------------------------------- boxes


@pytest.mark.parametrize(
    "cell",
    ["x", "{}", "[1]", "[[0,0,1]]", "[[0,0,1,1,1]]", "[[0.5,0,0.5,1]]", "[[0.9,0,0.1,1]]", '[[0,0,"1",1]]',
     "[[0,0,true,1]]", "[[0,0,NaN,1]]", "[[10,20,110,120]]", "[0,0,1,1]", "null", "[[0,0,1e999,1]]", "[" * 9999,
     "[[0,0,1" + "0" * 400 + ",1]]"]
)  # fmt: skip
def test_boxes_that_cannot_be_read_reject_the_picture(cell: str) -> None:
    assert read_boxes(cell) is None
    assert reason(encoded(stripes()), cell) == "bad_boxes"


def test_boxes_as_lists_have_them() -> None:
    assert read_boxes("") == read_boxes(" ") == read_boxes("[]") == ()
    assert read_boxes("[[0, 0.25, 1, 1.0], [-0.01, 0, 0.5, 0.5]]") == (Box(0, 0.25, 1, 1), Box(-0.01, 0, 0.5, 0.5))


def is_hidden(part: np.ndarray[Any, Any]) -> bool:
    """Tell whether there is no step from any pixel to the next; the stripes are steps and nothing else."""
    return bool(np.abs(np.diff(part, axis=1)).max() < 16)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "WEBP"])
def test_boxes_are_those_of_the_upright_picture(fmt: str, orientation: int) -> None:
    """Whatever way the file has it: the upper left eighth is hidden, and nothing far from it is touched."""
    upright = stripes(160, 80)
    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_90",
             7: "TRANSVERSE", 8: "ROTATE_270"}  # fmt: skip
    turned = upright.transpose(Image.Transpose[turns[orientation]]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    body = encoded(turned, fmt, exif=exif, lossless=True)
    assert (pixels(body) == np.asarray(upright)).all()
    found = pixels(body, AS_IT_IS, "[[0, 0, 0.25, 0.5]]")
    assert is_hidden(found[:40, 2:40])
    assert (found[:, 49:] == np.asarray(upright)[:, 49:]).all() and (found[49:] == np.asarray(upright)[49:]).all()


@pytest.mark.parametrize("mode", ["no", "center_crop", "keep_ratio", "keep_ratio_largest", "border"])
def test_boxes_are_found_again_after_cropping_and_padding(mode: Any) -> None:
    """The middle third of a wide picture is black and white, the rest gray; with the box it is all gray."""
    image = Image.new("RGB", (288, 96), (128, 128, 128))
    image.paste(
        Image.fromarray(np.kron(np.indices((24, 24)).sum(0) % 2 * 255, np.ones((4, 4))).astype(np.uint8)), (96, 0)
    )
    options = ImageOptions(image_size=96, resize_mode=mode, encode_format="png", background="#808080")
    boxes = f"[[{1 / 3}, 0, {2 / 3}, 1]]"
    assert not is_hidden(pixels(encoded(image), options))
    assert is_hidden(pixels(encoded(image), options, boxes))
    assert not is_hidden(pixels(encoded(image), options, f"[[0, 0, {1 / 3}, 1]]"))


def test_a_small_box_is_hidden_beside_a_large_one() -> None:
    found = pixels(encoded(stripes(256, 256)), AS_IT_IS, "[[0, 0, 1, 0.5], [0.9, 0.9, 0.95, 0.95]]")
    assert is_hidden(found[232:242, 232:242]) and is_hidden(found[:128, 8:248])
    assert not is_hidden(found[200:220, 200:220])


def test_thousands_of_boxes_are_one_blur() -> None:
    cell = "[" + ",".join(
        f"[{n % 64 / 64},{n // 64 / 64},{n % 64 / 64 + 0.01},{n // 64 / 64 + 0.01}]" for n in range(4096)
    )
    assert is_hidden(pixels(encoded(stripes(128, 128)), AS_IT_IS, cell + "]")[:, 4:124])


def test_hidden_pictures_may_be_blank_and_hash_as_stored() -> None:
    body = encoded(stripes())
    assert reason(body, "[[0,0,1,1]]", reject_blank=True, resize_mode="no") == "ok"
    left, right = landscape(1, 128), landscape(2, 128)
    both = Image.new("RGB", (256, 128))
    both.paste(left)
    both.paste(right, (128, 0))
    plain, hidden = stored(encoded(both)), stored(encoded(both), AS_IT_IS, "[[0.5, 0, 1, 1]]")
    assert plain.sha256 == hidden.sha256 and plain.phash != hidden.phash


def test_everything_crosses_to_another_process() -> None:
    options = ImageOptions(background="#102030", truncated="keep", reject_animated=True, blur_column="faces")
    assert pickle.loads(pickle.dumps(options)) == options
    result = stored(encoded(stripes()))
    assert pickle.loads(pickle.dumps(result)) == result
