"""Which runs fit together: those of a system, and a run with a weaker one that it is to be led away from."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from t2i_core.composition.config import BASE, ENLARGES, FILLED_BY, PRIOR, Role
from t2i_core.config import Config
from t2i_core.errors import ConfigError
from t2i_core.folders.manifest import read_manifest, sha256_of
from t2i_core.systems.config import (
    DiffusionConfig,
    DirectConfig,
    NoisedCLIPConfig,
    NoisedConfig,
    PriorStageConfig,
    SystemConfig,
    UnCLIPNetworkConfig,
)
from t2i_core.training.config import EMBEDDINGS
from t2i_core.training.finished import read_origins, read_run_config

# What a run of the wrong kind lacks.
WANTED: dict[Role, str] = {
    "base": "it does not draw",
    "upsampler": "it enlarges no pictures",
    "second_upsampler": "it enlarges no pictures",
    "clip": "it is no CLIP of noised pictures",
    "inpaint": "it fills in nothing",
    "inpaint_upsampler": "it enlarges no pictures",
    "prior": "it makes no embeddings of pictures",
}
# Whose run takes a role; of all others it draws from noise.
KINDS: dict[Role, type[Config]] = {
    "clip": NoisedCLIPConfig,
    "prior": PriorStageConfig,
}
# What runs must have alike, and in words, so that one can be led away from the other.
ALIKE = {
    "low_side": "enlarges pictures",
    "inpaints": "was trained to fill in",
    "learned_variance": "learned how much noise a step adds",
}


def require_fit(runs: Mapping[Role, Path]) -> None:
    """Refuse runs that cannot draw together.

    Raises:
        ConfigError: a role is taken by a run of the wrong kind, size or vocabulary; says which and why.
        CheckpointError: the config of a run is damaged.
    """
    stages = {role: Known.of(folder) for role, folder in runs.items()}
    for role, stage in stages.items():
        if told := _misfit(role, stage, stages):
            raise ConfigError(f"{stage.folder} cannot be the {role}: {told}.")
    for role, filling in FILLED_BY.items():
        large = {each: stages[each].side for each in (role, filling) if each in ENLARGES and each in stages}
        if len(set(large.values())) > 1:
            told = " and ".join(f"the {each} to {side}" for each, side in large.items())
            raise ConfigError(f"these runs enlarge pictures to different sides: {told} pixels.")


@dataclass(frozen=True, slots=True)
class Known:
    """What a run says of itself.

    Attributes:
        folder: the run folder.
        config: of its stage.
        side: of the pictures that it draws or looks at, pixels.
        words: sha256 of its tokenizer.
    """

    folder: Path
    config: SystemConfig
    side: int
    words: str

    @classmethod
    def of(cls, folder: Path) -> "Known":
        """Read what a run says."""
        preset, sizes = read_run_config(folder)
        own = preset.system.side if isinstance(preset.system, NoisedConfig) else 0
        return cls(folder, preset.system, own or sizes.image_size, sha256_of(folder / "tokenizer.json"))


def _misfit(role: Role, stage: Known, stages: Mapping[Role, Known]) -> str:
    """Say why a run cannot take a role beside the others; empty where it can."""
    config, base = stage.config, stages[BASE]
    if isinstance(config, DirectConfig) and role == BASE:
        return ""
    if not isinstance(config, KINDS.get(role, DiffusionConfig)):
        return WANTED[role]
    if role == PRIOR and (told := _misfit_of_prior(stage, base)):
        return told
    if isinstance(config, DiffusionConfig) and (told := _misfit_of_drawing(role, config, stages)):
        return told
    if isinstance(config, NoisedCLIPConfig) and getattr(base.config, "schedule", None) != config.schedule:
        return "it knows pictures on another way to noise than the base's"
    if role not in (*ENLARGES, PRIOR) and stage.side != base.side:
        return f"its pictures have {stage.side} pixels a side, and the base's {base.side}"
    if stage.words != base.words:
        return f"it learned other words than {base.folder}, and would read a prompt otherwise; train both on one folder"
    return ""


def _misfit_of_prior(prior: Known, base: Known) -> str:
    if not isinstance(base.config, DiffusionConfig) or not isinstance(base.config.network, UnCLIPNetworkConfig):
        return "the base reads no embeddings of pictures"
    if read_origins(prior.folder)[EMBEDDINGS] != read_origins(base.folder)[EMBEDDINGS]:
        return f"its embeddings are of another CLIP than those of {base.folder}: train both on one folder of them"
    return ""


def _misfit_of_drawing(role: Role, config: DiffusionConfig, stages: Mapping[Role, Known]) -> str:
    if role.startswith("inpaint") and not config.inpaints:
        return "it was not trained to fill in what is missing (`inpaints`)"
    if role not in ENLARGES:
        return "it enlarges pictures, and draws none from words alone" if config.low_side else ""
    before = ENLARGES[role]
    if not config.low_side:
        return WANTED[role]
    if before not in stages:
        return f"it enlarges what an {before} draws, and there is none"
    if (side := stages[before].side) != config.low_side:
        return f"it enlarges pictures of {config.low_side} pixels, and the {before} draws {side}"
    return ""


def require_weaker(run_dir: Path, weaker_dir: Path) -> None:
    """Refuse a run that another cannot be led away from: both must estimate the same pictures by the same words.

    Args:
        run_dir: a finished run.
        weaker_dir: what it is to be led away from (autoguidance).

    Raises:
        ConfigError: they do not fit, or `weaker_dir` is not a finished run; says which and why.
        CheckpointError: the config of a run is damaged.
    """
    read_manifest(weaker_dir, "run")
    run, weaker = Known.of(run_dir), Known.of(weaker_dir)
    if told := _unlike(run, weaker):
        raise ConfigError(f"{run_dir} cannot be led away from {weaker_dir} (--autoguide): {told}.")


def _unlike(run: Known, weaker: Known) -> str:
    """Say why a run cannot be led away from another; empty where it can."""
    own, other = run.config, weaker.config
    if not isinstance(own, DiffusionConfig) or not isinstance(other, DiffusionConfig):
        return f"one is a {own.kind} run and the other a {other.kind} run, and both must draw from noise"
    if own.schedule != other.schedule:
        return f"they know pictures on different ways to noise, {own.schedule} and {other.schedule}"
    if weaker.side != run.side:
        return f"its pictures have {run.side} pixels a side, and the other's {weaker.side}"
    if own.network.side_multiple % other.network.side_multiple:
        return f"it takes sides that are no multiples of {other.network.side_multiple}, as the other needs"
    for name, meant in ALIKE.items():
        if getattr(own, name) != getattr(other, name):
            return f"one {meant} and the other does not, or otherwise"
    if run.words != weaker.words or read_origins(run.folder) != read_origins(weaker.folder):
        return "they learned other words, and would read a prompt differently; train both on one folder of captions"
    return ""
