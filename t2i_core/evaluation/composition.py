"""The prompt-blind checker: what does a picture show, and is that what the prompt asked for?

`extract` looks at pixels only and lists the flat objects it finds on a plain background; `judge` compares that list
with a scene's specification and never sees the picture. Whatever is soft, merged or two-coloured comes out as *unsure*
with a reason, and unsure never passes: the checker under-reports rather than flatters.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from t2i_core.errors import DataError
from t2i_core.samples.scenes import BACKGROUNDS, COLORS, RADII, Relation, Scene, SceneObject, Shape, render_scene

CHECKER_VERSION = "composition-1"

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Unsure = Literal["too small", "cut off", "no clear color", "two colors", "no clear shape"]
Outcome = Literal["pass", "fail", "unsure"]

ALL_SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "cross", "star", "heart")

# Pictures are looked at with at most this many pixels a side; larger ones are averaged down.
WORKING_SIDE = 64
# Distances in CIELAB.
FOREGROUND_DISTANCE, BORDER_DISTANCE, BACKGROUND_RADIUS, COLOR_RADIUS, CORE_SPREAD = 14.0, 12.0, 18.0, 24.0, 22.0
# Shares: of the border that must agree, of an object's core that must agree, nearest color against runner-up.
BORDER_SHARE, CORE_SHARE, COLOR_RATIO = 0.9, 0.85, 0.75
# Areas as shares of the picture: specks are ignored, what is smaller than an object is "too small".
SPECK_AREA, OBJECT_AREA = 0.002, 0.008
# Likeness (0..1) that a shape must reach, and its lead over the next shape.
SHAPE_LIKENESS, SHAPE_LEAD = 0.87, 0.02
# A border noisier than this (standard deviation, 0..255) is smoothed first.
NOISE_LEVEL = 5.0
DEAD_ZONE = 0.15
# Share of pictures that the checker could not tell: above the first a score needs a grain of salt, above the second it
# says more about the checker than about the model.
UNSURE_WARN, UNSURE_BAD = 0.05, 0.25
# Radii half-way between the sizes that scenes are drawn with.
SMALL_BELOW = (RADII["small"][1] + RADII["medium"][0]) / 2
LARGE_ABOVE = (RADII["medium"][1] + RADII["large"][0]) / 2
_GRID, _REACH = 28, 1.15


@dataclass(frozen=True, slots=True)
class Found:
    """One object found in a picture.

    Attributes:
        color: palette name, or None when no palette color is clearly nearest.
        shape: shape name, or None when no shape fits clearly.
        x: centre from the left, as a fraction of the side.
        y: centre from the top, as a fraction of the side.
        radius: half-extent as a fraction of the side (of the shape with the object's area, where the shape is known).
        area: share of the picture.
        likeness: how well the best shape fits, 0..1.
        unsure: why color or shape is not told, or None.
    """

    color: str | None
    shape: str | None
    x: float
    y: float
    radius: float
    area: float
    likeness: float
    unsure: Unsure | None

    @property
    def kind(self) -> tuple[str | None, str | None]:
        """Color and shape."""
        return self.color, self.shape

    def __str__(self) -> str:
        return f"{self.color or 'unclear'} {self.shape or 'thing'}"


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


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a picture compares with a scene.

    Attributes:
        atoms: outcome by atom name; only the atoms that the prompt speaks of.
        strict: every atom passes, and nothing else is in the picture.
        lenient: the named objects are there as told; extra objects (but for counting) and background are ignored.
        reason: "" when strict, else the first atom that failed and what was seen.
    """

    atoms: dict[str, Outcome]
    strict: bool
    lenient: bool
    reason: str

    @property
    def unsure(self) -> bool:
        """Whether the checker could not tell."""
        return "unsure" in self.atoms.values()

    @property
    def outcome(self) -> Outcome:
        """The verdict in one word."""
        return "pass" if self.strict else "unsure" if self.unsure else "fail"


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
    objects = [_describe(region, pixels, lab, ground_rgb) for region in _regions(distance)]
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


def _describe(mask: Bools, pixels: Floats, lab: Floats, ground_rgb: Floats) -> Found:
    """Name the color and the shape of one region."""
    core = _core(mask)
    core_lab = np.median(lab[core], axis=0)
    color = _nearest(core_lab, _color_labs(), COLOR_RADIUS)
    agreeing = float(np.mean(np.linalg.norm(lab[core] - core_lab, axis=1) < CORE_SPREAD))
    coverage = _coverage(mask, pixels, ground_rgb, np.median(pixels[core], axis=0))
    total = float(coverage.sum())
    shape, likeness = _name_shape(coverage)
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
    elif shape is None:
        unsure = "no clear shape"
    unit = _unit_areas()[shape] if shape else 4.0
    centre_x, centre_y = _true_centre(shape, (x + 0.5) / width, (y + 0.5) / height, (area / unit) ** 0.5)
    return Found(color, shape, centre_x, centre_y, (area / unit) ** 0.5, area, likeness, unsure)


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


def _normalised(coverage: Floats) -> Floats:
    """Resample a coverage map so that its centre and area are standard; unit length, flat."""
    y, x = ndimage.center_of_mass(coverage)
    scale = float(coverage.sum()) ** 0.5
    steps = np.linspace(-_REACH, _REACH, _GRID) * scale
    grid = np.meshgrid(y + steps, x + steps, indexing="ij")
    return np.asarray(ndimage.map_coordinates(coverage, grid, order=1, mode="constant")).ravel()


def _name_shape(coverage: Floats) -> tuple[str | None, float]:
    """Name the shape whose templates are most alike (Tanimoto, a soft intersection over union)."""
    crop = _normalised(coverage)
    names, bank, norms = _templates()
    dots = bank @ crop
    likeness = dots / (norms + crop @ crop - dots)
    best = sorted(((float(likeness[names == shape].max()), shape) for shape in ALL_SHAPES), reverse=True)
    (top, name), (second, _) = best[:2]
    return (name if top >= SHAPE_LIKENESS and top - second >= SHAPE_LEAD else None), top


@cache
def _templates() -> tuple[npt.NDArray[np.str_], Floats, Floats]:
    """Draw every shape at several sizes and softnesses, normalised like a crop."""
    names, rows = [], []
    for shape, radius, blur in product(ALL_SHAPES, (0.10, 0.13, 0.18, 0.25), (0.0, 0.8, 1.3)):
        names.append(shape)
        rows.append(_normalised(ndimage.gaussian_filter(_drawn(shape, radius), blur)))
    bank = np.stack(rows)
    return np.array(names), bank, (bank**2).sum(axis=1)


def _drawn(shape: Shape, radius: float) -> Floats:
    item = SceneObject(shape=shape, color="white", x=0.5, y=0.5, radius=radius)
    picture = render_scene(Scene(task="single", background="gray", objects=(item,)), WORKING_SIDE)
    ground, white = BACKGROUNDS["gray"][0], COLORS["white"][0]
    return (np.asarray(picture, dtype=np.float64)[..., 0] - ground) / (white - ground)


@cache
def _unit_areas() -> dict[str, float]:
    """Area of each shape in units of its squared radius."""
    return {shape: float(_drawn(shape, 0.4).mean()) / 0.16 for shape in ALL_SHAPES}


@cache
def _mass_offsets() -> dict[str, tuple[float, float]]:
    """Where each shape's centre of mass lies from its centre, in units of its radius, as (x, y)."""
    offsets: dict[str, tuple[float, float]] = {}
    for shape in ALL_SHAPES:
        y, x = ndimage.center_of_mass(_drawn(shape, 0.4))
        dx, dy = (((v + 0.5) / WORKING_SIDE - 0.5) / 0.4 for v in (x, y))
        offsets[shape] = (dx, dy)
    return offsets


def _true_centre(shape: str | None, x: float, y: float, radius: float) -> tuple[float, float]:
    dx, dy = _mass_offsets()[shape] if shape else (0.0, 0.0)
    return x - dx * radius, y - dy * radius


def judge(extraction: Extraction, scene: Scene) -> Verdict:
    """Compare what a picture shows with what the prompt of `scene` asks for."""
    seen, wanted = extraction.objects, scene.objects
    checks: dict[str, bool] = {
        "shape": _contains((o.shape for o in seen), (o.shape for o in wanted)),
        "color": _contains((o.color for o in seen), (o.color for o in wanted)),
        "binding": _contains((o.kind for o in seen), ((o.color, o.shape) for o in wanted)),
    }
    if scene.task == "counting":
        kind = (wanted[0].color, wanted[0].shape)
        checks["count"] = sum(o.kind == kind for o in seen) == len(wanted)
    if scene.relation:
        first, second = ((o.color, o.shape) for o in wanted)
        checks["relation"] = any(
            holds(scene.relation, a, b) for a in seen if a.kind == first for b in seen if b.kind == second
        )
    if any(o.size != "medium" for o in wanted):
        checks["size"] = all(any(_has_size(f, o) for f in seen) for o in wanted)
    lenient = all(checks.values())
    checks["background"] = extraction.background == scene.background
    checks["nothing_else"] = len(seen) == len(wanted)
    doubt: Outcome = "fail" if extraction.sure else "unsure"
    atoms: dict[str, Outcome] = {name: "pass" if ok else doubt for name, ok in checks.items()}
    strict = extraction.sure and all(checks.values())
    return Verdict(atoms, strict, lenient and not extraction.refused, "" if strict else _reason(extraction, atoms))


def holds(relation: Relation, first: Found, second: Found) -> bool:
    """Say whether `first` is clearly left of, right of, above or below `second`: dominant axis, outside a dead zone."""
    dx, dy = second.x - first.x, second.y - first.y
    along, across = (dx, dy) if relation in ("left of", "right of") else (dy, dx)
    forward = along if relation in ("left of", "above") else -along
    return forward > DEAD_ZONE and abs(along) > abs(across)


def _contains(seen: Iterable[object], wanted: Iterable[object]) -> bool:
    return Counter(wanted) <= Counter(seen)


def _has_size(found: Found, wanted: SceneObject) -> bool:
    if found.kind != (wanted.color, wanted.shape):
        return False
    if wanted.size == "small":
        return found.radius < SMALL_BELOW
    return wanted.size != "large" or found.radius > LARGE_ABOVE


def _reason(extraction: Extraction, atoms: dict[str, Outcome]) -> str:
    if extraction.refused:
        return extraction.refused
    doubts = Counter(f"{o}: {o.unsure}" for o in extraction.objects if o.unsure)
    if doubts:
        return f"unsure ({'; '.join(f'{n} × {text}' if n > 1 else text for text, n in doubts.items())})"
    wrong = next(name for name, outcome in atoms.items() if outcome != "pass")
    return f"wrong {wrong.replace('_', ' ')}: shows {extraction}"
