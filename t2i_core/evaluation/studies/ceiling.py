"""How much of a scene can be read from embeddings of a CLIP: the ceiling for who draws by them.

Two readers: a linear probe for each attribute, and the CLIP's own captions, of which the nearest is taken. The probe
reads what the captions were never told apart by; the captions read what is there, but not along a line.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.judges.probe import Probe
from t2i_core.evaluation.judges.statistics import Estimate, share_by_prompt
from t2i_core.evaluation.metrics.benchmark import TASKS, scene_of
from t2i_core.evaluation.metrics.evidence import RealPictures, Resampling, in_parts
from t2i_core.generation.eye import Eye
from t2i_core.samples.scenes import Scene, caption_scene, make_scene

Floats = npt.NDArray[np.float64]
Attributes = dict[str, str]

MAX_PICTURES = 4000
# Scenes whose captions are searched for the nearest: nearly all that there are.
NUM_SCENES, SCENES_SEED = 20_000, 1
RIDGE = 1e-3
PROBE, NEAREST, ALL = "linear probes", "nearest caption", "all"
# A dimension that never varies is not made large.
LEAST_STD = 1e-4


@dataclass(frozen=True, slots=True, eq=False)
class Embedded:
    """Real pictures of scenes as a CLIP sees them.

    Attributes:
        scenes: N scenes.
        captions: of the pictures.
        images: (N, E) float, of length 1.
        numbers: of the pictures in their split.
    """

    scenes: Sequence[Scene]
    captions: Sequence[str]
    images: Floats
    numbers: Sequence[int]

    def of(self, task: str) -> list[int]:
        """List the rows of a task."""
        return [row for row, scene in enumerate(self.scenes) if scene.task == task]


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """What a reader made of the pictures of a task.

    Attributes:
        attributes: share of each that is right.
        whole: share of pictures of which everything that a caption tells is right.
    """

    attributes: Mapping[str, float]
    whole: Estimate


def embedded(split: RealPictures, eye: Eye) -> Embedded:
    """Embed the first pictures of a split that are of scenes."""
    images = np.concatenate([eye.see(part).double().numpy() for part in in_parts(split, MAX_PICTURES)])
    found = [(i, scene) for i, said in enumerate(split.attributes[: len(images)]) if (scene := scene_of(said))]
    rows = [i for i, _ in found]
    return Embedded([scene for _, scene in found], [split.captions[i] for i in rows], images[rows], rows)


def attributes_of(scene: Scene) -> Attributes:
    """Name what a picture shows: objects from the left and the top, since who is named first cannot be seen."""
    objects = sorted(scene.objects, key=lambda item: item.x + item.y)
    shows: Attributes = {"background": scene.background}
    if scene.task in ("single", "counting"):
        shows |= {"color": objects[0].color, "shape": objects[0].shape}
        return shows | ({"size": objects[0].size} if scene.task == "single" else {"count": str(len(objects))})
    for number, item in enumerate(objects, 1):
        shows |= {f"color {number}": item.color, f"shape {number}": item.shape}
    return shows | (
        {"axis": "beside" if scene.relation in ("left of", "right of") else "above"} if scene.relation else {}
    )


def right_of(guess: Attributes, scene: Scene) -> dict[str, bool]:
    """Say which attributes are right; of two objects in no order, in the order that makes most of them so."""
    truth, orders = attributes_of(scene), [guess]
    if scene.task == "pair":
        turned = {f"{name} {place}": guess[f"{name} {3 - place}"] for name in ("color", "shape") for place in (1, 2)}
        orders.append(guess | turned)
    return max(({name: each[name] == truth[name] for name in truth} for each in orders), key=lambda r: sum(r.values()))


def is_right(guess: Attributes, scene: Scene) -> bool:
    """Say whether everything that a scene's caption tells is right: of medium sizes it tells nothing."""
    right, untold = right_of(guess, scene), attributes_of(scene).get("size") == "medium"
    return all(value or (untold and name == "size") for name, value in right.items())


def ceilings(train: Embedded, test: Embedded, eye: Eye, how: Resampling) -> dict[str, dict[str, Read]]:
    """Read the test pictures with all readers, by task and reader; tasks without pictures are left out."""
    captioned = _scenes_to_tell(test)
    tasks = [task for task in TASKS if train.of(task) and test.of(task)]
    return {
        task: {
            PROBE: _read(test, test.of(task), _probed(train, test, task), how),
            NEAREST: _read(test, test.of(task), _nearest(captioned[task], test, task, eye), how),
        }
        for task in tasks
    }


def _read(test: Embedded, rows: Sequence[int], guesses: Sequence[Attributes], how: Resampling) -> Read:
    """Judge guesses; pictures of one combination are one draw."""
    scenes = [test.scenes[row] for row in rows]
    by_picture = [right_of(guess, scene) for guess, scene in zip(guesses, scenes, strict=True)]
    shares = {name: float(np.mean([right[name] for right in by_picture])) for name in by_picture[0]}
    rights = [(scene.combination, float(is_right(g, scene))) for g, scene in zip(guesses, scenes, strict=True)]
    groups = [[right for _, right in group] for _, group in groupby(sorted(rights), key=lambda pair: pair[0])]
    return Read(shares, share_by_prompt(groups, **how))


def _probed(train: Embedded, test: Embedded, task: str) -> list[Attributes]:
    mean, std = train.images.mean(0), train.images.std(0) + LEAST_STD
    known, asked = ((e.images[e.of(task)] - mean) / std for e in (train, test))
    truths = [attributes_of(train.scenes[row]) for row in train.of(task)]
    guesses = {
        name: Probe.learn(known, [truth[name] for truth in truths], RIDGE).guess(asked)
        for name in attributes_of(test.scenes[test.of(task)[0]])
    }
    return [dict(zip(guesses, values, strict=True)) for values in zip(*guesses.values(), strict=True)]


def _nearest(scenes: Iterable[Scene], test: Embedded, task: str, eye: Eye) -> list[Attributes]:
    """Take what the captions nearest to the pictures tell."""
    known = list(scenes)
    texts = eye.read([caption_scene(scene) for scene in known]).double().numpy()
    chosen = (test.images[test.of(task)] @ texts.T).argmax(1)
    return [attributes_of(known[number]) for number in chosen]


def _scenes_to_tell(test: Embedded) -> dict[str, list[Scene]]:
    """Give a scene of all that pictures show alike, by task: those of the pictures, and others as they come up."""
    drawn = (make_scene(SCENES_SEED, index) for index in range(NUM_SCENES))
    alike = {(scene.task, *attributes_of(scene).items()): scene for scene in (*drawn, *test.scenes)}
    return {task: [scene for scene in alike.values() if scene.task == task] for task in TASKS}
