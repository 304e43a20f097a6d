"""Pictures: untrusted bytes to plain 8-bit sRGB, and the only conversion between bytes and the model's range.

A picture is judged from its first bytes and its header before anything is decoded. What is stored looks as a viewer
would show it: turned upright, in sRGB, transparency over white, first frame.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageCms

from t2i_core.data.reject import Rejection, RejectReason

if TYPE_CHECKING:
    import torch

ResizeMode = Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
EncodeFormat = Literal["jpg", "png", "webp"]

_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_SIGNATURES = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
)
_OTHER_SIGNATURES = (
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL ", "JPEG XL"),
    (b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (b"\0\0\x01\0", "ICO"),
    (b"8BPS", "Photoshop"),
    (b"II+\0", "BigTIFF"),
    (b"MM\0+", "BigTIFF"),
)
MAX_ICC_BYTES = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """Which pictures to take, and how to store them.

    Attributes:
        image_size: pixels of the side that `resize_mode` names.
        resize_mode: as in img2dataset: `border` fits the longest side and pads to a square with white, `keep_ratio`
            fits the shortest side, `keep_ratio_largest` the longest, `center_crop` the shortest and cuts a square.
        resize_only_if_bigger: leave smaller pictures as they are.
        encode_format: of the stored picture.
        encode_quality: 1 to 100 for jpg and webp; png is always lossless.
        min_image_size: pixels of the shortest side.
        max_pixels: width times height.
        max_aspect_ratio: longest side over shortest.
    """

    image_size: int = 256
    resize_mode: ResizeMode = "center_crop"
    resize_only_if_bigger: bool = False
    encode_format: EncodeFormat = "jpg"
    encode_quality: int = 95
    min_image_size: int = 0
    max_pixels: int = 89_000_000
    max_aspect_ratio: float = math.inf


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture ready to be stored.

    Attributes:
        data: the encoded bytes.
        width: in pixels, as stored.
        height: in pixels, as stored.
        original_width: in pixels, as a viewer shows the source.
        original_height: in pixels, as a viewer shows the source.
        sha256: of the source's bytes.
    """

    data: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    sha256: str


def process_picture(body: bytes, options: ImageOptions) -> Picture | Rejection:
    """Turn the bytes of any supported picture into a stored one, or say why not. Never raises for bad bytes."""
    kind = sniff(body)
    if isinstance(kind, Rejection):
        return kind
    try:
        with Image.open(io.BytesIO(body), formats=(kind,)) as image:
            # Before anything that decodes; every limit is the same whichever way the picture is turned.
            rejection = _check_size(*image.size, options)
            if rejection is not None:
                return rejection
            pixels, original_size = _decode(image, options)
            data = _encode(pixels, options)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Rejection(RejectReason.TOO_MANY_PIXELS)
    except _UnsupportedModeError as err:
        return Rejection(RejectReason.UNSUPPORTED_FORMAT, str(err))
    except Exception as err:
        # Decoders raise anything at all on hostile bytes; whatever it is, only this sample is lost.
        return Rejection(_decode_failure(err))
    return Picture(data, *pixels.size, *original_size, hashlib.sha256(body).hexdigest())


def sniff(body: bytes) -> str | Rejection:
    """Name the format by the first bytes, never by name or content type.

    Returns:
        Pillow's name of a format on the allow-list, or a rejection `unsupported_format` or `not_an_image`.
    """
    for signature, name in _SIGNATURES:
        if body.startswith(signature):
            return name
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        # Its decoder does not tell a broken-off file from a bad one, but the header says how long it must be.
        return "WEBP" if len(body) >= 8 + int.from_bytes(body[4:8], "little") else Rejection(RejectReason.TRUNCATED)
    other = next((name for signature, name in _OTHER_SIGNATURES if body.startswith(signature)), None)
    if body[4:8] == b"ftyp":
        other = f"ISO media {body[8:12].decode('ascii', 'replace').strip()}"
    if b"<svg" in body[:1024].lower():
        other = "SVG"
    return Rejection(RejectReason.UNSUPPORTED_FORMAT, other) if other else Rejection(RejectReason.NOT_AN_IMAGE)


class _UnsupportedModeError(Exception):
    """A pixel format with no agreed way to show it."""


def _check_size(width: int, height: int, options: ImageOptions) -> Rejection | None:
    if width * height > options.max_pixels:
        return Rejection(RejectReason.TOO_MANY_PIXELS)
    if min(width, height) < max(options.min_image_size, 1):
        return Rejection(RejectReason.TOO_SMALL)
    if max(width, height) > options.max_aspect_ratio * min(width, height):
        return Rejection(RejectReason.BAD_ASPECT)
    return None


def _decode_failure(error: Exception) -> RejectReason:
    told = str(error).lower()
    broken_off = isinstance(error, EOFError) or "truncated" in told or "not enough" in told or "unexpected end" in told
    return RejectReason.TRUNCATED if broken_off else RejectReason.DECODE_ERROR


def _decode(image: Image.Image, options: ImageOptions) -> tuple[Image.Image, tuple[int, int]]:
    """Decode, turn upright, resize, and convert to sRGB; also give the source's upright size."""
    turn = _turn(image)
    size = image.size
    _draft(image, options)
    image.load()
    upright = image if turn is None else image.transpose(turn)
    if turn in _SIDEWAYS:
        size = size[::-1]
    icc = image.info.get("icc_profile")
    # Colours are converted after resizing, where there are fewer pixels.
    return _to_srgb(_resize(_flatten(upright), size, options), icc), size


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # A malformed tag says nothing about the pixels.
        return None


def _draft(image: Image.Image, options: ImageOptions) -> None:
    """Let the JPEG decoder skip detail that resizing would throw away: down to a half, a quarter or an eighth.

    It computes smaller blocks from the low frequencies alone, which is nearer to an ideal filter than averaging is.
    """
    if options.resize_mode == "no" or image.format != "JPEG":
        return
    scale = options.image_size / _named_side(image.size, options.resize_mode)
    if scale < 1:
        image.draft(image.mode, (math.ceil(image.width * scale), math.ceil(image.height * scale)))


def _named_side(size: tuple[int, int], mode: ResizeMode) -> int:
    return min(size) if mode in ("keep_ratio", "center_crop") else max(size)


def _flatten(image: Image.Image) -> Image.Image:
    """Bring any mode to 8-bit L, RGB, CMYK or LAB, with transparency laid over white.

    Raises:
        _UnsupportedModeError: float and 32-bit pictures, whose range is not known.
    """
    mode = image.mode
    if mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if mode in ("I", "F"):
        raise _UnsupportedModeError(f"pixels of mode {mode}")
    if mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        return _over_white(image)
    if mode in ("1", "L"):
        return image.convert("L")
    return image if mode in ("RGB", "CMYK", "LAB") else image.convert("RGB")


def _over_white(image: Image.Image) -> Image.Image:
    gray = image.mode in ("LA", "La")
    image = image.convert("LA" if gray else "RGBA")
    white = Image.new("L" if gray else "RGB", image.size, 255 if gray else (255, 255, 255))
    white.paste(image.convert(white.mode), mask=image.getchannel("A"))
    return white


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Convert by the picture's own profile; without a usable one, as if the numbers were sRGB."""
    if image.mode == "LAB":
        source = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB"))
    elif icc and len(icc) <= MAX_ICC_BYTES:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        except (OSError, ImageCms.PyCMSError):
            return image.convert("RGB")
    else:
        return image if image.mode == "RGB" else image.convert("RGB")
    try:
        converted = ImageCms.profileToProfile(image, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
    except (OSError, ValueError, ImageCms.PyCMSError):
        return image.convert("RGB")
    return image if converted is None else converted


def resize(image: Image.Image, options: ImageOptions) -> Image.Image:
    """Fit a picture to `image_size` by the chosen mode."""
    return _resize(image, image.size, options)


def _resize(image: Image.Image, original: tuple[int, int], options: ImageOptions) -> Image.Image:
    """Fit a picture to `image_size`.

    Args:
        image: the picture, perhaps decoded at a reduced scale already.
        original: width and height that it has at full scale, which decide the size of the result.
        options: the mode and the size.
    """
    mode, size = options.resize_mode, options.image_size
    side = _named_side(original, mode)
    if mode == "no" or (options.resize_only_if_bigger and side <= size):
        return image
    if mode == "center_crop":
        left, top = ((length - side) // 2 for length in original)
        return _scale(image, original, (left, top, left + side, top + side), (size, size))
    width, height = (max(1, round(length * size / side)) for length in original)
    scaled = _scale(image, original, (0, 0, *original), (width, height))
    if mode == "border" and width != height:
        square = Image.new("RGB", (size, size), (255, 255, 255))
        square.paste(scaled.convert("RGB"), ((size - width) // 2, (size - height) // 2))
        return square
    return scaled


def _scale(
    image: Image.Image, original: tuple[int, int], box: tuple[int, int, int, int], size: tuple[int, int]
) -> Image.Image:
    """Scale what lies in a box, given in pixels of the original, to a size."""
    reduction = round(max(original) / max(image.size))
    left, top, right, bottom = (edge / reduction for edge in box)
    place = (left, top, min(right, image.width), min(bottom, image.height))
    # Whole-number averaging comes before the filter only where the picture is more than twice too large.
    return image.resize(size, Image.Resampling.LANCZOS, box=place, reducing_gap=2.0)


def _encode(image: Image.Image, options: ImageOptions) -> bytes:
    buffer = io.BytesIO()
    if options.encode_format == "png":
        image.save(buffer, "PNG", compress_level=6)
    elif options.encode_format == "webp":
        image.save(buffer, "WEBP", quality=options.encode_quality)
    else:
        # Full colour resolution: small pictures with hard edges bleed with the usual halved one.
        image.save(buffer, "JPEG", quality=options.encode_quality, subsampling=0)
    return buffer.getvalue()


def to_unit(pixels: torch.Tensor | np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> torch.Tensor:
    """Convert stored pixels to the model's range.

    Args:
        pixels: (B, H, W, 3) uint8, 0..255.

    Returns:
        (B, 3, H, W) float32 in [-1, 1], channels last in memory.
    """
    import torch

    return torch.as_tensor(pixels).permute(0, 3, 1, 2).to(torch.float32).div_(127.5).sub_(1.0)


def to_uint8(images: torch.Tensor) -> torch.Tensor:
    """Convert the model's range to pixels, rounded and clamped; the exact inverse of `to_unit`.

    Args:
        images: (B, 3, H, W) float in [-1, 1].

    Returns:
        (B, H, W, 3) uint8, 0..255.
    """
    import torch

    scaled = images.detach().to(torch.float32).add(1.0).mul(127.5)
    return scaled.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
