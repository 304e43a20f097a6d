"""What all metrics judge: prompts, the pictures drawn for them, real pictures, and who judges.

No split is decoded as a whole: a metric asks for the pictures that it looks at, and for many of them in parts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol, TypedDict

import numpy as np
import numpy.typing as npt

from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.clip_score import ClipScorer
from t2i_core.evaluation.judges.composition import Extraction, extract
from t2i_core.evaluation.judges.composition_gate import CheckerGate, check_checker
from t2i_core.evaluation.judges.neighbours import Neighbours, find_neighbours
from t2i_core.evaluation.judges.verdict import Verdict, judge
from t2i_core.evaluation.metrics.benchmark import Benchmark, Sample
from t2i_core.samples.scenes import SHAPES

Pictures = npt.NDArray[np.uint8]

# Pictures of a split that are in memory at once.
PART = 256
# Held-out real pictures that say how near is near.
NUM_HELD_OUT = 500
# Fresh renders a task that the checker is tried on.
GATE_SCENES = 25


class RealPictures(Protocol):
    """The samples of a split, whose pictures are decoded when they are asked for."""

    captions: list[str]
    keys: list[str]
    attributes: list[dict[str, object]]
    image_size: int

    def __len__(self) -> int: ...

    def pictures(self, indices: Sequence[int]) -> Pictures:
        """Give some pictures: (B, H, W, 3) uint8."""
        ...


def in_parts(split: RealPictures, limit: int | None = None) -> Iterator[Pictures]:
    """Give the first pictures of a split, (up to 256, H, W, 3) uint8 at a time."""
    num = len(split) if limit is None else min(limit, len(split))
    for start in range(0, num, PART):
        yield split.pictures(range(start, min(start + PART, num)))


def samples_of(split: RealPictures) -> list[Sample]:
    """Give the samples of a split for a benchmark; their pictures are decoded when one is chosen."""
    rows = zip(split.keys, split.captions, range(len(split)), split.attributes, strict=True)
    return [Sample(key, caption, partial(_picture, split, index), said) for key, caption, index, said in rows]


def _picture(split: RealPictures, index: int) -> Pictures:
    return np.asarray(split.pictures([index])[0])


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Pictures of all prompts.

    Attributes:
        pictures: (P, K, H, W, 3) uint8, prompts by pictures a prompt.
        seeds: (P, K) seed of each picture.
    """

    pictures: Pictures
    seeds: npt.NDArray[np.int64]


class Resampling(TypedDict):
    """How intervals are found: seed and number of resamples of the bootstrap."""

    seed: int
    resamples: int


# Not slotted: what several metrics look at is found once, when the first of them asks.
@dataclass(frozen=True, eq=False)
class Evidence:
    """What all metrics judge.

    Attributes:
        config: of the evaluation.
        benchmark: the prompts, each with its real picture.
        drawn: the pictures by who drew: "model" and perhaps "baseline".
        test: real pictures that training never saw.
        train: pictures of the training split, as many as are to be searched.
        scorer: the CLIP that scores, or None.
    """

    config: EvaluateConfig
    benchmark: Benchmark
    drawn: Mapping[str, Drawn]
    test: RealPictures
    train: RealPictures
    scorer: ClipScorer | None

    @property
    def resampling(self) -> Resampling:
        """How intervals are found."""
        return {"seed": self.config.seed, "resamples": self.config.bootstrap_resamples}

    @property
    def has_scenes(self) -> bool:
        """Whether there is a truth to check against."""
        return self.benchmark.kind == "scenes"

    @cached_property
    def seen(self) -> dict[str, list[list[Extraction]]]:
        """What the checker sees, by who drew ("real" too), prompt and picture."""
        real = np.stack([prompt.real for prompt in self.benchmark.prompts])[:, None]
        return {"real": look(real)} | {who: look(drawn.pictures) for who, drawn in self.drawn.items()}

    @cached_property
    def verdicts(self) -> dict[str, list[list[Verdict]]]:
        """What the checker says, likewise; empty without scenes."""
        return {who: compare(self.benchmark, rows) for who, rows in self.seen.items()} if self.has_scenes else {}

    @cached_property
    def neighbours(self) -> Neighbours:
        """How near the model's pictures, prompt by prompt, are to training, beside real ones that it never saw."""
        drawn = self.drawn["model"].pictures
        pictures = drawn.reshape(-1, *drawn.shape[2:])
        return find_neighbours(pictures, in_parts(self.test, NUM_HELD_OUT), in_parts(self.train))

    @property
    def has_neighbours(self) -> bool:
        """Whether training pictures are to be searched, and there is something to compare with."""
        return bool(self.config.num_train and len(self.test) and len(self.train))

    @cached_property
    def checker_gate(self) -> CheckerGate:
        """How the checker does on known truth of this size and with these shapes."""
        shapes = {item.shape for prompt in self.benchmark.prompts if prompt.scene for item in prompt.scene.objects}
        return check_checker(
            num_per_task=GATE_SCENES,
            image_size=self.test.image_size,
            seed=self.config.seed,
            shapes=tuple(sorted(shapes | set(SHAPES))),
        )


def look(pictures: Pictures) -> list[list[Extraction]]:
    """Extract every picture of (P, K, H, W, 3) uint8, prompt by prompt."""
    return [[extract(picture) for picture in row] for row in pictures]


def compare(benchmark: Benchmark, seen: Sequence[Sequence[Extraction]]) -> list[list[Verdict]]:
    """Judge every extraction against its own prompt's scene.

    Raises:
        ValueError: the benchmark has no scenes.
    """
    verdicts = []
    for prompt, row in zip(benchmark.prompts, seen, strict=True):
        if prompt.scene is None:
            raise ValueError("prompts without scenes cannot be judged")
        verdicts.append([judge(extraction, prompt.scene) for extraction in row])
    return verdicts
