"""An evaluation that is not there yet: the prompts drawn, the pictures checked, the report written.

A score is worth its anchors. So the same table holds real pictures (ceiling), the model's own pictures against other
prompts (floor) and, where given, the baseline; the checker and the CLIP each pass a gate first, and a figure whose gate
fails is withheld with the reason.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from t2i_core.canonical import canonical_json
from t2i_core.errors import ConfigError
from t2i_core.evaluation.background import Runs
from t2i_core.evaluation.circumstances import CIRCUMSTANCES_NAME, note_circumstances
from t2i_core.evaluation.config import EvaluateConfig, EvaluateRequest
from t2i_core.evaluation.judges.clip_score import ClipScorer, load_clip
from t2i_core.evaluation.judges.statistics import plain
from t2i_core.evaluation.measure import Evaluation, measure
from t2i_core.evaluation.report import metrics_of, write_report
from t2i_core.evaluation.studies.maker import PictureMaker
from t2i_core.evaluation.studies.table import require_able
from t2i_core.folders.atomic import staged_folder, write_atomically
from t2i_core.folders.claim import claim_folder
from t2i_core.folders.manifest import (
    OutputFile,
    StepKey,
    StepRef,
    describe_file,
    relative_source,
    sha256_of,
    write_manifest,
)
from t2i_core.generation.asked import refuse_ignored, refuse_unknown_words, require_leaders
from t2i_core.generation.generator import load_generator
from t2i_core.lineage.ancestors import trace
from t2i_core.lineage.mark import png_bytes
from t2i_core.progress import OnProgress
from t2i_core.training.device import choose_compute

# Files that tell when and how fast, and so differ each time.
NOTED_NAMES = frozenset({"report.html", CIRCUMSTANCES_NAME})


def make_evaluation(
    request: EvaluateRequest,
    key: StepKey,
    on_progress: OnProgress,
    open_run: Callable[[Path], PictureMaker] | None,
) -> StepRef:
    """Score a finished run or system.

    Args:
        request: what was asked for.
        key: of the evaluation.
        on_progress: gets pictures drawn.
        open_run: makes a finished run draw; None loads the checkpoint that the config asks for.

    Raises:
        ConfigError: a folder is not what it should be, or the CLIP cannot be had.
        DataError: the captions or shards are damaged.
    """
    run_dir, config, output_dir = request.run_dir, request.config, request.output_dir
    baseline_dir, clip_dir, captions_dir = request.baseline_dir, request.clip_dir, request.captions_dir
    _refuse_settings(run_dir, baseline_dir, config, key)
    # What can be refused is refused before the folder is touched and before minutes of drawing.
    scorer, open_run = _scorer(config, clip_dir), open_run or _opener(config)
    makers = {"model": open_run(run_dir)} | ({"baseline": open_run(baseline_dir)} if baseline_dir else {})
    refuse_unknown_words(makers["model"].prompt_words_unknown, [config.negative_prompt])
    require_able(makers["model"], config.studies)
    claim_folder(output_dir, key, request.on_conflict)
    evaluation = measure(run_dir, config, makers, captions_dir=captions_dir, scorer=scorer, on_progress=on_progress)
    others = {name: folder for name, folder in (("baseline", baseline_dir), ("clip", clip_dir)) if folder}
    asked = {"captions": captions_dir} if captions_dir and "captions" in key.inputs else {}
    with staged_folder(output_dir) as stage:
        _write_results(stage, evaluation, key)
        circumstances = note_circumstances(evaluation.seconds, {name: m.drawn_with for name, m in makers.items()})
        write_report(stage, output_dir, Runs(run_dir, others, asked), evaluation, circumstances)
        ref = write_manifest(
            stage,
            kind="evaluation",
            key=key,
            sources=_sources(output_dir, {"run": run_dir} | others | asked | config.weaker),
            counts=_counts(evaluation),
            files=_files(stage),
        )
    return ref.with_changes(path=output_dir)


def _files(stage: Path) -> list[OutputFile]:
    """Describe all that was written."""
    paths = (path for path in sorted(stage.rglob("*")) if path.is_file())
    return [describe_file(stage, path, content=path.name not in NOTED_NAMES) for path in paths]


def _opener(config: EvaluateConfig) -> Callable[[Path], PictureMaker]:
    """Choose once how to compute, or the model and what it is compared with might be rounded differently."""
    return partial(load_generator, compute=choose_compute(), config=config)


def _refuse_own_clip(run_dir: Path, key: StepKey) -> None:
    """Refuse to have what was trained by the eyes of a CLIP scored by the same one, which it would please.

    Raises:
        ConfigError: so it is.
    """
    chain = trace(run_dir)
    inside = {ancestor.manifest.key.inputs.get("clip") for ancestor in chain if ancestor.manifest.kind == "run"}
    weights = {
        file.sha256
        for ancestor in chain
        if ancestor.manifest.digest in inside
        for file in ancestor.manifest.files
        if file.path.endswith("open_clip_model.safetensors")
    }
    scoring = {name: key.inputs.get(name) for name in ("clip", "clip_weights")}
    if scoring["clip"] in inside - {None} or scoring["clip_weights"] in weights:
        raise ConfigError(
            f"{run_dir} was made by the eyes of the very CLIP that is to score it, which it would please whatever it "
            "draws: score with another one, such as a clip run of another seed."
        )


def _refuse_settings(run_dir: Path, baseline_dir: Path | None, config: EvaluateConfig, key: StepKey) -> None:
    """Refuse settings of drawing that the model would ignore, or that fit it or the baseline ill, and its own CLIP."""
    _refuse_own_clip(run_dir, key)
    refuse_ignored(run_dir, config)
    if baseline_dir is not None:
        require_leaders(baseline_dir, config)


def _sources(output_dir: Path, folders: Mapping[str, Path]) -> dict[str, str]:
    return {name: relative_source(folder, output_dir) for name, folder in folders.items()}


def _scorer(config: EvaluateConfig, clip_dir: Path | None) -> ClipScorer | None:
    if config.clip or clip_dir is None:
        return load_clip(config.clip) if config.clip else None
    folder = clip_dir / "open_clip"
    if not folder.is_dir():
        raise ConfigError(f"{clip_dir} is not a clip run: it has no open_clip folder. Train one with a clip preset.")
    return load_clip(f"local-dir:{folder}")


def _write_results(stage: Path, evaluation: Evaluation, key: StepKey) -> None:
    """Write pictures and figures; making the evaluation again on the same machine gives the same bytes."""
    rows = list(_write_pictures(stage, evaluation, key))
    lines = "".join(canonical_json(row) + "\n" for row in rows)
    write_atomically(stage / "samples.jsonl", lines.encode())
    metrics = json.dumps(metrics_of(evaluation), indent=2, ensure_ascii=False, default=plain)
    write_atomically(stage / "metrics.json", metrics.encode() + b"\n")


def _write_pictures(stage: Path, evaluation: Evaluation, key: StepKey) -> Iterator[dict[str, Any]]:
    """Write every picture as PNG with its origin inside, and give one record a picture."""
    (stage / "images").mkdir()
    digests = {"model": key.inputs["run"], "baseline": key.inputs.get("baseline", "")}
    for who, drawn in evaluation.drawn.items():
        for p, prompt in enumerate(evaluation.benchmark.prompts):
            for k, picture in enumerate(drawn.pictures[p]):
                prefix = "" if who == "model" else f"{who}-"
                path = stage / "images" / f"{prefix}{p * len(drawn.pictures[p]) + k:05d}.png"
                origin = {"prompt": prompt.text, "seed": int(drawn.seeds[p, k]), "run": digests[who]}
                write_atomically(path, png_bytes(picture, origin))
                record = {"drawn_by": who, "prompt_id": prompt.id, "task": prompt.task} | origin
                record |= {"file": path.relative_to(stage).as_posix(), "sha256": sha256_of(path)}
                record["asks_for"] = prompt.meaning
                yield record | _judgement(evaluation, who, p, k)


def _judgement(evaluation: Evaluation, who: str, p: int, k: int) -> dict[str, Any]:
    """Join what all metrics say of a picture."""
    record: dict[str, Any] = {}
    for section in evaluation.sections.values():
        if section.by_picture and who in section.by_picture:
            record |= section.by_picture[who][p][k]
    return record


def _counts(evaluation: Evaluation) -> dict[str, int]:
    counts = {"prompts": len(evaluation.benchmark.prompts), "images": evaluation.drawn["model"].seeds.size}
    for section in evaluation.sections.values():
        counts |= section.counts or {}
    return counts
