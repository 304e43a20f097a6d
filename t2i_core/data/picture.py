"""What is asked of pictures, and what is made of them; without what decodes them, which takes a moment to import."""

import math
from dataclasses import dataclass
from typing import Literal

ResizeMode = Literal["no", "border", "keep_ratio", "keep_ratio_largest", "center_crop"]
EncodeFormat = Literal["jpg", "png", "webp"]
TruncatedPolicy = Literal["reject", "keep"]
Resampling = Literal["lanczos", "bicubic", "hamming", "fast"]

# Endings of names: of the pictures in our shards, and of all that can be read.
STORED_SUFFIXES = frozenset({"jpg", "jpeg", "png", "webp"})
READABLE_SUFFIXES = STORED_SUFFIXES | {"gif", "bmp", "tif", "tiff"}
# Fields a side of the grid whose mean colors are noted. In two by two, what is small is lost in what surrounds it.
GRID_SIDE = 4
GRID_BYTES = 3 * GRID_SIDE**2


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageOptions:
    """Which pictures to take, and how to store them.

    Attributes:
        image_size: pixels of the side that `resize_mode` names.
        resize_mode: as in img2dataset: `border` fits the longest side and pads to a square, `keep_ratio` fits the
            shortest side, `keep_ratio_largest` the longest, `center_crop` the shortest and cuts a square.
        resampling: filter to resize with, from the sharpest to the fastest; `fast` takes straight lines between
            neighbours for JPEG, whose decoder has averaged already, and `bicubic` for all else.
        resize_only_if_bigger: leave smaller pictures as they are.
        encode_format: of the stored picture.
        encode_quality: 1 to 100 for jpg and webp; png is always lossless.
        min_image_size: pixels of the shortest side.
        max_pixels: width times height.
        max_aspect_ratio: longest side over shortest.
        background: color below transparent pixels and of borders, as "#rrggbb".
        crop_transparent: cut away what is transparent around a picture, before it is fitted.
        truncated: `keep` takes what arrived of a picture that breaks off (JPEG, PNG, GIF, BMP, plain TIFF).
        reject_animated: leave out films; else their first frame counts.
        reject_blank: leave out pictures of one color or nearly.
        blur_column: column of the source with boxes to blur, "" for none.
        extract_exif: keep what the source's EXIF says, see `exif.exif_json`.
        skip_reencode: store a source as it is that already is what would be stored, and nothing besides.
    """

    image_size: int = 256
    resize_mode: ResizeMode = "center_crop"
    resampling: Resampling = "fast"
    resize_only_if_bigger: bool = False
    encode_format: EncodeFormat = "jpg"
    encode_quality: int = 95
    min_image_size: int = 0
    max_pixels: int = 89_000_000
    max_aspect_ratio: float = math.inf
    background: str = "#ffffff"
    crop_transparent: bool = False
    truncated: TruncatedPolicy = "reject"
    reject_animated: bool = False
    reject_blank: bool = False
    blur_column: str = ""
    extract_exif: bool = False
    skip_reencode: bool = False


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
        phash: `perceptual_hash` of what is stored, borders left out.
        original_format: Pillow's name of the source's format.
        original_mode: Pillow's name of its kind of pixels.
        frames: in the source, None when that is not known.
        exif: of the source, a JSON object; "" when it was not asked for.
        color_grid: `color_grid` of what is stored, borders left out.
    """

    data: bytes
    width: int
    height: int
    original_width: int
    original_height: int
    sha256: str
    phash: str = ""
    original_format: str = ""
    original_mode: str = ""
    frames: int | None = None
    exif: str = ""
    color_grid: str = ""
