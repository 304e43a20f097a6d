"""Do edits do what they are asked? An object replaced, a prompt followed from a picture, a picture found again."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.judges.composition import extract
from t2i_core.evaluation.judges.statistics import Estimate, mean_by_prompt, share_by_prompt
from t2i_core.evaluation.judges.verdict import judge
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.evaluation.metrics.section import Block, Chart, Figure, Group, Level, Picture, Section, Text
from t2i_core.evaluation.metrics.section import Pictures as Strip
from t2i_core.generation.asked import image_seed
from t2i_core.generation.edits.canvas import psnrs, veiled
from t2i_core.generation.edits.inversion import drawn_from, inverted
from t2i_core.generation.generator import Generator
from t2i_core.generation.given import Given
from t2i_core.samples.scenes import COLORS, SHAPES, Scene, SceneObject, caption_scene, render_scene

TITLE = "Edits"
NUM_SCENES, NUM_SHOWN, NUM_INVERTED, INVERSION_STEPS = 48, 4, 8, 50
STRENGTHS = (0.2, 0.4, 0.6, 0.8, 1.0)
# Around an object, in shares of the side, so that none of its edge is left.
MARGIN = 0.04
# Pixels along the inside of a mask's border.
BORDER = 2
LEAD = (
    "Real held-out pictures of two objects. Replaced: one object is masked with a margin and drawn anew as another "
    "one; right only if everything in the new scene is, and nothing else is there. Edge: how wrong the two pixels "
    "along the inside of the mask's border are, in errors further inside; up to 1 there is no seam. Image-to-image: "
    "the same new prompt without a mask, from the picture, by strength."
)


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """An object to be replaced.

    Attributes:
        picture: (H, W, 3) uint8, real.
        shows: its caption.
        redraw: (H, W) bool.
        wanted: the scene with another object in that place.
    """

    picture: Pictures
    shows: str
    redraw: npt.NDArray[np.bool_]
    wanted: Scene

    @property
    def ideal(self) -> Pictures:
        """What would be right to the pixel, but for what the prompt leaves open."""
        return np.asarray(render_scene(self.wanted, self.picture.shape[0]))

    @property
    def text(self) -> str:
        """What is asked for."""
        return caption_scene(self.wanted)


def study(evidence: Evidence, generator: Generator) -> Section:
    """Replace objects of real pictures, go from them to other prompts, and find them again."""
    tasks = tasks_of(evidence)
    if not tasks:
        return Section(
            title=TITLE, key="edits", not_scored=["Edits: the data has no pictures of two objects to change."]
        )
    how = evidence.resampling
    replaced = np.concatenate(
        [_drawn(evidence, generator, task, Given(task.picture[None], task.redraw)) for task in tasks]
    )
    right = share_by_prompt(_right(replaced, tasks), **how)
    edges = [edge_of(p, task.ideal, task.redraw) for p, task in zip(replaced, tasks, strict=True)]
    edge = mean_by_prompt(np.array(edges), **how)
    figures = [Figure("objects replaced rightly", right, "in real pictures, everything else kept to the byte")]
    data: dict[str, Any] = {"replaced": right, "edge": edge}
    blocks: list[Block] = [
        Text(LEAD, quiet=True),
        Text(f"Replaced rightly: {right.value:.2f} [{right.low:.2f}, {right.high:.2f}]. Edge: {edge.value:.2f}."),
        Strip(
            "Replaced", [("", "", [_shown(p, task) for p, task in list(zip(replaced, tasks, strict=True))[:NUM_SHOWN]])]
        ),
    ]
    curve, strip = _by_strength(evidence, generator, tasks)
    blocks += [curve[0], Strip("Image to image, strength 0 to 1", [(tasks[0].text, "", [strip])])]
    data["image_to_image"] = curve[1]
    if generator.factor == 1:
        data["inversion"] = _inversion(evidence, generator, tasks)
        blocks.append(Text(f"Inversion, {INVERSION_STEPS} steps there and back: {data['inversion'].value:.1f} dB."))
    return Section(title=TITLE, key="edits", figures=figures, blocks=blocks, data=data)


def tasks_of(evidence: Evidence) -> list[Task]:
    """Choose an object of each real picture of two, and what is to take its place: by the picture's number."""
    chosen = [
        p for p in evidence.benchmark.prompts if p.scene and len(p.scene.objects) == 2 and p.scene.task != "counting"
    ]
    tasks = []
    for number, prompt in enumerate(chosen[:NUM_SCENES]):
        assert prompt.scene is not None
        rng, which = np.random.default_rng([evidence.config.seed, number]), number % 2
        old, other = prompt.scene.objects[which], prompt.scene.objects[1 - which]
        kinds = [
            (c, s) for c in COLORS for s in SHAPES if (c, s) not in ((old.color, old.shape), (other.color, other.shape))
        ]
        color, shape = kinds[rng.integers(len(kinds))]
        objects = list(prompt.scene.objects)
        objects[which] = SceneObject.parse(old.model_dump() | {"color": color, "shape": shape})
        wanted = prompt.scene.with_changes(objects=objects)
        tasks.append(Task(prompt.real, prompt.text, around(old, prompt.real.shape[0]), wanted))
    return tasks


def around(item: SceneObject, side: int) -> npt.NDArray[np.bool_]:
    """Give a box with an object in it: (side, side) bool."""
    reach = item.radius + MARGIN
    mask = np.zeros((side, side), bool)
    top, bottom = (int(np.clip(round(side * (item.y + sign * reach)), 0, side)) for sign in (-1, 1))
    left, right = (int(np.clip(round(side * (item.x + sign * reach)), 0, side)) for sign in (-1, 1))
    mask[top:bottom, left:right] = True
    return mask


def edge_of(drawn: Pictures, wanted: Pictures, redraw: npt.NDArray[np.bool_]) -> float:
    """Compare how wrong a drawing is along the border of a mask with how wrong it is further inside.

    Both get half a gray level, so that where nearly nothing is wrong a little more is no wonder.

    Args:
        drawn: (H, W, 3) uint8.
        wanted: the picture that would be right, likewise.
        redraw: (H, W) bool, what was drawn anew.
    """
    errors = np.abs(drawn.astype(np.float64) - wanted).mean(axis=2)
    inside = redraw.copy()
    for _ in range(BORDER):
        padded = np.pad(inside, 1)
        inside &= padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    along = redraw & ~inside
    if not along.any() or not inside.any():
        return 1.0
    return float((errors[along].mean() + 0.5) / (errors[inside].mean() + 0.5))


def _drawn(evidence: Evidence, generator: Generator, task: Task, given: Given) -> Pictures:
    seed = image_seed(evidence.config.seed, task.text, 0)
    return generator.generate([task.text], [seed], evidence.config, given)


def _right(pictures: Pictures, tasks: list[Task]) -> list[list[float]]:
    return [[float(judge(extract(p), task.wanted).strict)] for p, task in zip(pictures, tasks, strict=True)]


def _by_strength(
    evidence: Evidence, generator: Generator, tasks: list[Task]
) -> tuple[tuple[Chart, dict[str, dict[str, float]]], Group]:
    """Go from pictures to their new prompts: how far they move, and how often what is asked for is there."""
    some, moved, right = tasks[: NUM_SCENES // 3], [0.0], [0.0]
    shown = [Picture(some[0].picture, "real picture", "0")]
    for strength in STRENGTHS:
        drawn = [_drawn(evidence, generator, task, Given(task.picture[None], strength=strength))[0] for task in some]
        moved.append(
            float(np.mean([np.abs(p.astype(int) - t.picture).mean() for p, t in zip(drawn, some, strict=True)]))
        )
        right.append(float(np.mean(_right(np.stack(drawn), some))))
        shown.append(Picture(drawn[0], f"strength {strength}", f"{strength:g}"))
    at = [0.0, *STRENGTHS]
    lines = {"right, share": (at, right), "distance, of its end": (at, [m / max(moved[-1], 1e-9) for m in moved])}
    data = {f"{s:g}": {"distance": m, "strict": r} for s, m, r in zip(at, moved, right, strict=True)}
    return (Chart("Image to image", "strength", lines=lines), data), Group(shown)


def _inversion(evidence: Evidence, generator: Generator, tasks: list[Task]) -> Estimate:
    config = evidence.config.with_changes(steps=INVERSION_STEPS)
    some = tasks[:NUM_INVERTED]
    found = [inverted(generator, task.picture, task.shows, config, iterations=3) for task in some]
    again = [drawn_from(generator, noise, task.shows, config)[0] for noise, task in zip(found, some, strict=True)]
    return mean_by_prompt(psnrs(np.stack(again), np.stack([t.picture for t in some])), **evidence.resampling)


def _shown(drawn: Pictures, task: Task) -> Group:
    verdict = judge(extract(drawn), task.wanted)
    level: Level = "good" if verdict.strict else "warn" if verdict.unsure else "bad"
    return Group(
        [
            Picture(task.picture, "real picture"),
            Picture(veiled(task.picture, task.redraw), "what is drawn anew"),
            Picture(drawn, task.text, level=level),
        ],
        caption=task.text,
    )
