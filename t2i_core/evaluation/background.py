"""What a report says beside its scores: how the run was trained, how all was made, and where it comes from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from t2i_core.composition.config import parts_of
from t2i_core.errors import DataError
from t2i_core.evaluation.circumstances import (
    LINKED,
    Circumstances,
    TrainingFacts,
    folders_behind,
    links_between,
    reproduce_command,
    training_facts,
)
from t2i_core.evaluation.config import BENCHMARK_VERSION
from t2i_core.evaluation.logged import LEAD, charts_of, tables_of
from t2i_core.evaluation.measure import Evaluation
from t2i_core.evaluation.metrics.section import Beside, Block, Column, Facts, Picture, Row, Section, Table, Text
from t2i_core.generation.config import DrawConfig
from t2i_core.progress import describe_seconds
from t2i_core.report.pictures import open_picture
from t2i_core.training.curve import log_rows, validation_curve, verdict

NUM_SAMPLE_GRIDS = 4


@dataclass(frozen=True, slots=True)
class Runs:
    """The finished runs and systems of an evaluation.

    Attributes:
        model: what was evaluated.
        others: further runs by "baseline" and "clip".
        asked: the captions that were asked of, by "captions", where the model was trained on others.
    """

    model: Path
    others: Mapping[str, Path]
    asked: Mapping[str, Path]


def trainings_of(runs: Runs, num_train: int) -> list[TrainingFacts]:
    """Read what each run was made with, the model first; of a system each of its runs."""
    folders = {"Model": runs.model} | {{"clip": "CLIP"}.get(n, n.capitalize()): f for n, f in runs.others.items()}
    return [
        training_facts(f"{who}: {role}" if len(parts) > 1 else who, run_dir, num_train)
        for who, parts in ((who, parts_of(folder)) for who, folder in folders.items())
        for role, run_dir in parts.items()
    ]


def training_section(folder: Path) -> Section:
    """Draw what the run, or each run of the system, logged, and a few of its sample grids."""
    parts = parts_of(folder)
    shown = {role if len(parts) > 1 else "": _training_blocks(run_dir) for role, run_dir in parts.items()}
    blocks: list[Block] = []
    for role, found in shown.items():
        blocks += [Text(f"The {role}:"), *found] if role and found else found
    return Section(title="Training curves", blocks=[Text(LEAD, quiet=True), *blocks] if blocks else [])


def _training_blocks(run_dir: Path) -> list[Block]:
    grids, rows = _sample_grids(run_dir), list(log_rows(run_dir))
    blocks: list[Block] = [Beside("", charts)] if (charts := charts_of(rows)) else []
    blocks += [Text(f"In the end: {told}")] if (told := verdict(validation_curve(run_dir))) else []
    blocks += tables_of(rows)
    blocks += [Beside("The same prompts and seeds during training", grids)] if grids else []
    return blocks


def _sample_grids(run_dir: Path) -> list[Picture]:
    """Take a few of the run's own sample grids, first to last; one that is no sound PNG is left out."""
    paths = sorted((run_dir / "samples").glob("*.png"))
    picked = sorted({round(i) for i in np.linspace(0, len(paths) - 1, NUM_SAMPLE_GRIDS)}) if paths else []
    grids = []
    for path in (paths[i] for i in picked):
        try:
            grids.append(Picture(np.asarray(open_picture(path)), f"samples at {path.stem}", path.stem))
        except DataError:
            continue
    return grids


def made_section(
    output_dir: Path, runs: Runs, evaluation: Evaluation, circumstances: Circumstances, trainings: list[TrainingFacts]
) -> Section:
    """Say how to make the evaluation again, and with what machine, time and trainings it was made."""
    named = {**runs.others, **runs.asked}
    settings = [Facts(f"All settings: {t.role}", _spaced(t.settings)) for t in trainings if t.settings]
    return Section(
        title="How it was made",
        blocks=[
            Text("In the folder of this page, this command makes the same evaluation again:"),
            Text(
                reproduce_command(evaluation.config, output_dir, runs.model, named),
                command=True,
            ),
            Text(_sameness(evaluation, circumstances), quiet=True),
            Facts("Machine and time", _machine_and_time(circumstances)),
            _table_of_trainings(trainings),
            Facts("How the model's pictures were drawn", _drawing(evaluation.config, trainings[0].main)),
            *settings,
        ],
    )


def _drawing(config: DrawConfig, own: Mapping[str, str]) -> dict[str, str]:
    """List what pictures were drawn with: the run's own settings, and what was asked for in their place or beside."""
    asked = {name: str(value) for name, value in config.asked.items()}
    named = {"steps": "sampling steps", "guidance_scale": "guidance"}
    facts = {name: own[name] for name in ("sampler", "sampling steps", "guidance") if name in own}
    facts |= {named.get(name, name): value for name, value in asked.items()}
    facts |= {f"{role}: {name}": str(value) for role in config.others for name, value in config.of(role).asked.items()}
    average = "" if config.ema is None else f", average of decay {config.ema:g}"
    facts["weights"] = f"of the {config.checkpoint} checkpoint{average}"
    return _spaced(facts)


def _spaced(settings: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", " "): value or "–" for name, value in settings.items()}


def _sameness(evaluation: Evaluation, circumstances: Circumstances) -> str:
    code = f"commit {circumstances.code_commit}" if circumstances.code_commit else f"t2i {circumstances.code_version}"
    return (
        f"On the same kind of machine with {code} it writes the same pictures and the same `metrics.json`. A picture's "
        f"seed is a hash of seed {evaluation.config.seed}, prompt and number, whatever the batch. Prompts "
        f"{BENCHMARK_VERSION}, run `{evaluation.ancestors[0].manifest.digest[:16]}`."
    )


def _machine_and_time(circumstances: Circumstances) -> dict[str, str]:
    machine = circumstances.machine
    facts = {
        "processor": machine.cpu,
        "cores used": str(machine.cores),
        "graphics cards": ", ".join(machine.gpus),
        "memory": f"{machine.memory_gb:.0f} GB" if machine.memory_gb else "not known",
        "software": f"{machine.system}, Python {machine.python}, PyTorch {machine.torch}",
    }
    facts |= {f"drawn by the {who} on": what for who, what in circumstances.drawn_with.items()}
    facts |= {part: describe_seconds(seconds) for part, seconds in circumstances.seconds.items() if seconds >= 0.5}
    return {name: value for name, value in facts.items() if value}


def _table_of_trainings(trainings: list[TrainingFacts]) -> Table:
    names = dict.fromkeys(name for training in trainings for name in training.main)
    rows = [Row(name, [training.main.get(name, "–") for training in trainings]) for name in names]
    return Table("Trainings", "Fact", [Column(training.role) for training in trainings], rows)


def origin_section(output_dir: Path, runs: Runs, evaluation: Evaluation) -> Section:
    """Follow the score back to the data, with links to the files."""
    rows = []
    for manifest in (ancestor.manifest for ancestor in evaluation.ancestors):
        made_by = f"{manifest.key.step} v{manifest.key.version}, t2i {manifest.code_version}"
        counts = ", ".join(f"{name.replace('_', ' ')} {num:,}" for name, num in manifest.counts.items())
        rows.append(Row(manifest.kind, [manifest.digest[:16], made_by, counts]))
    links = links_between(output_dir, folders_behind(evaluation.ancestors, runs.others), LINKED["evaluation"])
    return Section(
        title="Where it comes from",
        blocks=[
            Table("Folders", "Folder", [Column("Digest"), Column("Made by"), Column("Counts")], rows),
            Facts("Files", {title: found for title, found in links.items() if found}),
        ],
    )
