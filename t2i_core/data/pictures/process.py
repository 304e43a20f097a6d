"""Pictures: untrusted bytes to plain 8-bit sRGB.

A picture is judged from its first bytes and its header before anything is decoded. What is stored looks as a viewer
would show it: turned upright, in sRGB, transparency over one color, first frame.
"""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image, ImageCms

from t2i_core.data.picture import ImageOptions, Picture
from t2i_core.data.pictures.bare import is_bare
from t2i_core.data.pictures.boxes import Box, blur_boxes, read_boxes
from t2i_core.data.pictures.fingerprint import color_grid, is_blank, perceptual_hash, small_copy
from t2i_core.data.pictures.fit import draft, fit, fit_photograph, pad, whole
from t2i_core.data.pictures.frames import count_frames, is_animated
from t2i_core.data.pictures.modes import TRANSPARENT, UnsupportedModeError, flatten, read_color, visible_box
from t2i_core.data.pictures.stored_png import store_pixels
from t2i_core.data.reject import Rejection, RejectReason

if TYPE_CHECKING:
    from PIL import ImageFile


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
# Of the tables that pixels need, when a file is stored as it is.
MAX_HEADER_BYTES = 4096
# Their decoders fill the picture from one end to the other.
_READ_BY_ROW = frozenset({"PNG", "GIF", "BMP", "TIFF"})


def process_picture(body: bytes, options: ImageOptions, boxes_cell: str = "") -> Picture | Rejection:
    """Turn the bytes of any supported picture into a stored one, or say why not. Never raises for bad bytes.

    Args:
        body: the file.
        options: what to take and how to store it.
        boxes_cell: what its row says about boxes to blur, see `read_boxes`.
    """
    result = _process(body, options, boxes_cell)
    broken_off = isinstance(result, Rejection) and result.reason is RejectReason.TRUNCATED
    if broken_off and options.truncated == "keep":
        # With an end set to it, the decoder shows what there is: coarser if progressive, gray below the break if not.
        ended = body + b"\xff\xd9" if sniff(body) == "JPEG" else body
        result = _process(ended, replace(options, skip_reencode=False), boxes_cell)
    if isinstance(result, Rejection):
        return result
    return replace(result, sha256=hashlib.sha256(body).hexdigest())


@dataclass(frozen=True, slots=True)
class _Source:
    """What a picture's file says.

    Attributes:
        format: Pillow's name of it.
        mode: Pillow's name of its kind of pixels.
        frames: None when not known.
        plain: the file itself if it is all that would be stored, but for its size; else empty.
        exif: a JSON object; "" when it was not asked for.
    """

    format: str
    mode: str
    frames: int | None
    plain: bytes
    exif: str = ""


@dataclass(frozen=True, slots=True)
class _Fitted:
    """What a picture's pixels became.

    Attributes:
        pixels: RGB, fitted, without the square of `border`.
        part: width and height of what was fitted: of the upright source, or of what is visible of it.
        original: of the upright source.
    """

    pixels: Image.Image
    part: tuple[int, int]
    original: tuple[int, int]


def _process(body: bytes, options: ImageOptions, boxes_cell: str) -> Picture | Rejection:
    kind, boxes = sniff(body), read_boxes(boxes_cell)
    if isinstance(kind, Rejection):
        return kind
    if boxes is None:
        return Rejection(RejectReason.BAD_BOXES)
    try:
        file = _as_file(kind, body, options)
        if isinstance(file, Rejection):
            return file
        with Image.open(io.BytesIO(file), formats=("PNG" if kind == "SVG" else kind,)) as image:
            # Before anything that decodes; every limit is the same whichever way the picture is turned.
            source = _judge(image, body, options)
            if isinstance(source, Rejection):
                return source
            if kind == "SVG":
                # What was drawn is cut already.
                source, options = replace(source, format="SVG"), replace(options, crop_transparent=False)
            fitted = _decode(image, body, options)
            if isinstance(fitted, Rejection):
                return fitted
            if options.extract_exif:
                # Takes as long to import as all else here.
                from t2i_core.data.pictures.exif import exif_json

                source = replace(source, exif=exif_json(image, body))
            return _finish(fitted, source, boxes, options)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        return Rejection(RejectReason.TOO_MANY_PIXELS)
    except UnsupportedModeError as err:
        return Rejection(RejectReason.UNSUPPORTED_FORMAT, str(err))
    except Exception as err:
        # Decoders raise anything at all on hostile bytes; whatever it is, only this sample is lost.
        return Rejection(_decode_failure(err))


def _as_file(kind: str, body: bytes, options: ImageOptions) -> bytes | Rejection:
    """Give what Pillow reads: the file, a PNG with its pixels unpacked, or a drawing drawn."""
    if kind == "SVG":
        # Takes a moment to import, and few sources need it.
        from t2i_core.data.pictures.svg import draw_svg

        return draw_svg(body, options)
    return store_pixels(body) if kind == "PNG" else body


def _judge(image: Image.Image, body: bytes, options: ImageOptions) -> _Source | Rejection:
    rejection = _check_size(*image.size, options)
    if rejection is not None:
        return rejection
    frames = count_frames(image, body)
    if options.reject_animated and is_animated(image, frames):
        return Rejection(RejectReason.ANIMATED)
    plain = body if options.skip_reencode and frames == 1 and _is_plain(image, body, options) else b""
    return _Source(image.format or "", image.mode, frames, plain)


def _is_plain(image: Image.Image, body: bytes, options: ImageOptions) -> bool:
    """Tell whether a file holds RGB pixels in the format to store and nothing besides, and is no larger than those."""
    is_small = len(body) <= 3 * image.width * image.height + MAX_HEADER_BYTES
    return image.mode == "RGB" and is_small and is_bare(body, options.encode_format)


def _finish(fitted: _Fitted, source: _Source, boxes: tuple[Box, ...], options: ImageOptions) -> Picture | Rejection:
    """Hide what must not be seen, look at the result, and store it.

    Args:
        fitted: its pixels.
        source: what it was.
        boxes: to blur.
        options: what to take and how to store it.
    """
    pixels = fitted.pixels
    if boxes:
        pixels = blur_boxes(pixels, boxes, whole(pixels.size, fitted.part, options))
    small = small_copy(pixels)
    if options.reject_blank and is_blank(pixels, small):
        return Rejection(RejectReason.BLANK)
    pixels = pad(pixels, fitted.part, options)
    stays = source.plain and pixels.size == fitted.original and not boxes
    return Picture(
        source.plain if stays else _encode(pixels, options),
        *pixels.size,
        *fitted.original,
        "",
        phash=perceptual_hash(small),
        original_format=source.format,
        original_mode=source.mode,
        frames=source.frames,
        exif=source.exif,
        color_grid=color_grid(small),
    )


def sniff(body: bytes) -> str | Rejection:
    """Name the format by the first bytes, never by name or content type.

    Returns:
        Pillow's name of a format on the allow-list, "SVG", or a rejection `unsupported_format` or `not_an_image`.
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
    start = body[:1024].lower()
    if b"<svg" in start and b"<html" not in start:
        return "SVG"
    return Rejection(RejectReason.UNSUPPORTED_FORMAT, other) if other else Rejection(RejectReason.NOT_AN_IMAGE)


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


def _decode(image: Image.Image, body: bytes, options: ImageOptions) -> _Fitted | Rejection:
    """Decode, turn upright, resize, and convert to sRGB."""
    turn = _turn(image)
    size = part = image.size
    draft(image, options)
    fitted = fit_photograph(image, body, size, options) if turn is None else None
    if fitted is None:
        _load(image, options)
        upright = image if turn is None else image.transpose(turn)
        size = part = size[::-1] if turn in _SIDEWAYS else size
        if options.crop_transparent and (visible := _visible(upright, options)) is not upright:
            if isinstance(visible, Rejection):
                return visible
            upright, part = visible, visible.size
        flat = flatten(upright, read_color(options.background))
        fitted = fit(flat, part, options, is_photograph=image.format == "JPEG")
    # Colors are converted after resizing, where there are fewer pixels.
    return _Fitted(_to_srgb(fitted, image.info.get("icc_profile")), part, size)


def _visible(upright: Image.Image, options: ImageOptions) -> Image.Image | Rejection:
    """Cut away what is transparent around a picture; what is left must be large enough."""
    box = visible_box(upright)
    if box is None:
        return Rejection(RejectReason.BLANK, TRANSPARENT)
    if box == (0, 0, *upright.size):
        return upright
    return _check_size(box[2] - box[0], box[3] - box[1], options) or upright.crop(box)


def _load(image: Image.Image, options: ImageOptions) -> None:
    try:
        image.load()
    except (OSError, EOFError) as err:
        # For JPEG there is a better way than to stop here; and what is stored as it is must be whole.
        partial = options.truncated == "keep" and not options.skip_reencode and image.format in _READ_BY_ROW
        if not partial or _decode_failure(err) is not RejectReason.TRUNCATED:
            raise
        # What arrived is in place, and nothing further is to be read.
        cast("ImageFile.ImageFile", image).tile = []


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION_TAG, 1))
    except Exception:
        # A malformed tag says nothing about the pixels.
        return None


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


def _encode(image: Image.Image, options: ImageOptions) -> bytes:
    if options.encode_format == "jpg":
        return _encode_jpeg(image, options.encode_quality)
    buffer = io.BytesIO()
    # Pillow would write what the source said besides: comments, and profiles with the time at which they were made.
    image.info = {}
    if options.encode_format == "png":
        image.save(buffer, "PNG", compress_level=6)
    else:
        image.save(buffer, "WEBP", quality=options.encode_quality)
    return buffer.getvalue()


def _encode_jpeg(image: Image.Image, quality: int) -> bytes:
    """Encode with OpenCV: the bytes that Pillow would write, in less time."""
    # It takes a moment to import, which only who stores pictures need wait for.
    import cv2

    # Full color resolution: small pictures with hard edges bleed with the usual halved one.
    full = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444)
    pixels = cv2.cvtColor(np.asarray(image), cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality, *full))
    return encoded.tobytes()
