"""Everything an evaluation measures, as values: nothing in here writes a file."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.split import Split, load_split
from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig, StudyName
from t2i_core.evaluation.judges.clip_score import ClipScorer
from t2i_core.evaluation.metrics.benchmark import Benchmark, choose_prompts
from t2i_core.evaluation.metrics.evidence import Drawn, Evidence, samples_of
from t2i_core.evaluation.metrics.section import Section
from t2i_core.evaluation.metrics.table import METRICS
from t2i_core.evaluation.stopwatch import Stopwatch
from t2i_core.evaluation.studies.maker import PictureMaker, draw
from t2i_core.evaluation.studies.table import studied
from t2i_core.folders.manifest import read_manifest
from t2i_core.lineage.ancestors import Ancestor, captions_of, trace
from t2i_core.progress import OnProgress, Progress, ignore_progress


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
    captions_dir: Path | None = None,
    scorer: ClipScorer | None,
    on_progress: OnProgress = ignore_progress,
) -> Evaluation:
    """Draw and judge; nothing is written.

    Args:
        run_dir: the finished run or system, for its data and its lineage.
        config: what to ask and how to judge.
        makers: who draws: "model" and, if wanted, "baseline".
        captions_dir: what is asked of; None for what the run was trained on.
        scorer: the CLIP that scores, or None.
        on_progress: gets pictures drawn, and which study is next.
    """
    watch, drawn, sections = Stopwatch(), dict[str, Drawn](), dict[str, Section]()
    captions_dir = captions_dir or captions_of(run_dir)
    with ExitStack() as opened:
        with watch.part("reading the data"):
            # Real pictures are shown as large as those that are drawn, whatever size they are stored in.
            asked = open_benchmark(captions_dir, config, side=makers["model"].image_size)
            benchmark, test, train = opened.enter_context(asked)
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
    notes = [*_seen_before(benchmark, run_dir), *_notes(benchmark, makers["model"], config, "baseline" in makers)]
    return Evaluation(
        config=config,
        benchmark=benchmark,
        drawn=drawn,
        sections=sections,
        ancestors=list({each.manifest.digest: each for each in [*trace(run_dir), *trace(captions_dir)]}.values()),
        not_scored=(*notes, *(note for section in sections.values() for note in section.not_scored)),
        seconds=watch.seconds,
        num_train=read_manifest(captions_dir, "captions").counts.get("train", 0),
    )


@contextmanager
def open_benchmark(
    captions_dir: Path, config: EvaluateConfig, *, side: int
) -> Iterator[tuple[Benchmark, Split, Split]]:
    """Choose the prompts of an evaluation, and hold the test split and the part of training that it looks at open.

    Args:
        captions_dir: a finished captions folder.
        config: how many prompts are wanted, and of what seed.
        side: of the real pictures, in pixels.

    Raises:
        ConfigError: the captions or their dataset are gone, or have changed.
        DataError: they are damaged, or there is nothing to ask.
    """
    # Data without scenes asks for training captions even when no search for copies is wanted.
    limit = config.num_train or config.prompts_per_task
    with (
        closing(load_split(captions_dir, "test", side=side)) as test,
        closing(load_split(captions_dir, "train", limit=limit, side=side)) as train,
    ):
        groups, how_many = train_groups(captions_dir), config.prompts_per_task
        chosen = choose_prompts(
            samples_of(test), samples_of(train), groups, prompts_per_task=how_many, seed=config.seed
        )
        yield chosen, test, train


def _tell(on_progress: OnProgress, config: EvaluateConfig, study: StudyName) -> None:
    """Say which study is next: some take as long as the drawing."""
    done, total = config.studies.index(study), len(config.studies)
    on_progress(Progress(step="evaluate studies", done=done, total=total, unit="studies", fields={"next": study}))


def train_groups(captions_dir: Path) -> set[str]:
    """Read which groups (for scenes: combinations) the training split holds.

    Raises:
        DataError: the table of captions is missing or damaged.
    """
    return {row["group"] for row in read_captions(captions_dir, "train", ["group"])}


def _seen_before(benchmark: Benchmark, run_dir: Path) -> Iterator[str]:
    """Say of prompts that training must not have seen whether this run's own did."""
    asked = {prompt.scene.combination for prompt in benchmark.prompts if prompt.scene}
    try:
        seen = asked & train_groups(captions_of(run_dir)) if asked else set()
    except ConfigError:
        yield "Whether the run was trained on what is asked for cannot be said: its own captions are gone."
        return
    if seen:
        yield f"{len(seen)} combinations that are asked for were in the run's own training."


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
