"""Everything an evaluation measures, as values: nothing in here writes a file."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.split import Split, load_split
from t2i_core.evaluation.config import EvaluateConfig, StudyName
from t2i_core.evaluation.judges.clip_score import ClipScorer
from t2i_core.evaluation.metrics.benchmark import Benchmark, Sample, choose_prompts
from t2i_core.evaluation.metrics.evidence import Drawn, Evidence, Pictures
from t2i_core.evaluation.metrics.section import Section
from t2i_core.evaluation.metrics.table import METRICS
from t2i_core.evaluation.stopwatch import Stopwatch
from t2i_core.evaluation.studies.maker import PictureMaker
from t2i_core.evaluation.studies.table import studied
from t2i_core.generation.asked import image_seed
from t2i_core.lineage.ancestors import Ancestor, captions_of, trace
from t2i_core.manifest import read_manifest
from t2i_core.progress import OnProgress, Progress, ignore_progress

BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """Everything measured, before it is written down.

    Attributes:
        config: of the evaluation.
        benchmark: the prompts.
        drawn: the pictures by who drew: "model" and perhaps "baseline".
        sections: what each metric found, by its name.
        ancestors: the run and all it was made from, the run first.
        not_scored: what was not measured and why.
        seconds: wall time by part, which is no result and is written apart from them.
        num_train: pictures of the training split.
    """

    config: EvaluateConfig
    benchmark: Benchmark
    drawn: Mapping[str, Drawn]
    sections: Mapping[str, Section]
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
        run_dir: the finished run or system, for its data and its lineage.
        config: what to ask and how to judge.
        makers: who draws: "model" and, if wanted, "baseline".
        scorer: the CLIP that scores, or None.
        on_progress: gets pictures drawn, and which study is next.
    """
    watch, drawn, sections = Stopwatch(), dict[str, Drawn](), dict[str, Section]()
    captions_dir = captions_of(run_dir)
    with ExitStack() as opened:
        with watch.part("reading the data"):
            # Real pictures are shown as large as those that are drawn, whatever size they are stored in.
            side = makers["model"].image_size
            test = opened.enter_context(closing(load_split(captions_dir, "test", side=side)))
            # Data without scenes asks for training captions even when no search for copies is wanted.
            limit = config.num_train or config.prompts_per_task
            train = opened.enter_context(closing(load_split(captions_dir, "train", limit=limit, side=side)))
            benchmark = choose_prompts(
                _samples(test),
                _samples(train),
                train_groups(captions_dir),
                prompts_per_task=config.prompts_per_task,
                seed=config.seed,
            )
        for name, maker in makers.items():
            with watch.part(f"drawing by the {name}"):
                drawn[name] = draw(maker, benchmark, config, name, on_progress)
        evidence = Evidence(config, benchmark, drawn, test, train, scorer)
        for name, metric in METRICS.items():
            with watch.part(f"measuring {name}"):
                sections[name] = metric(evidence)
        for study in config.studies:
            _tell(on_progress, config, study)
            with watch.part(f"studying {study}"):
                sections[study] = studied(study, evidence, makers)
    notes = _notes(benchmark, makers["model"], config, "baseline" in makers)
    return Evaluation(
        config=config,
        benchmark=benchmark,
        drawn=drawn,
        sections=sections,
        ancestors=trace(run_dir),
        not_scored=(*notes, *(note for section in sections.values() for note in section.not_scored)),
        seconds=watch.seconds,
        num_train=read_manifest(captions_dir, "captions").counts.get("train", 0),
    )


def _tell(on_progress: OnProgress, config: EvaluateConfig, study: StudyName) -> None:
    """Say which study is next: some take as long as the drawing."""
    done, total = config.studies.index(study), len(config.studies)
    on_progress(Progress(step="evaluate studies", done=done, total=total, unit="studies", fields={"next": study}))


def _samples(split: Split) -> list[Sample]:
    rows = zip(split.keys, split.captions, range(len(split)), split.attributes, strict=True)
    return [Sample(key, caption, partial(_picture, split, index), said) for key, caption, index, said in rows]


def _picture(split: Split, index: int) -> Pictures:
    return np.asarray(split.pictures([index])[0])


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
    batches = []
    for start in range(0, len(texts), BATCH):
        stop = start + BATCH
        batches.append(maker.generate(texts[start:stop], seeds[start:stop], config))
        on_progress(Progress(step=f"evaluate {name}", done=min(stop, len(texts)), total=len(texts), unit="pictures"))
    pictures = np.concatenate(batches)
    shape = (len(benchmark.prompts), config.images_per_prompt)
    return Drawn(pictures.reshape(*shape, *pictures.shape[1:]), np.array(seeds, dtype=np.int64).reshape(shape))


def _notes(benchmark: Benchmark, maker: PictureMaker, config: EvaluateConfig, has_baseline: bool) -> list[str]:
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
    if not has_baseline:
        notes.append("Baseline: none was given.")
    notes.append("Distribution metrics (FID and relatives): not computed at this number of pictures.")
    return notes
