"""The compose step: runs that fit together become a system, a folder of roles. Nothing is copied."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_core.composition.config import BASE, Role, compose_key
from t2i_core.data.bounded.disk import tells_disk_errors
from t2i_core.errors import ConfigError
from t2i_core.manifest import (
    OnConflict,
    StepRef,
    claim_folder,
    find_hit,
    read_manifest,
    relative_source,
    sha256_of,
    write_manifest,
)
from t2i_core.systems.config import DiffusionConfig, DirectConfig, NoisedCLIPConfig, NoisedConfig, StageConfig
from t2i_core.training.finished import read_run_config

# What a run of the wrong kind lacks.
WANTED: dict[Role, str] = {
    "base": "it does not draw",
    "upsampler": "it enlarges no pictures",
    "clip": "it is no CLIP of noised pictures",
    "inpaint": "it fills in nothing",
    "inpaint_upsampler": "it enlarges no pictures",
}


@tells_disk_errors
def compose(runs: dict[Role, Path], output_dir: Path, *, on_conflict: OnConflict = "refuse") -> StepRef:
    """Make a system of finished runs; it names them by relative paths and digests.

    Args:
        runs: finished run folders by role; a base there must be.
        output_dir: the system folder.
        on_conflict: what to do with a folder that holds other work.

    Raises:
        ConfigError: a folder is not a finished run, the runs do not fit together, or `output_dir` holds other work.
        DataError: a manifest is damaged.
        CheckpointError: the config of a run is damaged.
    """
    key = compose_key(runs)
    if hit := find_hit(output_dir, key):
        return hit
    require_fit(runs)
    claim_folder(output_dir, key, on_conflict)
    parameters = sum(read_manifest(folder).counts.get("parameters", 0) for folder in runs.values())
    return write_manifest(
        output_dir,
        kind="system",
        key=key,
        sources={role: relative_source(folder, output_dir) for role, folder in runs.items()},
        counts={"runs": len(runs), "parameters": parameters},
        files=[],
    )


def require_fit(runs: Mapping[Role, Path]) -> None:
    """Refuse runs that cannot draw together.

    Raises:
        ConfigError: a role is taken by a run of the wrong kind, size or vocabulary; says which and why.
        CheckpointError: the config of a run is damaged.
    """
    stages = {role: _Known.of(folder) for role, folder in runs.items()}
    for role, stage in stages.items():
        if told := _misfit(role, stage, stages[BASE]):
            raise ConfigError(f"{stage.folder} cannot be the {role}: {told}.")
    large = {role: stage.side for role, stage in stages.items() if role.endswith("upsampler")}
    if len(set(large.values())) > 1:
        told = " and ".join(f"the {role} to {side}" for role, side in large.items())
        raise ConfigError(f"these runs enlarge pictures to different sides: {told} pixels.")


@dataclass(frozen=True, slots=True)
class _Known:
    """What a run says of itself.

    Attributes:
        folder: the run folder.
        config: of its stage.
        side: of the pictures that it draws or looks at, pixels.
        words: sha256 of its tokenizer.
    """

    folder: Path
    config: StageConfig
    side: int
    words: str

    @classmethod
    def of(cls, folder: Path) -> "_Known":
        preset, sizes = read_run_config(folder)
        own = preset.system.side if isinstance(preset.system, NoisedConfig) else 0
        return cls(folder, preset.system, own or sizes.image_size, sha256_of(folder / "tokenizer.json"))


def _misfit(role: Role, stage: _Known, base: _Known) -> str:
    """Say why a run cannot take a role beside a base; empty where it can."""
    config = stage.config
    if isinstance(config, DirectConfig) and role == BASE:
        return ""
    if not isinstance(config, NoisedCLIPConfig if role == "clip" else DiffusionConfig):
        return WANTED[role]
    if isinstance(config, DiffusionConfig):
        if told := _misfit_of_drawing(role, config, base.side):
            return told
    elif not isinstance(base.config, DiffusionConfig) or config.schedule != base.config.schedule:
        return "it knows pictures on another way to noise than the base's"
    if not role.endswith("upsampler") and stage.side != base.side:
        return f"its pictures have {stage.side} pixels a side, and the base's {base.side}"
    if stage.words != base.words:
        return f"it learned other words than {base.folder}, and would read a prompt otherwise; train both on one folder"
    return ""


def _misfit_of_drawing(role: Role, config: DiffusionConfig, side: int) -> str:
    enlarges, fills = role.endswith("upsampler"), role.startswith("inpaint")
    if fills and not config.inpaints:
        return "it was not trained to fill in what is missing (`inpaints`)"
    if enlarges and not config.low_side:
        return WANTED[role]
    if enlarges and config.low_side != side:
        return f"it enlarges pictures of {config.low_side} pixels, and the base draws {side}"
    return "it enlarges pictures, and draws none from words alone" if config.low_side and not enlarges else ""
