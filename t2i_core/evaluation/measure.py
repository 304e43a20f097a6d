"""Everything an evaluation measures, as values: nothing in here writes a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.loader import Split, load_split
from t2i_core.evaluation.benchmark import Benchmark, Sample, choose_prompts, scene_of
from t2i_core.evaluation.breakdown import break_down, doubts, outcome_counts
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.metrics.agreement import Agreement, compare_with_eye
from t2i_core.evaluation.metrics.clip_gate import RealPair
from t2i_core.evaluation.metrics.clip_score import ClipScorer
from t2i_core.evaluation.metrics.composition_gate import CheckerGate, check_checker
from t2i_core.evaluation.metrics.neighbours import Neighbours, find_neighbours, recall_at_1
from t2i_core.evaluation.metrics.statistics import Estimate, share_by_prompt
from t2i_core.evaluation.metrics.verdict import UNSURE_WARN, Verdict
from t2i_core.evaluation.scoring import (
    ClipScores,
    ScoreRow,
    compare,
    differences,
    look,
    score_clip,
    score_shuffled,
    score_verdicts,
)
from t2i_core.evaluation.stopwatch import Stopwatch
from t2i_core.generation.config import GenerateConfig
from t2i_core.generation.generate import image_seed
from t2i_core.lineage.ancestors import Ancestor, captions_of, trace
from t2i_core.manifest import read_manifest
from t2i_core.progress import OnProgress, Progress, ignore_progress
from t2i_core.samples.scenes import SHAPES, Shape, caption_scene

Pictures = npt.NDArray[np.uint8]

BATCH = 32
NUM_HELD_OUT = 500
# Fresh renders a task that the checker is tried on, distinct real pairs that a CLIP needs.
GATE_SCENES, MIN_PAIRS = 25, 10


class PictureMaker(Protocol):
    """Whatever draws pictures from prompts: a finished run, or a stand-in whose answers are known."""

    def generate(self, prompts: Sequence[str], seeds: Sequence[int], config: GenerateConfig) -> Pictures:
        """Draw one picture, (H, W, 3) uint8, a prompt and seed."""
        ...

    def prompt_words_unknown(self, prompt: str) -> list[str]:
        """List the words of a prompt that the system never learned."""
        ...

    @property
    def drawn_with(self) -> str:
        """Say which device and precision draw."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Pictures of all prompts.

    Attributes:
        pictures: (P, K, H, W, 3) uint8, prompts by pictures a prompt.
        seeds: (P, K) seed of each picture.
    """

    pictures: Pictures
    seeds: npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Composition:
    """What the checker found.

    Attributes:
        gate: how the checker did on known truth.
        agreement: how it did on generated pictures that were judged by eye.
        rows: the table of tasks by row: "real", "model", "shuffled" and perhaps "baseline".
        gaps: model minus baseline by task, paired over prompts.
        breakdown: strict accuracy of the model by attribute and value.
        outcomes: the model's pictures that pass, fail and are unsure, by task.
        doubts: the model's pictures by what made the checker unsure.
        verdicts: verdicts by row, prompt and picture.
    """

    gate: CheckerGate
    agreement: Agreement
    rows: dict[str, ScoreRow]
    gaps: dict[str, Estimate]
    breakdown: dict[str, dict[str, Estimate]]
    outcomes: dict[str, dict[str, int]]
    doubts: dict[str, int]
    verdicts: dict[str, list[list[Verdict]]]


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """How near the model's pictures are to training.

    Attributes:
        neighbours: the distances.
        nearest: (N, H, W, 3) uint8 nearest training picture of each of the model's pictures, prompt-major.
        recall: where prompts are training captions, how often the nearest training picture is the prompt's own.
    """

    neighbours: Neighbours
    nearest: Pictures
    recall: Estimate | None


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything measured, before it is written down.

    Attributes:
        config: of the evaluation.
        benchmark: the prompts.
        drawn: the pictures by who drew: "model" and perhaps "baseline".
        composition: the checker's findings, or None without scenes.
        clip: the CLIP section, or None.
        copies: nearness to training pictures, or None.
        ancestors: the run and all it was made from, the run first.
        not_scored: what was not measured and why.
        seconds: wall time by part, which is no result and is written apart from them.
        num_train: pictures of the training split.
    """

    config: EvaluateConfig
    benchmark: Benchmark
    drawn: dict[str, Drawn]
    composition: Composition | None
    clip: ClipScores | None
    copies: Copies | None
    ancestors: list[Ancestor]
    not_scored: tuple[str, ...]
    seconds: dict[str, float]
    num_train: int


def measure(
    run_dir: Path,
    config: EvaluateConfig,
    makers: Mapping[str, PictureMaker],
    *,
    scorer: ClipScorer | None,
    on_progress: OnProgress = ignore_progress,
) -> Evaluation:
    """Draw and judge; nothing is written.

    Args:
        run_dir: the finished run, for its data and its lineage.
        config: what to ask and how to judge.
        makers: who draws: "model" and, if wanted, "baseline".
        scorer: the CLIP that scores, or None.
        on_progress: gets pictures drawn.
    """
    watch = Stopwatch()
    captions_dir = captions_of(run_dir)
    with watch.part("reading the data"):
        test = load_split(captions_dir, "test")
        # Non-scene data asks for training captions even when no search for copies is wanted.
        train = load_split(captions_dir, "train", limit=config.num_train or config.prompts_per_task)
        benchmark = choose_prompts(
            _samples(test),
            _samples(train),
            train_groups(captions_dir),
            prompts_per_task=config.prompts_per_task,
            seed=config.seed,
        )
    drawn = {}
    for name, maker in makers.items():
        with watch.part(f"drawing by the {name}"):
            drawn[name] = draw(maker, benchmark, config, name, on_progress)
    notes = _notes(benchmark, makers["model"], config, scorer is not None, "baseline" in makers)
    with watch.part("checking the pictures, and the checker"):
        composition = _compose(benchmark, drawn, test, config, notes)
    with watch.part("scoring with CLIP"):
        clip = _score_with_clip(scorer, benchmark, drawn["model"], test, config, notes)
    with watch.part("searching for copies"):
        copies = _search_copies(benchmark, drawn["model"], test, train, config, notes)
    return Evaluation(
        config=config,
        benchmark=benchmark,
        drawn=drawn,
        composition=composition,
        clip=clip,
        copies=copies,
        ancestors=trace(run_dir),
        not_scored=tuple(notes),
        seconds=watch.seconds,
        num_train=read_manifest(captions_dir, "captions").counts.get("train", 0),
    )


def _samples(split: Split) -> list[Sample]:
    rows = zip(split.keys, split.captions, split.images, split.attributes, strict=True)
    return [Sample(key, caption, image, attributes) for key, caption, image, attributes in rows]


def train_groups(captions_dir: Path) -> set[str]:
    """Read which groups (for scenes: combinations) the training split holds.

    Raises:
        DataError: the table of captions is missing or damaged.
    """
    return {row["group"] for row in read_captions(captions_dir, "train", ["group"])}


def draw(
    maker: PictureMaker, benchmark: Benchmark, config: EvaluateConfig, name: str, on_progress: OnProgress
) -> Drawn:
    """Draw every prompt `images_per_prompt` times; seeds depend on prompt and index alone."""
    texts = [p.text for p in benchmark.prompts for _ in range(config.images_per_prompt)]
    seeds = [image_seed(config.seed, p.text, i) for p in benchmark.prompts for i in range(config.images_per_prompt)]
    wanted = GenerateConfig(guidance_scale=config.guidance_scale or None, steps=config.steps or None)
    batches = []
    for start in range(0, len(texts), BATCH):
        stop = start + BATCH
        batches.append(maker.generate(texts[start:stop], seeds[start:stop], wanted))
        on_progress(Progress(step=f"evaluate {name}", done=min(stop, len(texts)), total=len(texts), unit="pictures"))
    pictures = np.concatenate(batches)
    shape = (len(benchmark.prompts), config.images_per_prompt)
    return Drawn(pictures.reshape(*shape, *pictures.shape[1:]), np.array(seeds, dtype=np.int64).reshape(shape))


def _notes(
    benchmark: Benchmark, maker: PictureMaker, config: EvaluateConfig, has_clip: bool, has_baseline: bool
) -> list[str]:
    """Say what this evaluation leaves out before it has begun."""
    notes = []
    if benchmark.num_leaked:
        notes.append(f"{benchmark.num_leaked} test combinations were left out: the training split has them too.")
    for task, rows in benchmark.by_task().items():
        num_groups = len(benchmark.groups(rows))
        if len(rows) < config.prompts_per_task:
            notes.append(f"Task {task} has only {len(rows)} of the {config.prompts_per_task} prompts asked for.")
        if num_groups < len(rows):
            notes.append(f"Task {task}: {len(rows)} prompts ask for {num_groups} combinations, some in other words.")
    unknown = [p.id for p in benchmark.prompts if maker.prompt_words_unknown(p.text)]
    if unknown:
        notes.append(f"{len(unknown)} prompts hold words the system never learned ({', '.join(unknown[:5])}).")
    if not has_clip:
        notes.append("CLIP score and R-precision: no CLIP was given.")
    if not has_baseline:
        notes.append("Baseline: none was given.")
    notes.append("Distribution metrics (FID and relatives): not computed at this number of pictures.")
    return notes


def _compose(
    benchmark: Benchmark, drawn: Mapping[str, Drawn], test: Split, config: EvaluateConfig, notes: list[str]
) -> Composition | None:
    """Fill the table of tasks, if the data has scenes."""
    if benchmark.kind != "scenes":
        notes.append("Composition (objects, colors, positions): the data has no scene specifications to check against.")
        return None
    gate = check_checker(
        num_per_task=GATE_SCENES, image_size=test.images.shape[1], seed=config.seed, shapes=_shapes_of(benchmark)
    )
    if not gate.passed:
        notes.append("Composition: the checker failed its own gate on these pictures, so its figures carry no weight.")
    real = np.stack([prompt.real for prompt in benchmark.prompts])[:, None]
    seen = {"real": look(real)} | {name: look(d.pictures) for name, d in drawn.items()}
    verdicts = {name: compare(benchmark, extractions) for name, extractions in seen.items()}
    seed, resamples = config.seed, config.bootstrap_resamples
    rows = {n: score_verdicts(n, benchmark, verdicts[n], seed=seed, resamples=resamples) for n in seen}
    rows["shuffled"] = score_shuffled(benchmark, seen["model"], seed=seed, resamples=resamples)
    gaps = {}
    if "baseline" in rows:
        gaps = differences(rows["model"], rows["baseline"], seed=seed, resamples=resamples)
    unsure = rows["model"].unsure
    if unsure and unsure.value > UNSURE_WARN:
        notes.append(f"The checker could not tell in {unsure.value:.0%} of the model's pictures; they count as failed.")
    return Composition(
        gate=gate,
        agreement=compare_with_eye(),
        rows=rows,
        gaps=gaps,
        breakdown=break_down(benchmark, verdicts["model"], seed=seed, resamples=resamples),
        outcomes=outcome_counts(benchmark, verdicts["model"]),
        doubts=doubts(seen["model"]),
        verdicts=verdicts,
    )


def _shapes_of(benchmark: Benchmark) -> tuple[Shape, ...]:
    found = {item.shape for prompt in benchmark.prompts if prompt.scene for item in prompt.scene.objects}
    return tuple(sorted(found | set(SHAPES)))


def _score_with_clip(
    scorer: ClipScorer | None, benchmark: Benchmark, model: Drawn, test: Split, config: EvaluateConfig, notes: list[str]
) -> ClipScores | None:
    if scorer is None:
        return None
    pairs = real_pairs(test, config.num_real)
    if len(pairs) < MIN_PAIRS:
        notes.append(f"CLIP score: {len(pairs)} distinct real test pictures are too few to check a CLIP with.")
        return None
    scores = score_clip(
        scorer,
        benchmark,
        model.pictures,
        pairs,
        min_auc=config.clip_min_auc,
        min_recall_lift=config.clip_min_recall_lift,
        seed=config.seed,
        resamples=config.bootstrap_resamples,
    )
    if not scores.gate.passed:
        notes.append(f"CLIP score and R-precision: withheld, because {scores.gate.reason}.")
    if scores.num_truncated:
        notes.append(f"{scores.num_truncated} texts were longer than the CLIP reads and were cut.")
    return scores


def real_pairs(test: Split, num: int) -> list[RealPair]:
    """Take real test pictures, distinct by specification or caption, in the split's order."""
    pairs: dict[str, RealPair] = {}
    for caption, image, attributes in zip(test.captions, test.images, test.attributes, strict=True):
        scene = scene_of(attributes)
        name, text = (scene.combination, caption_scene(scene)) if scene else (caption, caption)
        pairs.setdefault(name, RealPair(image, text, scene))
        if len(pairs) == num:
            break
    return list(pairs.values())


def _search_copies(
    benchmark: Benchmark, model: Drawn, test: Split, train: Split, config: EvaluateConfig, notes: list[str]
) -> Copies | None:
    """Look for copies of training pictures; for training captions, also whether the right one is drawn."""
    if not config.num_train or not len(test.images) or not len(train.images):
        notes.append("Search for copies of training pictures: switched off, or there is nothing to compare with.")
        return None
    pictures = model.pictures.reshape(-1, *model.pictures.shape[2:])
    neighbours = find_neighbours(pictures, test.images[:NUM_HELD_OUT], train.images)
    recall = None
    if benchmark.kind == "captions":
        own = np.repeat(np.stack([p.real for p in benchmark.prompts]), config.images_per_prompt, axis=0)
        hits = recall_at_1(pictures, own, train.images).reshape(model.seeds.shape)
        recall = share_by_prompt(hits.astype(float).tolist(), seed=config.seed, resamples=config.bootstrap_resamples)
    return Copies(neighbours, train.images[neighbours.nearest], recall)
