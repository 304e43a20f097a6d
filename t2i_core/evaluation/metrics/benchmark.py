"""Which prompts a model is asked, and whether it could have seen them: held-out combinations of the test split.

For scenes every prompt comes with its exact specification. For things in styles, prompts are the pairs of the two that
training never saw, each with its real picture. Other data has no truth to check against; its prompts are captions of
the training split, and what they measure is recall of training data, not generalisation.

A small world has few combinations of a kind, fewer still that are held out. Where a task has fewer than are asked for,
each is asked again in other words, and statistics take all prompts of one combination as one draw.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from t2i_core.errors import DataError
from t2i_core.evaluation.config import BENCHMARK_VERSION
from t2i_core.samples.scenes import WORDINGS, Scene, Task, caption_scene

TASKS: tuple[Task, ...] = get_args(Task)
# The plain one first; all of them are in the training captions.
DISTINCT_WORDINGS: tuple[str, ...] = tuple(dict.fromkeys(WORDINGS))
RECALL_TASK, STYLE_TASK = "recall", "style"
NOVELTY = {
    "scenes": "all combinations that training never saw",
    "styles": "all pairs of thing and style that training never saw",
    "captions": "all captions from the training split: this measures recall of training data, not generalisation",
}
TASK_TITLES = {
    "single": "One object",
    "pair": "Two objects, colors bound",
    "position": "Position",
    "counting": "Counting",
    RECALL_TASK: "Captions seen in training",
    STYLE_TASK: "Things in styles that training never paired",
}


class Pair(NamedTuple):
    """A thing, and the style that it is drawn in."""

    thing: str
    style: str


@dataclass(frozen=True, slots=True, eq=False)
class Prompt:
    """One prompt of the benchmark.

    Attributes:
        id: task and number, such as "position-007".
        task: what it tests.
        text: what the model is told.
        scene: the exact specification, or None where there is none.
        real: (H, W, 3) uint8 real picture of the prompt.
        key: key of that picture's sample.
        pair: the thing and its style, or None where there are none.
    """

    id: str
    task: str
    text: str
    scene: Scene | None
    real: npt.NDArray[np.uint8]
    key: str
    pair: Pair | None = None

    @property
    def meaning(self) -> str:
        """What is asked for, whatever the words."""
        return self.scene.combination if self.scene else self.text


@dataclass(frozen=True, slots=True)
class Benchmark:
    """The prompts of one evaluation.

    Attributes:
        kind: "scenes" (held-out combinations, exact truth), "styles" (held-out pairs, real pictures as truth), or
            "captions" (recall of training data, no truth).
        prompts: all prompts, task by task.
        num_leaked: test combinations left out because the training split has them too.
        num_available: distinct combinations (without scenes: captions) there were to choose from.
    """

    kind: Literal["scenes", "styles", "captions"]
    prompts: tuple[Prompt, ...]
    num_leaked: int
    num_available: int

    @property
    def novelty(self) -> str:
        """Say whether training could have seen what is asked for."""
        return NOVELTY[self.kind]

    def by_task(self) -> dict[str, list[int]]:
        """Group the indices of the prompts by task, in the benchmark's order."""
        groups: dict[str, list[int]] = defaultdict(list)
        for index, prompt in enumerate(self.prompts):
            groups[prompt.task].append(index)
        return dict(groups)

    def groups(self, rows: Iterable[int]) -> list[list[int]]:
        """Put the prompts that ask for the same thing together: they are one draw, not several."""
        found: dict[str, list[int]] = defaultdict(list)
        for row in rows:
            found[self.prompts[row].meaning].append(row)
        return list(found.values())


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """What the benchmark needs of a sample: its key, caption and attributes, and its picture only once it is chosen.

    `picture` decodes it, (H, W, 3) uint8.
    """

    key: str
    caption: str
    picture: Callable[[], npt.NDArray[np.uint8]]
    attributes: Mapping[str, Any]


def scene_of(attributes: Mapping[str, Any]) -> Scene | None:
    """Read the scene specification out of a sample's attributes, if there is one.

    Raises:
        DataError: there is one, and it is not a scene.
    """
    spec = attributes.get("scene")
    if spec is None:
        return None
    try:
        return Scene.model_validate(spec)
    except ValueError as err:
        raise DataError(f"a sample's scene specification is damaged: {err}. Ingest the data again.") from err


def pair_of(attributes: Mapping[str, Any]) -> Pair | None:
    """Read the thing and its style out of a sample's attributes `concept` and `style`, if it has both."""
    thing, style = attributes.get("concept"), attributes.get("style")
    return Pair(thing, style) if isinstance(thing, str) and isinstance(style, str) else None


def choose_prompts(
    test: Sequence[Sample],
    train: Sequence[Sample],
    train_groups: set[str],
    *,
    prompts_per_task: int,
    seed: int,
) -> Benchmark:
    """Choose the benchmark's prompts, always the same for the same data and seed.

    Args:
        test: samples of the test split.
        train: samples of the training split, looked at only where there are no scenes.
        train_groups: group (for scenes: the combination) of every training sample.
        prompts_per_task: at most this many prompts a task.
        seed: of the choice.

    Raises:
        DataError: there is nothing to ask: no held-out combination, or no captions.
    """
    if any("scene" in sample.attributes for sample in test):
        return _held_out_scenes(test, train_groups, prompts_per_task, seed)
    held_out, num_leaked = _held_out_pairs(test, train)
    if held_out:
        return _styles(held_out, num_leaked, prompts_per_task, seed)
    return _seen_captions(train, prompts_per_task, seed)


def seen_scenes(train: Sequence[Sample], *, prompts_per_task: int, seed: int) -> Benchmark:
    """Choose prompts of combinations that training held, as `choose_prompts` chooses those of held-out ones.

    Raises:
        DataError: a sample's scene is damaged.
    """
    seen = _by_combination(train)
    return Benchmark("scenes", _prompts_of(seen, prompts_per_task, seed), 0, len(seen))


def _held_out_scenes(test: Sequence[Sample], train_groups: set[str], per_task: int, seed: int) -> Benchmark:
    found = _by_combination(test)
    held_out = {combination: samples for combination, samples in found.items() if combination not in train_groups}
    leaked = found.keys() - held_out.keys()
    if not held_out:
        raise DataError(
            f"the test split has no combination that training never saw ({len(leaked)} leaked). "
            "Run the caption step again with a held-out share above zero."
        )
    return Benchmark("scenes", _prompts_of(held_out, per_task, seed), len(leaked), len(held_out))


def _by_combination(samples: Iterable[Sample]) -> dict[str, list[tuple[Sample, Scene]]]:
    """Put the samples of each combination together; those without a scene are left out."""
    found: dict[str, list[tuple[Sample, Scene]]] = defaultdict(list)
    for sample in samples:
        if scene := scene_of(sample.attributes):
            found[scene.combination].append((sample, scene))
    return dict(found)


def _prompts_of(
    combinations: Mapping[str, Sequence[tuple[Sample, Scene]]], per_task: int, seed: int
) -> tuple[Prompt, ...]:
    """Ask for combinations, task by task, in the order that the seed gives them."""
    ranked = sorted(combinations, key=lambda combination: _rank(seed, combination))
    prompts: list[Prompt] = []
    for task in TASKS:
        mine = [combinations[c] for c in ranked if combinations[c][0][1].task == task]
        asked = [(wording, samples) for wording in DISTINCT_WORDINGS for samples in mine][:per_task]
        prompts += [_asked(f"{task}-{i:03d}", wording, samples) for i, (wording, samples) in enumerate(asked)]
    return tuple(prompts)


def _asked(name: str, wording: str, samples: Sequence[tuple[Sample, Scene]]) -> Prompt:
    """Ask for a combination in some words; each wording stands beside another real picture where there are several."""
    sample, scene = samples[DISTINCT_WORDINGS.index(wording) % len(samples)]
    return Prompt(name, scene.task, caption_scene(scene, wording), scene, sample.picture(), sample.key)


def _held_out_pairs(test: Sequence[Sample], train: Sequence[Sample]) -> tuple[dict[Pair, Sample], int]:
    """Find the pairs that training never saw of things and styles that it did see, and count the other ones."""
    seen = {pair for sample in train if (pair := pair_of(sample.attributes))}
    things, styles = {pair.thing for pair in seen}, {pair.style for pair in seen}
    asked = {pair: sample for sample in test if (pair := pair_of(sample.attributes))}
    chosen = {pair: sample for pair, sample in asked.items() if pair.thing in things and pair.style in styles}
    return {pair: sample for pair, sample in chosen.items() if pair not in seen}, len(seen & asked.keys())


def _styles(held_out: Mapping[Pair, Sample], num_leaked: int, num: int, seed: int) -> Benchmark:
    """Ask for pairs, each of another thing as far as there are enough, the styles taking turns."""
    by_style: dict[str, list[Pair]] = defaultdict(list)
    for pair in sorted(held_out, key=lambda pair: _rank(seed, "\n".join(pair))):
        by_style[pair.style].append(pair)
    turns = [pair for turn in zip_longest(*(by_style[style] for style in sorted(by_style))) for pair in turn if pair]
    first = set({pair.thing: pair for pair in reversed(turns)}.values())
    ranked = [*(pair for pair in turns if pair in first), *(pair for pair in turns if pair not in first)][:num]
    prompts = [
        Prompt(f"{STYLE_TASK}-{i:03d}", STYLE_TASK, sample.caption, None, sample.picture(), sample.key, pair)
        for i, (pair, sample) in enumerate((pair, held_out[pair]) for pair in ranked)
    ]
    return Benchmark("styles", tuple(prompts), num_leaked, len(held_out))


def _seen_captions(train: Sequence[Sample], num: int, seed: int) -> Benchmark:
    distinct: dict[str, Sample] = {}
    for sample in train:
        distinct.setdefault(sample.caption, sample)
    if not distinct:
        raise DataError("the training split is empty: there is no caption to draw.")
    ranked = sorted(distinct, key=lambda caption: _rank(seed, caption))[:num]
    prompts = tuple(
        Prompt(f"{RECALL_TASK}-{i:03d}", RECALL_TASK, text, None, distinct[text].picture(), distinct[text].key)
        for i, text in enumerate(ranked)
    )
    return Benchmark("captions", prompts, 0, len(distinct))


def _rank(seed: int, text: str) -> str:
    return hashlib.sha256(f"{BENCHMARK_VERSION}:{seed}:{text}".encode()).hexdigest()
