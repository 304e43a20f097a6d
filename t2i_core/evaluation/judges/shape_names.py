"""Which shape an object has: its outline against drawn templates of about its own size, some of them blurred.

Two shapes may be near each other (a square with round corners, a circle with flat sides), and an outline may be none at
all. So the answer is a set: one name when it is clear, two when it lies between them, none for what has no known shape.
"""

from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from t2i_core.samples.scenes import BACKGROUNDS, COLORS, Scene, SceneObject, Shape, render_scene

Floats = npt.NDArray[np.float64]

ALL_SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "cross", "star", "heart")
# Templates are drawn in pictures of this side; sizes in pixels mean the same in every picture.
TEMPLATE_SIDE = 64
TEMPLATE_RADII = (0.08, 0.10, 0.13, 0.16, 0.20, 0.25, 0.31)
TEMPLATE_BLURS = (0.0, 0.7, 1.3, 1.8)
# A template is compared with objects of up to this times its area, and down to this part of it.
AREA_RATIO = 1.8
# Likeness (0..1) below which an outline is no known shape, and from which it is one.
KNOWN, CLEAR = 0.88, 0.93
# What may be missing or too much along the outline, in pixels: unlikeness times radius. The larger an object is, the
# more a dent or a bump of the same unlikeness is seen.
MAX_EDGE_ERROR = 0.65
# The unlikeness of the best shape in parts of that of the second: above this it lies between them. Circle and square
# are the nearest pair: what a drawing model leaves half-way between them, people call wrong.
MAX_DOUBT, MAX_DOUBT_ROUND = 0.62, 0.5
ROUND = {"circle", "square"}
_GRID, _REACH = 28, 1.15


@dataclass(frozen=True, slots=True)
class ShapeReading:
    """What an outline may be.

    Attributes:
        candidates: shapes it may have; none when it has no known shape.
        likeness: to the best template, 0..1.
        clear: whether it is the one candidate.
    """

    candidates: tuple[str, ...]
    likeness: float
    clear: bool


def read_shape(coverage: Floats) -> ShapeReading:
    """Read the shape of an object.

    Args:
        coverage: (H, W) how much of each pixel the object covers, 0..1.
    """
    crop = _normalised(coverage)
    bank = _templates()
    near = np.abs(np.log(bank.areas / coverage.sum()))
    rows = near <= max(float(np.log(AREA_RATIO)), float(near.min()) + 1e-9)
    dots = bank.crops[rows] @ crop
    likeness = dots / (bank.norms[rows] + crop @ crop - dots)
    names = bank.names[rows]
    best = sorted(((float(likeness[names == shape].max(initial=0)), shape) for shape in ALL_SHAPES), reverse=True)
    (top, first), (next_best, second) = best[:2]
    if top < KNOWN:
        return ShapeReading((), top, False)
    limit = MAX_DOUBT_ROUND if {first, second} == ROUND else MAX_DOUBT
    between = (1 - top) > limit * (1 - next_best)
    radius = float(coverage.sum() / unit_areas()[first]) ** 0.5
    clear = top >= CLEAR and (1 - top) * radius <= MAX_EDGE_ERROR and not between
    return ShapeReading((first, second) if between else (first,), top, clear)


def _normalised(coverage: Floats) -> Floats:
    """Resample a coverage map so that its centre and area are standard; unit length, flat."""
    y, x = ndimage.center_of_mass(coverage)
    scale = float(coverage.sum()) ** 0.5
    steps = np.linspace(-_REACH, _REACH, _GRID) * scale
    grid = np.meshgrid(y + steps, x + steps, indexing="ij")
    return np.asarray(ndimage.map_coordinates(coverage, grid, order=1, mode="constant")).ravel()


@dataclass(frozen=True, slots=True, eq=False)
class _Templates:
    """Drawn shapes: names (N,), normalised crops (N, D), their squared lengths (N,), areas in pixels (N,)."""

    names: npt.NDArray[np.str_]
    crops: Floats
    norms: Floats
    areas: Floats


@cache
def _templates() -> _Templates:
    names, rows, areas = [], [], []
    for shape, radius, blur in product(ALL_SHAPES, TEMPLATE_RADII, TEMPLATE_BLURS):
        drawn = ndimage.gaussian_filter(_drawn(shape, radius), blur)
        names.append(shape)
        rows.append(_normalised(drawn))
        areas.append(drawn.sum())
    crops = np.stack(rows)
    return _Templates(np.array(names), crops, (crops**2).sum(axis=1), np.array(areas))


def _drawn(shape: Shape, radius: float) -> Floats:
    item = SceneObject(shape=shape, color="white", x=0.5, y=0.5, radius=radius)
    picture = render_scene(Scene(task="single", background="gray", objects=(item,)), TEMPLATE_SIDE)
    ground, white = BACKGROUNDS["gray"][0], COLORS["white"][0]
    return (np.asarray(picture, dtype=np.float64)[..., 0] - ground) / (white - ground)


@cache
def unit_areas() -> dict[str, float]:
    """Area of each shape in units of its squared radius."""
    return {shape: float(_drawn(shape, 0.4).mean()) / 0.16 for shape in ALL_SHAPES}


@cache
def mass_offsets() -> dict[str, tuple[float, float]]:
    """Where each shape's centre of mass lies from its centre, in units of its radius, as (x, y)."""
    offsets: dict[str, tuple[float, float]] = {}
    for shape in ALL_SHAPES:
        y, x = ndimage.center_of_mass(_drawn(shape, 0.4))
        dx, dy = (((v + 0.5) / TEMPLATE_SIDE - 0.5) / 0.4 for v in (x, y))
        offsets[shape] = (dx, dy)
    return offsets
