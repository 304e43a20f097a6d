"""When, where and with what an evaluation and the trainings behind it were made, and how to make it again."""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import Field

from t2i_core import __version__
from t2i_core.config import Config
from t2i_core.door import read_file
from t2i_core.errors import DataError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.metrics.section import Link
from t2i_core.folders.manifest import MANIFEST_NAME, read_manifest, relative_source
from t2i_core.lineage.ancestors import Ancestor
from t2i_core.machine import Machine, code_commit, describe_machine
from t2i_core.progress import describe_seconds

CIRCUMSTANCES_NAME = "circumstances.json"
MAX_CONFIG_BYTES = 1_000_000
# Files beside a report that a reader may want, by kind of folder.
LINKED = {
    "evaluation": ("metrics.json", "samples.jsonl", "report.md", CIRCUMSTANCES_NAME, "images"),
    "run": ("config.json", "metrics.jsonl", "compute.json", "train.log", "manifest.json", "samples"),
    "features": ("manifest.json",),
    "captions": ("report.html", "report.json", "captions.parquet", "manifest.json"),
    "dataset": ("report.html", "README.md", "croissant.json", "hosts.json", "manifest.json"),
}
ALWAYS_SPELT = ("prompts_per_task", "images_per_prompt", "seed")


class Circumstances(Config):
    """What may differ when the same evaluation is made again; the figures are elsewhere."""

    finished: datetime = Field(description="When the evaluation ended, UTC.")
    code_version: str
    code_commit: str = Field(description="Commit of the code, -dirty where it was changed; empty if not known.")
    machine: Machine
    drawn_with: dict[str, str] = Field(description="Device and precision by who drew.")
    seconds: dict[str, float] = Field(description="Wall time of each part, seconds.")

    @property
    def total_seconds(self) -> float:
        """Wall time of all parts."""
        return sum(self.seconds.values())


def note_circumstances(seconds: Mapping[str, float], drawn_with: Mapping[str, str]) -> Circumstances:
    """Note time, code and machine at the end of an evaluation."""
    return Circumstances(
        finished=datetime.now(UTC).replace(microsecond=0),
        code_version=__version__,
        code_commit=code_commit(),
        machine=describe_machine(),
        drawn_with=dict(drawn_with),
        seconds={part: round(value, 2) for part, value in seconds.items()},
    )


@dataclass(frozen=True, slots=True)
class TrainingFacts:
    """What a finished run was made with.

    Attributes:
        role: what the run is here: model, baseline or CLIP.
        main: the facts a reader asks for first, by name; a fact that is not known is left out.
        settings: every hyperparameter of the recipe, by its path.
    """

    role: str
    main: dict[str, str]
    settings: dict[str, str]


def training_facts(role: str, run_dir: Path, num_train: int) -> TrainingFacts:
    """Read what a finished run was made with.

    Args:
        role: what the run is here.
        run_dir: the finished run.
        num_train: pictures of its training split, 0 if not known.
    """
    counts = read_manifest(run_dir, "run").counts
    config, compute = read_object(run_dir / "config.json"), read_object(run_dir / "compute.json")
    recipe = config.get("recipe")
    settings = dict(_flat(recipe)) if isinstance(recipe, dict) else {}
    images, seconds = counts.get("images", 0), counts.get("seconds", 0)
    main = {
        "preset": str(config.get("preset", "")),
        "system": str(config.get("system", "")),
        "parameters": f"{counts.get('parameters', 0):,}" if counts.get("parameters") else "",
        "pictures seen": f"{images:,}" + (f", {images / num_train:.2g} times the training split" if num_train else ""),
        "steps": f"{counts.get('steps', 0):,}",
        "batch size": settings.get("batch_size", ""),
        "training time": describe_seconds(seconds) if seconds else "",
        "pictures a second": f"{images / seconds:,.0f}" if seconds else "",
        "learning rate": settings.get("optim.learning_rate", ""),
        "learning rate of Muon": settings.get("optim.muon_learning_rate", ""),
        "captions dropped": settings.get("drop.text", ""),
        "seed": _text(_inner(config, "train", "seed")),
        "sampler": settings.get("system.sampler", ""),
        "sampling steps": settings.get("system.num_steps", ""),
        "guidance": settings.get("system.guidance_scale", ""),
        "trained on": _device(compute),
    }
    return TrainingFacts(role, {name: value for name, value in main.items() if value}, settings)


def _device(compute: Mapping[str, Any]) -> str:
    """Say which device a run was trained on, and in which precision."""
    names = [str(compute.get(name) or "") for name in ("device", "name")]
    threads = compute.get("threads")
    if isinstance(threads, int) and threads and names[0] == "cpu":
        names.append(f"{threads} threads")
    return ", ".join(name for name in [*names, str(compute.get("precision") or "")] if name)


def read_object(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run folder; empty where there is none, or none that can be read."""
    try:
        data = json.loads(read_file(path, MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError, DataError):
        return {}
    return data if isinstance(data, dict) else {}


def _inner(data: Mapping[str, Any], *names: str) -> Any:
    value: Any = data
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _flat(data: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """List the leaves of nested settings by their paths."""
    for name, value in data.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        elif name != "description":
            yield f"{prefix}{name}", _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_text, value))
    return "" if value is None else str(value)


def links_between(output_dir: Path, folders: Mapping[str, Path], own: Sequence[str]) -> dict[str, list[Link]]:
    """Point from a report to the files that it was made from, as far as they are there.

    Args:
        output_dir: the report's folder.
        folders: title and place of each folder it was made from.
        own: names in the report's folder.

    Returns:
        Links by title of the folder.
    """
    links = {"this evaluation": [Link(name, quote(name)) for name in own]}
    for title, folder in folders.items():
        # Of other kinds of folders there is nothing to be read but what they were made from.
        named = LINKED.get(read_manifest(folder).kind, (MANIFEST_NAME,))
        place = relative_source(folder, output_dir)
        there = [name for name in named if (folder / name).exists()]
        links[title] = [Link(name, quote(f"{place}/{name}")) for name in there]
    return links


def folders_behind(ancestors: Sequence[Ancestor], others: Mapping[str, Path]) -> dict[str, Path]:
    """Name the folders that an evaluation was made from: what drew and its ancestors, then the other runs by role."""
    titles = {"run": "run of the model", "system": "system of the model"}
    roles = {
        (ancestor.folder / place).resolve(): f"run of the {role}"
        for ancestor in ancestors
        if ancestor.manifest.kind == "system"
        for role, place in ancestor.manifest.sources.items()
    }
    folders: dict[str, Path] = {}
    for ancestor in ancestors:
        kind = ancestor.manifest.kind
        title = roles.get(ancestor.folder.resolve(), titles.get(kind, kind))
        # A run may have started from another, whose captions may be others.
        earlier = sum(name.startswith(title) for name in folders)
        folders[f"{title} ({earlier} before)" if earlier else title] = ancestor.folder
    return folders | {f"run of the {name}": folder for name, folder in others.items()}


def reproduce_command(config: EvaluateConfig, output_dir: Path, run_dir: Path, others: Mapping[str, Path]) -> str:
    """Write the command that makes the evaluation again, to be run in the evaluation's folder.

    Args:
        config: of the evaluation.
        output_dir: the evaluation's folder.
        run_dir: the run that was evaluated.
        others: further folders, by "baseline", "clip" and "captions".
    """
    again = f"../{output_dir.resolve().name}-again"
    words = ["t2i", "evaluate", relative_source(run_dir, output_dir), "--output-dir", again]
    for name, folder in others.items():
        words += [f"--{name}-dir", relative_source(folder, output_dir)]
    defaults = EvaluateConfig()
    for name, value in config:
        if name in ALWAYS_SPELT or value != getattr(defaults, name):
            for each in value if isinstance(value, tuple) else (value,):
                words += ["--" + name.replace("_", "-"), _spelt(name, each, output_dir)]
    return shlex.join([*words, "--no-prefect"])


def _spelt(name: str, value: Any, output_dir: Path) -> str:
    """Spell an option's value; paths of a local CLIP and of weaker runs start at the evaluation's folder."""
    local, _, path = str(value).partition("local-dir:")
    if name == "clip" and not local and path:
        return f"local-dir:{relative_source(Path(path), output_dir)}"
    if name in ("clip", "autoguide") and Path(str(value)).is_dir():
        return relative_source(Path(str(value)), output_dir)
    setting, _, path = str(value).partition(".autoguide=")
    if name == "set" and path:
        return f"{setting}.autoguide={relative_source(Path(path), output_dir)}"
    return str(value)
