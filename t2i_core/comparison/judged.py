"""A finished evaluation as a comparison reads it, and whether several were made alike."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any, TypeVar

from t2i_core.config import Config
from t2i_core.door import read_file
from t2i_core.errors import ConfigError, DataError
from t2i_core.evaluation.circumstances import CIRCUMSTANCES_NAME, Circumstances
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.evaluation.judges.statistics import Estimate
from t2i_core.evaluation.metrics.section import Section
from t2i_core.folders.hits import missing_outputs
from t2i_core.folders.layout import MAX_LOG_BYTES
from t2i_core.folders.manifest import Manifest, read_manifest
from t2i_core.generation.config import DrawConfig

T = TypeVar("T")
# Settings that a system may have of its own; all others say how it is judged.
OWN = {*DrawConfig.model_fields, "clip", "studies"}
JUDGING = [name for name in EvaluateConfig.model_fields if name not in OWN]


class Shot(Config):
    """A picture of the system, as a line of `samples.jsonl` has it."""

    prompt_id: str
    task: str
    prompt: str
    seed: int
    file: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Shot":
        """Take what a comparison needs out of a line."""
        return cls.parse({name: row[name] for name in cls.model_fields})


class Folder(Config):
    """A folder that the system was made from, or the system itself, as `metrics.json` lists it."""

    kind: str
    digest: str
    inputs: dict[str, str]
    counts: dict[str, int]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """A finished evaluation of one system.

    Attributes:
        name: that the system has in the comparison.
        folder: of the evaluation.
        manifest: likewise.
        metrics: every number.
        shots: the system's pictures, prompt by prompt.
        rows: what each metric says of these.
        circumstances: when, where and how fast it drew.
    """

    name: str
    folder: Path
    manifest: Manifest
    metrics: Mapping[str, Any]
    shots: tuple[Shot, ...]
    rows: tuple[Mapping[str, Any], ...]
    circumstances: Circumstances

    @classmethod
    def read(cls, name: str, folder: Path) -> "Judged":
        """Read a finished evaluation.

        Raises:
            ConfigError: it is none, or some of it is gone.
            DataError: it is damaged.
        """
        manifest = read_manifest(folder, "evaluation")
        if missing := missing_outputs(folder, manifest):
            raise ConfigError(f"{folder} is no longer whole: {missing[0]} is gone or changed. Evaluate again.")
        metrics, rows = _sound(folder, lambda: (_json(folder / "metrics.json")[0], _json(folder / "samples.jsonl")))
        own = _sound(folder, lambda: tuple(row for row in rows if row["drawn_by"] == "model"))
        shots = _sound(folder, lambda: tuple(map(Shot.of, own)))
        return cls(name, folder, manifest, metrics, shots, own, Circumstances.load(folder / CIRCUMSTANCES_NAME))

    @property
    def config(self) -> EvaluateConfig:
        """What it was asked, and how it was judged."""
        return EvaluateConfig.parse(self.manifest.key.config)

    @property
    def first_shots(self) -> list[Shot]:
        """The first picture of each prompt."""
        return [next(shots) for _, shots in groupby(self.shots, key=attrgetter("prompt_id"))]

    @property
    def seconds_a_picture(self) -> float:
        """Wall time of drawing, loading left out, for each picture."""
        return self.circumstances.seconds.get("drawing by the model", 0.0) / max(1, len(self.shots))

    @property
    def sections(self) -> list[Section]:
        """What its metrics found, in short."""
        return _sound(self.folder, lambda: [Section.parse(each) for each in self.metrics["sections"].values()])

    @property
    def not_scored(self) -> list[str]:
        """What was not measured, and why."""
        return _sound(self.folder, lambda: [str(note) for note in self.metrics["not_scored"]])

    @property
    def lineage(self) -> list[Folder]:
        """What was judged, and all it was made from, the nearest first."""
        names = Folder.model_fields
        listed = self.metrics.get("lineage", [])
        return _sound(self.folder, lambda: [Folder.parse({name: each[name] for name in names}) for each in listed])

    def found(self, *path: str) -> Any:
        """Give what stands at a path of `metrics.json`, None where there is nothing."""
        value: Any = self.metrics
        for name in path:
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def estimate(self, *path: str) -> Estimate | None:
        """Give the figure at a path of `metrics.json`, None where there is none."""
        found = self.found(*path)
        return None if found is None else _sound(self.folder, lambda: Estimate(**found))


def _json(path: Path) -> list[Any]:
    """Read a file of JSON, or of a line of JSON each."""
    text = read_file(path, MAX_LOG_BYTES).decode()
    return [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else [json.loads(text)]


def _sound(folder: Path, read: Callable[[], T]) -> T:
    """Read something, and say of whatever is wrong with it where it stands.

    Raises:
        DataError: it is damaged.
    """
    try:
        return read()
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError, ConfigError) as err:
        raise DataError(f"the figures in {folder} are damaged ({err!r:.200}). Evaluate again.") from err


def require_alike(judged: Sequence[Judged]) -> None:
    """Refuse evaluations that were not made of the same prompts and seeds, by the same judges.

    Raises:
        ConfigError: two differ; says in what.
    """
    first = judged[0]
    for other in judged[1:]:
        for what, of in ASPECTS.items():
            ours, theirs = of(first), of(other)
            if ours != theirs:
                raise ConfigError(
                    f"{first.folder} and {other.folder} cannot be compared, their {what} differ: "
                    f"{_first_difference(ours, theirs)}. Evaluate both alike."
                )


def _settings(judged: Judged) -> list[str]:
    return [f"{name} {judged.manifest.key.config.get(name)}" for name in JUDGING]


def _judges(judged: Judged) -> list[str]:
    inputs = judged.manifest.key.inputs
    return [f"{name} {inputs.get(name, 'none')}" for name in ("checker", "prompts")]


def _scorer(judged: Judged) -> list[str]:
    weights = judged.found("clip", "identity", "weights_sha256")
    return [f"CLIP {weights:.16}" if isinstance(weights, str) else "no CLIP"]


ASPECTS: dict[str, Callable[[Judged], list[str]]] = {
    "settings": _settings,
    "judges": _judges,
    "prompts": lambda judged: [f"“{shot.prompt}”" for shot in judged.shots],
    "seeds": lambda judged: [f"{shot.seed} for {shot.prompt_id}" for shot in judged.shots],
    "scorers": _scorer,
}


def _first_difference(ours: Sequence[str], theirs: Sequence[str]) -> str:
    """Name the first two that differ, or what one has and the other lacks."""
    for a, b in zip(ours, theirs, strict=False):
        if a != b:
            return f"{a} and {b}"
    return f"{len(ours)} and {len(theirs)} of them"
