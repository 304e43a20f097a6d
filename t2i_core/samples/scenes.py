"""Procedural scenes with exact truth: one to three flat objects on a plain background.

A `Scene` is a specification; its picture and its caption both follow from it, so whoever has the specification knows
exactly what a picture of the caption must show. Positions and radii are fractions of the picture's side.
"""

import math
import random
import re
from collections.abc import Iterator
from itertools import count, islice
from typing import Literal, get_args

from PIL import Image, ImageDraw

from t2i_core.config import Config

Color = Literal["red", "green", "blue", "yellow", "purple", "orange", "black", "white"]
Shape = Literal["circle", "square", "triangle", "cross", "star", "heart"]
Background = Literal["gray", "pink", "teal"]
Relation = Literal["left of", "right of", "above", "below"]
Size = Literal["small", "medium", "large"]
Task = Literal["single", "pair", "position", "counting"]

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 30),
    "green": (30, 160, 50),
    "blue": (35, 70, 220),
    "yellow": (245, 215, 40),
    "purple": (130, 40, 170),
    "orange": (245, 130, 25),
    "black": (15, 15, 15),
    "white": (250, 250, 250),
}
BACKGROUNDS: dict[str, tuple[int, int, int]] = {"gray": (128, 128, 128), "pink": (245, 160, 190), "teal": (0, 128, 128)}
SHAPES: tuple[Shape, ...] = ("circle", "square", "triangle", "cross")
RELATIONS: tuple[Relation, ...] = get_args(Relation)
# As people write: "left of" and "above" are said more often than their opposites, and "A and B" lists in reading order.
# Were both sides equally likely, who comes first in the caption would say nothing about the picture until the relation
# word is understood too, and gradient descent is very slow to find such a pair of clues at once.
RELATION_WEIGHTS = (2, 1, 2, 1)
READING_ORDER: tuple[Relation, ...] = ("left of", "above")
OPPOSITE: dict[str, Relation] = {"left of": "right of", "right of": "left of", "above": "below", "below": "above"}
NUMBERS = {1: "one", 2: "two", 3: "three"}

# Half-extents of objects, as (smallest, largest).
RADII: dict[Size, tuple[float, float]] = {"small": (0.15, 0.17), "medium": (0.21, 0.24), "large": (0.28, 0.31)}
PAIR_RADII = (0.16, 0.19)
TRIPLE_RADII = (0.15, 0.17)
# Pairs sit on opposite halves with at least a tenth of the side between them, so that neighbours never touch.
SINGLE_JITTER = 0.05
PAIR_OFFSET, PAIR_JITTER, ACROSS_JITTER = 0.25, 0.02, 0.05

TASK_SHARES: dict[Task, float] = {"single": 0.42, "pair": 0.10, "position": 0.30, "counting": 0.18}
WORDINGS = ("{things} on a {background} background",) * 7 + (
    "this shows {things} on a {background} background",
    "a picture of {things} on a {background} background",
    "{things}, {background} background",
)


class SceneObject(Config):
    """One flat object; (x, y) is its centre, `radius` half its extent, all as fractions of the side."""

    shape: Shape
    color: Color
    size: Size = "medium"
    x: float
    y: float
    radius: float


class Scene(Config):
    """The exact specification of one picture."""

    task: Task
    background: Background
    objects: tuple[SceneObject, ...]
    relation: Relation | None = None

    @property
    def combination(self) -> str:
        """What the picture shows, whatever the layout, the wording or which object is named first."""
        names = [f"{o.size} {o.color} {o.shape}".removeprefix("medium ") for o in self.objects]
        if self.relation in ("right of", "below"):
            return f"{names[1]} {OPPOSITE[self.relation]} {names[0]} on {self.background}"
        joint = f" {self.relation} " if self.relation else " and "
        return f"{joint.join(names if self.relation else sorted(names))} on {self.background}"


def make_scene(seed: int, index: int, shapes: tuple[Shape, ...] = SHAPES) -> Scene:
    """Draw scene number `index` of the endless list that `seed` names."""
    rng = random.Random(f"scene:{seed}:{index}")
    task = rng.choices(list(TASK_SHARES), weights=list(TASK_SHARES.values()))[0]
    background: Background = rng.choice(get_args(Background))
    match task:
        case "single":
            objects, relation = _single(rng, shapes), None
        case "counting":
            objects, relation = _counted(rng, shapes), None
        case _:
            relation = rng.choices(RELATIONS, RELATION_WEIGHTS)[0] if task == "position" else rng.choice(READING_ORDER)
            objects = _related(rng, shapes, relation)
    return Scene(task=task, background=background, objects=objects, relation=relation if task == "position" else None)


def _kind(rng: random.Random, shapes: tuple[Shape, ...]) -> tuple[Shape, Color]:
    return rng.choice(shapes), rng.choice(get_args(Color))


def _single(rng: random.Random, shapes: tuple[Shape, ...]) -> tuple[SceneObject, ...]:
    shape, color = _kind(rng, shapes)
    size: Size = rng.choices(get_args(Size), weights=(1, 2, 1))[0]
    x, y = (round(0.5 + rng.uniform(-SINGLE_JITTER, SINGLE_JITTER), 4) for _ in range(2))
    return (SceneObject(shape=shape, color=color, size=size, x=x, y=y, radius=_radius(rng, RADII[size])),)


def _related(rng: random.Random, shapes: tuple[Shape, ...], relation: Relation) -> tuple[SceneObject, ...]:
    first = _kind(rng, shapes)
    second = _kind(rng, shapes)
    while second == first:
        second = _kind(rng, shapes)
    sign = -1 if relation in ("left of", "above") else 1
    across = 0.5 + rng.uniform(-ACROSS_JITTER, ACROSS_JITTER)
    objects = []
    for (shape, color), side in ((first, sign), (second, -sign)):
        along = 0.5 + side * PAIR_OFFSET + rng.uniform(-PAIR_JITTER, PAIR_JITTER)
        here = across + rng.uniform(-PAIR_JITTER, PAIR_JITTER)
        x, y = (along, here) if relation in ("left of", "right of") else (here, along)
        radius = _radius(rng, PAIR_RADII)
        objects.append(SceneObject(shape=shape, color=color, x=round(x, 4), y=round(y, 4), radius=radius))
    return tuple(objects)


def _counted(rng: random.Random, shapes: tuple[Shape, ...]) -> tuple[SceneObject, ...]:
    shape, color = _kind(rng, shapes)
    offset = PAIR_OFFSET
    centres = rng.choice(
        (
            ((0.5 - offset, 0.5), (0.5 + offset, 0.5)),
            ((0.5, 0.5 - offset), (0.5, 0.5 + offset)),
            ((0.5, 0.27), (0.26, 0.72), (0.74, 0.72)),
            ((0.5, 0.73), (0.26, 0.28), (0.74, 0.28)),
        )
    )
    radius = _radius(rng, PAIR_RADII if len(centres) == 2 else TRIPLE_RADII)
    jitter = PAIR_JITTER
    return tuple(
        SceneObject(
            shape=shape,
            color=color,
            x=round(x + rng.uniform(-jitter, jitter), 4),
            y=round(y + rng.uniform(-jitter, jitter), 4),
            radius=radius,
        )
        for x, y in centres
    )


def _radius(rng: random.Random, bounds: tuple[float, float]) -> float:
    return round(rng.uniform(*bounds), 4)


def laid_out_anew(scene: Scene, seed: int, number: int) -> Iterator[Scene]:
    """Give so many scenes of the same words, whose objects lie where those of other scenes do."""
    told = _told_of_layout(scene)
    drawn = (make_scene(seed, index) for index in count())
    for other in islice((other for other in drawn if _told_of_layout(other) == told), number):
        pairs = zip(other.objects, scene.objects, strict=True)
        objects = [place.with_changes(color=item.color, shape=item.shape) for place, item in pairs]
        yield other.with_changes(background=scene.background, objects=objects)


def _told_of_layout(scene: Scene) -> tuple[Task, Relation | None, tuple[Size, ...]]:
    return scene.task, scene.relation, tuple(item.size for item in scene.objects)


def caption_scene(scene: Scene, wording: str = WORDINGS[0]) -> str:
    """Say in words what the scene shows."""
    first = scene.objects[0]
    if scene.task == "single":
        size = "" if first.size == "medium" else f"{first.size} "
        things = f"a {size}{first.color} {first.shape}"
    elif scene.task == "counting":
        things = f"{NUMBERS[len(scene.objects)]} {first.color} {plural(first.shape)}"
    else:
        things = f" {scene.relation or 'and'} ".join(f"a {o.color} {o.shape}" for o in scene.objects)
    return with_articles(wording.format(things=things, background=scene.background))


def plural(noun: str) -> str:
    """Give the plural of a noun, whose last word says what it is."""
    return f"{noun}es" if noun.endswith(("s", "x")) else f"{noun}s"


def with_articles(text: str) -> str:
    """Write an for a before a vowel."""
    return re.sub(r"\ba (?=[aeiou])", "an ", text)


def pick_wording(seed: int, index: int) -> str:
    """Choose the wording of caption number `index`: mostly the plain one."""
    return random.Random(f"wording:{seed}:{index}").choice(WORDINGS)


def render_scene(scene: Scene, image_size: int = 64, oversample: int = 4) -> Image.Image:
    """Draw the scene as an RGB picture of `image_size` pixels a side, edges smoothed by oversampling."""
    side = image_size * oversample
    canvas = Image.new("RGB", (side, side), BACKGROUNDS[scene.background])
    draw = ImageDraw.Draw(canvas)
    for item in scene.objects:
        _draw_object(draw, item, side)
    return canvas.reduce(oversample)


def _draw_object(draw: ImageDraw.ImageDraw, item: SceneObject, side: int) -> None:
    fill = COLORS[item.color]
    if item.shape == "circle":
        draw.ellipse(_box(item, side), fill=fill)
    else:
        corners = [
            (side * (item.x + item.radius * dx), side * (item.y + item.radius * dy)) for dx, dy in OUTLINES[item.shape]
        ]
        draw.polygon(corners, fill=fill)


def _box(item: SceneObject, side: int) -> tuple[float, float, float, float]:
    x, y, r = item.x, item.y, item.radius
    return side * (x - r), side * (y - r), side * (x + r), side * (y + r)


def _cross(arm: float = 0.34) -> list[tuple[float, float]]:
    quarter = [(arm, -1.0), (arm, -arm), (1.0, -arm)]
    points = []
    for _ in range(4):
        points += quarter
        quarter = [(-y, x) for x, y in quarter]
    return points


def _star() -> list[tuple[float, float]]:
    points = []
    for i in range(10):
        reach, angle = (1.0 if i % 2 == 0 else 0.42), math.pi * (i / 5 - 0.5)
        points.append((reach * math.cos(angle), reach * math.sin(angle)))
    return points


def _heart() -> list[tuple[float, float]]:
    points = []
    for i in range(48):
        a = 2 * math.pi * i / 48
        y = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
        points.append((math.sin(a) ** 3, -(y + 2.5) / 15))
    return points


# Corner points in units of the radius, y downwards.
OUTLINES: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)],
    "triangle": [(0.0, -0.95), (1.0, 0.85), (-1.0, 0.85)],
    "cross": _cross(),
    "star": _star(),
    "heart": _heart(),
}
