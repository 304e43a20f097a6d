"""The prompt-blind half of the checker: what does a picture show?

`extract` looks at pixels only and lists the flat objects it finds on a plain background; `verdict.judge` compares that
list with a scene's specification and never sees the picture. Whatever is soft, merged or two-colored is listed with
what makes it doubtful, and never passes: the checker under-reports rather than flatters.
"""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from t2i_core.errors import DataError
from t2i_core.evaluation.judges.shape_names import mass_offsets, read_shape, unit_areas
from t2i_core.samples.scenes import BACKGROUNDS, COLORS

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Unsure = Literal["too small", "cut off", "no clear color", "two colors", "no clear shape", "no known shape"]

# Pictures are looked at with at most this many pixels a side; larger ones are averaged down.
WORKING_SIDE = 64
# Distances in CIELAB.
FOREGROUND_DISTANCE, BORDER_DISTANCE, BACKGROUND_RADIUS, COLOR_RADIUS, CORE_SPREAD = 14.0, 12.0, 18.0, 24.0, 22.0
# Shares: of the border that must agree, of an object's core that must agree, nearest color against runner-up.
BORDER_SHARE, CORE_SHARE, COLOR_RATIO = 0.9, 0.85, 0.75
# Areas as shares of the picture: specks are ignored, what is smaller than an object is "too small".
SPECK_AREA, OBJECT_AREA = 0.002, 0.008
# A speck whose distance from the background stays below this is a stain, not a thing.
STAIN_DISTANCE = 25.0
# A border noisier than this (standard deviation, 0..255) is smoothed first.
NOISE_LEVEL = 5.0


@dataclass(frozen=True, slots=True)
class Found:
    """One object found in a picture.

    Attributes:
        color: palette name, or None when no palette color is clearly nearest.
        shapes: shapes it may have: one when clear, two when it lies between them, none when it has no known shape.
        x: centre from the left, as a fraction of the side.
        y: centre from the top, as a fraction of the side.
        radius: half-extent as a fraction of the side (of the shape with the object's area, where the shape is known).
        area: share of the picture.
        likeness: how well the best shape fits, 0..1.
        unsure: why color or shape is not told, or None.
    """

    color: str | None
    shapes: tuple[str, ...]
    x: float
    y: float
    radius: float
    area: float
    likeness: float
    unsure: Unsure | None

    @property
    def shape(self) -> str | None:
        """Its shape, or None when that is not clear."""
        return self.shapes[0] if len(self.shapes) == 1 and self.unsure != "no clear shape" else None

    @property
    def kind(self) -> tuple[str | None, str | None]:
        """Color and shape."""
        return self.color, self.shape

    def __str__(self) -> str:
        return f"{self.color or 'unclear'} {' or '.join(self.shapes) or 'thing'}"


@dataclass(frozen=True, slots=True)
class Extraction:
    """What a picture shows.

    Attributes:
        background: name of the background, or None when the color is no known one or the border is not plain.
        objects: all objects found, unsure ones included, the largest first.
        refused: why nothing could be extracted, or "".
    """

    background: str | None
    objects: tuple[Found, ...]
    refused: str = ""

    @property
    def sure(self) -> bool:
        """Whether everything seen was recognised."""
        return not self.refused and all(o.unsure is None for o in self.objects)

    def __str__(self) -> str:
        things = ", ".join(map(str, self.objects)) or "nothing"
        return self.refused or f"{things} on {self.background or 'an unknown background'}"


def extract(image: npt.NDArray[np.uint8]) -> Extraction:
    """List the objects of a picture without knowing its prompt.

    Args:
        image: (H, W, 3) uint8.

    Raises:
        DataError: the array is not such a picture.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise DataError(f"a picture must be (H, W, 3) uint8, this is {image.shape} {image.dtype}")
    pixels = _working_size(image)
    border = _border(pixels.shape[0], pixels.shape[1])
    noise = float(np.median(np.abs(pixels[border] - np.median(pixels[border], axis=0)))) * 1.48
    if noise > NOISE_LEVEL:
        pixels = ndimage.gaussian_filter(pixels, sigma=(0.9, 0.9, 0), mode="nearest")
    lab = to_lab(pixels)
    ground = np.median(lab[border], axis=0)
    distance = np.linalg.norm(lab - ground, axis=2)
    if np.mean(distance[border] < BORDER_DISTANCE) < BORDER_SHARE:
        return Extraction(None, (), "no plain background")
    ground_rgb = np.median(pixels[border], axis=0)
    regions = [region for region in _regions(distance) if not _is_stain(region, distance)]
    objects = [_describe(region, pixels, lab, ground_rgb) for region in regions]
    objects.sort(key=lambda o: -o.area)
    return Extraction(_nearest(ground, _background_labs(), BACKGROUND_RADIUS), tuple(objects))


def _working_size(image: npt.NDArray[np.uint8]) -> Floats:
    height, width = image.shape[:2]
    scale = max(height, width) / WORKING_SIDE
    if scale > 1:
        size = (max(1, round(width / scale)), max(1, round(height / scale)))
        image = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    return image.astype(np.float64)


def _border(height: int, width: int) -> Bools:
    thickness = max(1, min(height, width) // 32)
    border = np.ones((height, width), dtype=bool)
    border[thickness:-thickness, thickness:-thickness] = False
    return border


def to_lab(rgb: npt.NDArray[np.floating] | npt.NDArray[np.uint8]) -> Floats:
    """Convert sRGB in 0..255, any shape (..., 3), to CIELAB under D65."""
    linear = _linear_table()[np.clip(np.rint(rgb), 0, 255).astype(np.uint8)]
    xyz = linear @ _RGB_TO_XYZ.T / _WHITE
    f = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f[..., 0], f[..., 1], f[..., 2]
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=-1)


_RGB_TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])
_WHITE = np.array([0.9505, 1.0, 1.089])


@cache
def _linear_table() -> Floats:
    s = np.arange(256) / 255
    return np.where(s <= 0.04045, s / 12.92, ((s + 0.055) / 1.055) ** 2.4)


@cache
def _color_labs() -> dict[str, Floats]:
    return {name: to_lab(np.array(rgb, dtype=np.uint8)) for name, rgb in COLORS.items()}


@cache
def _background_labs() -> dict[str, Floats]:
    return {name: to_lab(np.array(rgb, dtype=np.uint8)) for name, rgb in BACKGROUNDS.items()}


def _nearest(lab: Floats, palette: dict[str, Floats], radius: float) -> str | None:
    """Name the palette entry within `radius` that is clearly nearer than the next one."""
    ranked = sorted((float(np.linalg.norm(lab - entry)), name) for name, entry in palette.items())
    (best, name), (second, _) = ranked[:2]
    return name if best <= radius and best <= COLOR_RATIO * second else None


def _regions(distance: Floats) -> list[Bools]:
    """Cut the foreground into one mask an object, each cut again at half its own contrast to undo blur."""
    labels, count = ndimage.label(distance > FOREGROUND_DISTANCE, structure=np.ones((3, 3)))
    regions = []
    for index in range(1, count + 1):
        mask = labels == index
        if mask.mean() < SPECK_AREA:
            continue
        contrast = np.percentile(distance[mask], 75)
        parts, num_parts = ndimage.label(mask & (distance > contrast / 2))
        regions += [part for i in range(1, num_parts + 1) if (part := parts == i).mean() >= SPECK_AREA]
    return regions


def _is_stain(mask: Bools, distance: Floats) -> bool:
    return bool(mask.mean() < OBJECT_AREA and distance[mask].max() < STAIN_DISTANCE)


def _describe(mask: Bools, pixels: Floats, lab: Floats, ground_rgb: Floats) -> Found:
    """Name the color and the shape of one region."""
    core = _core(mask)
    core_lab = np.median(lab[core], axis=0)
    color = _nearest(core_lab, _color_labs(), COLOR_RADIUS)
    agreeing = float(np.mean(np.linalg.norm(lab[core] - core_lab, axis=1) < CORE_SPREAD))
    coverage = _coverage(mask, pixels, ground_rgb, np.median(pixels[core], axis=0))
    total = float(coverage.sum())
    reading = read_shape(coverage)
    height, width = mask.shape
    y, x = ndimage.center_of_mass(coverage)
    area = total / mask.size
    unsure: Unsure | None = None
    if mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any():
        unsure = "cut off"
    elif area < OBJECT_AREA:
        unsure = "too small"
    elif agreeing < CORE_SHARE:
        unsure, color = "two colors", None
    elif color is None:
        unsure = "no clear color"
    elif not reading.candidates:
        unsure = "no known shape"
    elif not reading.clear:
        unsure = "no clear shape"
    shape = reading.candidates[0] if reading.candidates else None
    radius = (area / (unit_areas()[shape] if shape else 4.0)) ** 0.5
    centre_x, centre_y = _true_centre(shape, (x + 0.5) / width, (y + 0.5) / height, radius)
    return Found(color, reading.candidates, centre_x, centre_y, radius, area, reading.likeness, unsure)


def _core(mask: Bools) -> Bools:
    for steps in (2, 1):
        core = ndimage.binary_erosion(mask, iterations=steps)
        if core.sum() >= 6:
            return np.asarray(core)
    return mask


def _coverage(mask: Bools, pixels: Floats, ground: Floats, color: Floats) -> Floats:
    """Tell how much of each pixel the object covers, 0..1: edge pixels mix object and background linearly in RGB."""
    near = ndimage.binary_dilation(mask, iterations=2)
    axis = color - ground
    mix = (pixels - ground) @ axis / max(float(axis @ axis), 1e-9)
    return np.where(near, np.clip(mix, 0, 1), 0.0)


def _true_centre(shape: str | None, x: float, y: float, radius: float) -> tuple[float, float]:
    dx, dy = mass_offsets()[shape] if shape else (0.0, 0.0)
    return x - dx * radius, y - dy * radius
