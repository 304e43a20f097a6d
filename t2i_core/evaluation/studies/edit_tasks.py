"""What real pictures of two objects are to be changed to, so that the truth is known, and how wrong a change is."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.metrics.benchmark import Prompt
from t2i_core.evaluation.metrics.evidence import Evidence, Pictures
from t2i_core.samples.scenes import COLORS, SHAPES, Scene, SceneObject, caption_scene, render_scene

Mask = npt.NDArray[np.bool_]

NUM_SCENES = 48
# Around an object, in shares of the side, so that none of its edge is left.
MARGIN = 0.04
# Pixels along the inside of a mask's border.
BORDER = 2


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """A part of a picture to be drawn anew.

    Attributes:
        picture: (H, W, 3) uint8, real.
        shows: its caption.
        redraw: (H, W) bool.
        wanted: the scene that the picture is to show then.
    """

    picture: Pictures
    shows: str
    redraw: Mask
    wanted: Scene

    @property
    def ideal(self) -> Pictures:
        """What would be right to the pixel, but for what the prompt leaves open."""
        return np.asarray(render_scene(self.wanted, self.picture.shape[0]))

    @property
    def text(self) -> str:
        """What is asked for."""
        return caption_scene(self.wanted)


def pairs_of(evidence: Evidence) -> list[tuple[Prompt, Scene, np.random.Generator]]:
    """Choose real pictures of two objects, each with its scene and with chance of its own."""
    found = [(p, p.scene) for p in evidence.benchmark.prompts if p.scene and p.scene.task in ("pair", "position")]
    seed = evidence.config.seed
    return [(p, scene, np.random.default_rng([seed, i])) for i, (p, scene) in enumerate(found[:NUM_SCENES])]


def tasks_of(evidence: Evidence) -> list[Task]:
    """Have one object of each real picture of two be another one: by the picture's number."""
    return [_task(prompt, scene, number % 2, rng) for number, (prompt, scene, rng) in enumerate(pairs_of(evidence))]


def turns_of(evidence: Evidence, num_turns: int) -> list[list[Task]]:
    """Have the objects of each real picture of two be others in turn, each on what came of the last."""
    turns = []
    for prompt, scene, rng in pairs_of(evidence):
        tasks: list[Task] = []
        for number in range(num_turns):
            tasks.append(_task(prompt, tasks[-1].wanted if tasks else scene, number % 2, rng))
        turns.append(tasks)
    return turns


def halves_of(evidence: Evidence) -> list[Task]:
    """Cut a half with an object in it off each real picture of two, which lie in opposite halves."""
    tasks = []
    for number, (prompt, scene, _) in enumerate(pairs_of(evidence)):
        gone, kept = scene.objects[number % 2], scene.objects[1 - number % 2]
        side, beside = prompt.real.shape[0], abs(gone.x - kept.x) > abs(gone.y - kept.y)
        later = gone.x > kept.x if beside else gone.y > kept.y
        line = (np.arange(side) >= side // 2) == later
        redraw = np.broadcast_to(line if beside else line[:, None], (side, side)).copy()
        tasks.append(Task(prompt.real, prompt.text, redraw, scene))
    return tasks


def _task(prompt: Prompt, scene: Scene, which: int, rng: np.random.Generator) -> Task:
    old, taken = scene.objects[which], {(item.color, item.shape) for item in scene.objects}
    kinds = [(c, s) for c in COLORS for s in SHAPES if (c, s) not in taken]
    color, shape = kinds[rng.integers(len(kinds))]
    objects = list(scene.objects)
    objects[which] = SceneObject.parse(old.model_dump() | {"color": color, "shape": shape})
    redraw = around(old, prompt.real.shape[0])
    return Task(prompt.real, prompt.text, redraw, scene.with_changes(objects=objects))


def around(item: SceneObject, side: int) -> Mask:
    """Give a box with an object in it: (side, side) bool."""
    reach = item.radius + MARGIN
    mask = np.zeros((side, side), bool)
    top, bottom = (int(np.clip(round(side * (item.y + sign * reach)), 0, side)) for sign in (-1, 1))
    left, right = (int(np.clip(round(side * (item.x + sign * reach)), 0, side)) for sign in (-1, 1))
    mask[top:bottom, left:right] = True
    return mask


def edge_of(drawn: Pictures, wanted: Pictures, redraw: Mask) -> float:
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
