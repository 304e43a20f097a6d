"""The steps and drawing, for programs and notebooks: `from t2i_core import ingest, caption, train, evaluate, load`.

Options are given by keyword and are those of each step's config, with the same names, units and defaults as on the
command line. What a step returns can be given to the next one in place of the path of its folder. Nothing heavy is
imported before a step is called.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepRef
from t2i_core.progress import OnProgress, ignore_progress

if TYPE_CHECKING:
    from t2i_core.generation.edits.config import EditKind
    from t2i_core.generation.edits.edit import EditedImage
    from t2i_core.generation.model import Model
    from t2i_core.promotion.registry import Promotion

Folder = str | Path | StepRef


def ingest(
    source: str | Path,
    output_dir: str | Path,
    *,
    replace: bool = False,
    refresh: bool = False,
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> StepRef:
    """Fetch pictures and their texts into a dataset folder; the same call resumes, and a finished one returns at once.

    Args:
        source: a page, a list of URLs, a folder of pictures with texts beside them, or shards.
        output_dir: the dataset folder.
        replace: move a folder that was made with other options aside to NAME.previous.
        refresh: look again at the source of a finished dataset, and make a new version of it if need be.
        on_progress: gets a record about once a second; `describe_progress` writes it as a line.
        **options: fields of `IngestConfig`, such as image_size=64 or caption_column="title".

    Raises:
        ConfigError: the request cannot be right.
        DataError: nothing was kept, or too little.
        TransientError: the world was busy; the same call goes on.
    """
    from t2i_core.ingestion.config import IngestConfig
    from t2i_core.ingestion.step import ingest as step

    config = IngestConfig.parse(options)
    return step(
        str(source),
        config,
        Path(output_dir),
        on_conflict=_on_conflict(replace),
        refresh=refresh,
        on_progress=on_progress,
    )


def caption(
    dataset: Folder | Mapping[str, Folder],
    output_dir: str | Path,
    *,
    preset: str = "",
    replace: bool = False,
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> StepRef:
    """Clean, filter, deduplicate and split the captions of a dataset, or of several joined into one.

    Args:
        dataset: what `ingest` returned, or its folder; several of them by the names that they are to have.
        output_dir: the captions folder.
        preset: recipe to start from, a name such as "openclipart" or a JSON file; empty for the defaults.
        replace: move a folder that was made with other options aside to NAME.previous.
        on_progress: gets records of progress.
        **options: fields of `CaptionConfig`, such as max_words=20.

    Raises:
        ConfigError: the request cannot be right.
        DataError: the dataset is damaged, or nothing is left to train on.
    """
    from t2i_core.captioning.config import CaptionConfig
    from t2i_core.captioning.step import caption as step

    config = CaptionConfig.preset(preset, options) if preset else CaptionConfig.parse(options)
    first, *others = _named(dataset)
    return step(
        Path(first),
        config,
        Path(output_dir),
        joined_with=tuple(others),
        on_conflict=_on_conflict(replace),
        on_progress=on_progress,
    )


def features(
    captions: Folder,
    encoder: Folder,
    output_dir: str | Path,
    *,
    replace: bool = False,
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> StepRef:
    """Encode the captions of a folder with a frozen encoder, each distinct one once; the same call resumes.

    Args:
        captions: what `caption` returned, or its folder.
        encoder: a finished clip run, an open_clip folder, or a T5 or BERT in the layout of Hugging Face.
        output_dir: the features folder.
        replace: move a folder that was made with other options aside to NAME.previous.
        on_progress: gets records of progress.
        **options: fields of `FeaturesConfig`, such as layers=(2,).

    Raises:
        ConfigError: the request cannot be right, or the encoder is not understood.
        DataError: the captions are damaged.
    """
    from t2i_core.encoders.config import FeaturesConfig
    from t2i_core.encoding.step import features as step

    return step(
        _folder(captions),
        _folder(encoder),
        FeaturesConfig.parse(options),
        Path(output_dir),
        on_conflict=_on_conflict(replace),
        on_progress=on_progress,
    )


def train(
    captions: Folder,
    output_dir: str | Path,
    *,
    replace: bool = False,
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> StepRef:
    """Train one model, in a process of its own; the same call resumes an unfinished run. Call it on the main thread.

    Args:
        captions: what `caption` returned, or its folder.
        output_dir: the run folder.
        replace: move a folder that was made with other options aside to NAME.previous.
        on_progress: gets a record about once a second.
        **options: fields of `TrainConfig`, such as preset="diffusion-demo" or max_minutes=5.

    Raises:
        ConfigError: the request cannot be right.
        TrainingError: training cannot go on.
        StoppedError, TransientError: it was stopped; the same call goes on.
    """
    from t2i_core.training.config import TrainConfig
    from t2i_core.training.supervisor import supervise_training as step

    config = TrainConfig.parse(options)
    return step(_folder(captions), config, Path(output_dir), on_conflict=_on_conflict(replace), on_progress=on_progress)


def evaluate(
    run: Folder,
    output_dir: str | Path,
    *,
    baseline: Folder | None = None,
    clip_run: Folder | None = None,
    captions: Folder | None = None,
    replace: bool = False,
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> StepRef:
    """Score a finished run or system and write report.html.

    Args:
        run: what `train` or `compose` returned, or its folder.
        output_dir: the evaluation folder.
        baseline: a finished run or system to print beside it.
        clip_run: a finished CLIP run that scores.
        captions: what `caption` returned, or its folder, that is asked of in place of the run's own.
        replace: move a folder that was made with other options aside to NAME.previous.
        on_progress: gets records of progress.
        **options: fields of `EvaluateConfig`, such as prompts_per_task=10.

    Raises:
        ConfigError: the request cannot be right.
        DataError: the captions or shards behind the run are damaged.
    """
    from t2i_core.evaluation.config import EvaluateConfig
    from t2i_core.evaluation.step import evaluate as step

    return step(
        _model(run),
        EvaluateConfig.parse(options),
        Path(output_dir),
        baseline_dir=None if baseline is None else _model(baseline),
        clip_dir=None if clip_run is None else _folder(clip_run),
        captions_dir=None if captions is None else _folder(captions),
        on_conflict=_on_conflict(replace),
        on_progress=on_progress,
    )


def compose(runs: Mapping[str, Folder], output_dir: str | Path, *, replace: bool = False) -> StepRef:
    """Make a system of finished runs that draw together: `compose({"base": small, "upsampler": large}, "work/system")`.

    Args:
        runs: what `train` returned, or its folder, by role: base, upsampler, second_upsampler, clip, inpaint,
            inpaint_upsampler, prior.
        output_dir: the system folder, which names them; nothing is copied.
        replace: move a folder that was made of other runs aside to NAME.previous.

    Raises:
        ConfigError: there is no such role, no base, or the runs do not fit together.
    """
    from t2i_core.composition.config import by_role
    from t2i_core.composition.step import compose as step

    return step(by_role(_named(runs)), Path(output_dir), on_conflict=_on_conflict(replace))


def compare(
    evaluations: Sequence[Folder] | Mapping[str, Folder],
    output_dir: str | Path,
    *,
    replace: bool = False,
    **options: Any,
) -> StepRef:
    """Set the evaluations of several systems side by side, and write report.html and grid.png.

    Args:
        evaluations: what `evaluate` returned, or its folder, of each system; by the names of their rows if wanted.
        output_dir: the comparison folder.
        replace: move a folder that was made of other evaluations aside to NAME.previous.
        **options: fields of `CompareConfig`, such as prompts_per_task=3.

    Raises:
        ConfigError: they were not made of the same prompts and seeds by the same judges.
        DataError: one is damaged.
    """
    from t2i_core.comparison.config import CompareConfig
    from t2i_core.comparison.step import compare as step

    given = _named(evaluations) if isinstance(evaluations, Mapping) else [str(_folder(each)) for each in evaluations]
    return step(tuple(given), CompareConfig.parse(options), Path(output_dir), on_conflict=_on_conflict(replace))


def edit(
    run: Folder,
    kind: "EditKind",
    picture: str | Path,
    prompt: str | Sequence[str],
    output_dir: str | Path,
    *,
    on_progress: OnProgress = ignore_progress,
    **options: Any,
) -> "list[EditedImage]":
    """Change a picture; the results and `strip.png` lie in a new folder.

    Args:
        run: what `train` or `compose` returned, or its folder.
        kind: "inpaint", "outpaint", "image-to-image", "iterative", "upscale" or "invert".
        picture: PNG, JPEG or WebP file.
        prompt: what the result is to show; several, in turn, for "iterative".
        output_dir: a folder that is new or empty.
        on_progress: gets pictures drawn.
        **options: fields of `EditConfig`, such as box=["0,0,32,32"] or strength=0.5.

    Raises:
        ConfigError: the request does not fit its kind, the picture, or what the run can do.
        CheckpointError: the run is damaged.
    """
    from t2i_core.generation.edits.config import EditConfig, EditRequest
    from t2i_core.generation.edits.edit import edit as step

    request = EditRequest(
        run_dir=_model(run),
        kind=kind,
        picture=Path(picture),
        prompts=(prompt,) if isinstance(prompt, str) else tuple(prompt),
        output_dir=Path(output_dir),
        config=EditConfig.parse(options),
    )
    return step(request, on_progress=on_progress)


def load(run: Folder) -> "Model":
    """Load a finished run or system that draws: `load("work/run")("a red circle on a gray background")`.

    Args:
        run: what `train` or `compose` returned, or its folder.

    Raises:
        ConfigError: the folder is not a finished run or system, or the run draws nothing (a CLIP).
        CheckpointError: its checkpoint is damaged.
    """
    from t2i_core.generation.model import Model

    return Model(_model(run))


def promote(run: Folder, registry: str | Path = "", *, why: str = "asked for by a program") -> "Promotion":
    """Make a finished run or system the champion: what `load("champion")` loads from then on.

    Args:
        run: what `train` or `compose` returned, or its folder.
        registry: folder that the record is written in; empty for that of `T2I_REGISTRY`, or else workspace/nightly.
        why: in a sentence.

    Raises:
        ConfigError: it is no finished run or system, is not whole, or draws nothing.
    """
    from t2i_core.promotion.registry import default_registry
    from t2i_core.promotion.step import promote as step

    return step(_folder(run), Path(registry) if registry else default_registry(), why=why)


def rollback(registry: str | Path = "", *, why: str = "asked for by a program") -> "Promotion":
    """Make the previous champion the champion again; the two change places.

    Raises:
        ConfigError: there is no previous one, or its folder is not what was promoted any more.
    """
    from t2i_core.promotion.registry import default_registry
    from t2i_core.promotion.step import rollback as step

    return step(Path(registry) if registry else default_registry(), why=why)


def _folder(given: Folder) -> Path:
    return given.path if isinstance(given, StepRef) else Path(given)


def _model(given: Folder) -> Path:
    """Give the folder of a run or system, which may be called by its name in a registry."""
    from t2i_core.promotion.registry import model_folder

    return model_folder(_folder(given))


def _named(given: Folder | Mapping[str, Folder]) -> list[str]:
    """Spell folders as commands take them."""
    if isinstance(given, Mapping):
        return [f"{name}={_folder(folder)}" for name, folder in given.items()]
    return [str(_folder(given))]


def _on_conflict(replace: bool) -> OnConflict:
    return "replace" if replace else "refuse"
