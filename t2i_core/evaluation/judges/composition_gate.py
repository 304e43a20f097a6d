"""May the checker judge? It is tried on pictures whose truth is known before it judges a model.

Fresh renders must pass, pictures that differ from their prompt in one thing must fail, and junk must contain nothing. A
ladder of blur and noise says what to expect of soft pictures. Thresholds are tuned on these alone, never on a model.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from t2i_core.evaluation.config import CHECKER_VERSION
from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, wilson
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.samples.scenes import (
    BACKGROUNDS,
    COLORS,
    SHAPES,
    Scene,
    SceneObject,
    Shape,
    Task,
    make_scene,
    render_scene,
)

Picture = npt.NDArray[np.uint8]

MIN_SENSITIVITY, MAX_FALSE_PASS = 0.98, 0.01
NUM_JUNK = 40


@dataclass(frozen=True, slots=True)
class CheckerGate:
    """How the checker did on known truth.

    Attributes:
        version: of the checker.
        sensitivity: share of clean renders that pass, by task.
        false_pass: share of pictures with one thing wrong that pass, by what is wrong.
        junk_accepted: junk pictures in which the checker claims to recognise everything, by kind of junk.
        num_junk: junk pictures tried.
        ladder: share of corrupted renders that pass, by corruption.
    """

    version: str
    sensitivity: dict[str, Estimate]
    false_pass: dict[str, Estimate]
    junk_accepted: dict[str, int]
    num_junk: int
    ladder: dict[str, Estimate]

    @property
    def passed(self) -> bool:
        """Whether the checker may judge."""
        return (
            all(e.value >= MIN_SENSITIVITY for e in self.sensitivity.values())
            and all(e.value <= MAX_FALSE_PASS for e in self.false_pass.values())
            and not any(self.junk_accepted.values())
        )

    def as_dict(self) -> dict[str, Any]:
        """Give the findings by name."""
        names = ("version", "passed", "junk_accepted", "num_junk", "sensitivity", "false_pass", "ladder")
        return {name: getattr(self, name) for name in names}


def check_checker(
    *, num_per_task: int = 50, image_size: int = 64, seed: int = 0, shapes: tuple[Shape, ...] = SHAPES
) -> CheckerGate:
    """Try the checker on fresh renders, on pictures with one thing wrong, on junk and on corrupted renders.

    Args:
        num_per_task: fresh renders a task.
        image_size: side of the pictures in pixels.
        seed: of scenes, edits, junk and corruption.
        shapes: the shapes scenes are drawn with.
    """
    scenes = _scenes(num_per_task, seed, shapes)
    rng = np.random.default_rng(seed)

    def passes(scene: Scene, picture: Picture) -> bool:
        return judge(extract(picture), scene).strict

    sensitivity: dict[str, list[bool]] = defaultdict(list)
    ladder: dict[str, list[bool]] = defaultdict(list)
    false_pass: dict[str, list[bool]] = defaultdict(list)
    for number, scene in enumerate(scenes):
        picture = _render(scene, image_size)
        sensitivity[scene.task].append(passes(scene, picture))
        for name, corrupt in CORRUPTIONS.items():
            ladder[name].append(passes(scene, corrupt(picture, rng)))
        for name, wrong in wrong_scenes(scene, random.Random(f"{seed}:{number}"), shapes):
            false_pass[name].append(passes(scene, _render(wrong, image_size)))
    junk = {
        name: sum(_accepted(draw(image_size, rng)) for _ in range(NUM_JUNK))
        for name, draw in (JUNK | {"average picture": _average_of(scenes)}).items()
    }
    return CheckerGate(
        CHECKER_VERSION, _shares(sensitivity), _shares(false_pass), junk, NUM_JUNK * len(junk), _shares(ladder)
    )


def _shares(table: dict[str, list[bool]]) -> dict[str, Estimate]:
    return {name: wilson(sum(rows), len(rows)) for name, rows in table.items()}


def _scenes(num_per_task: int, seed: int, shapes: tuple[Shape, ...]) -> list[Scene]:
    """Draw equally many scenes a task, from a list of their own that no dataset is made of."""
    wanted: dict[Task, list[Scene]] = {task: [] for task in get_args(Task)}
    index = 0
    while any(len(found) < num_per_task for found in wanted.values()):
        # Datasets use seeds from 0 up; the checker's scenes come from below.
        scene = make_scene(-1 - seed, index, shapes)
        if len(wanted[scene.task]) < num_per_task:
            wanted[scene.task].append(scene)
        index += 1
    return [scene for found in wanted.values() for scene in found]


def _render(scene: Scene, image_size: int) -> Picture:
    return np.asarray(render_scene(scene, image_size))


def _accepted(picture: Picture) -> bool:
    extraction = extract(picture)
    return extraction.sure and bool(extraction.objects)


def wrong_scenes(scene: Scene, rng: random.Random, shapes: tuple[Shape, ...]) -> Iterator[tuple[str, Scene]]:
    """Give scenes that each break the prompt of `scene` in one way, by name."""
    objects = scene.objects
    first = objects[0]
    yield "color changed", _with(scene, first.with_changes(color=_other(rng, COLORS, first.color)), *objects[1:])
    yield "shape changed", _with(scene, first.with_changes(shape=_other(rng, shapes, first.shape)), *objects[1:])
    yield "background changed", scene.with_changes(background=_other(rng, BACKGROUNDS, scene.background))
    corner = SceneObject(shape=first.shape, color=first.color, x=0.11, y=0.11, radius=0.09)
    if all(abs(o.x - 0.11) > o.radius + 0.1 or abs(o.y - 0.11) > o.radius + 0.1 for o in objects):
        yield "object added", _with(scene, *objects, corner)
    if len(objects) > 1:
        yield "object removed", _with(scene, *objects[:-1])
    if len(objects) == 2 and scene.task != "counting":
        second = objects[1]
        if first.color != second.color and first.shape != second.shape:
            swapped = first.with_changes(color=second.color), second.with_changes(color=first.color)
            yield "colors swapped", _with(scene, *swapped)
    if scene.relation:
        yield "relation mirrored", _with(scene, *(o.with_changes(x=1 - o.x, y=1 - o.y) for o in objects))


def _with(scene: Scene, *objects: SceneObject) -> Scene:
    return scene.with_changes(objects=[o.model_dump() for o in objects])


def _other(rng: random.Random, names: Iterable[str], but: str) -> str:
    return rng.choice([name for name in names if name != but])


def _blur(sigma: float) -> Callable[[Picture, np.random.Generator], Picture]:
    return lambda picture, _: np.asarray(
        np.rint(ndimage.gaussian_filter(picture.astype(np.float64), (sigma, sigma, 0))), dtype=np.uint8
    )


def _noise(sigma: float) -> Callable[[Picture, np.random.Generator], Picture]:
    return lambda picture, rng: np.clip(picture + rng.normal(0, sigma, picture.shape), 0, 255).astype(np.uint8)


CORRUPTIONS = {
    "blur 0.6 px": _blur(0.6),
    "blur 1 px": _blur(1.0),
    "blur 1.5 px": _blur(1.5),
    "noise 8": _noise(8),
    "noise 16": _noise(16),
    "noise 32": _noise(32),
}


def _white_noise(size: int, rng: np.random.Generator) -> Picture:
    return rng.integers(0, 256, (size, size, 3), dtype=np.uint8)


def _clouds(size: int, rng: np.random.Generator) -> Picture:
    field = ndimage.gaussian_filter(rng.normal(size=(size, size, 3)), (size / 16, size / 16, 0))
    return np.asarray(255 * (field - field.min()) / np.ptp(field), dtype=np.uint8)


def _gradient(size: int, rng: np.random.Generator) -> Picture:
    ramp = np.linspace(0, 1, size)[:, None, None]
    start, end = rng.uniform(0, 255, (2, 3))
    return np.broadcast_to(start * (1 - ramp) + end * ramp, (size, size, 3)).astype(np.uint8)


def _two_colored(size: int, rng: np.random.Generator) -> Picture:
    """Draw one disc with two halves of different color."""
    picture = np.full((size, size, 3), list(BACKGROUNDS.values())[rng.integers(len(BACKGROUNDS))], dtype=np.uint8)
    y, x = np.mgrid[:size, :size] / size - 0.5
    disc = x**2 + y**2 < rng.uniform(0.15, 0.25) ** 2
    left, right = rng.choice(list(COLORS.values()), size=2, replace=False)
    picture[disc & (x < 0)], picture[disc & (x >= 0)] = left, right
    return picture


JUNK = {"white noise": _white_noise, "clouds": _clouds, "gradients": _gradient, "two-colored blobs": _two_colored}


def _average_of(scenes: list[Scene]) -> Callable[[int, np.random.Generator], Picture]:
    def draw(size: int, rng: np.random.Generator) -> Picture:
        picked = rng.choice(len(scenes), size=8, replace=False)
        mean = np.mean([_render(scenes[i], size) for i in picked], axis=0)
        return np.asarray(mean, dtype=np.uint8)

    return draw
