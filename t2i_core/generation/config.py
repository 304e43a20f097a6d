"""How to draw with a finished run or system; needs no PyTorch."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from t2i_core.composition.config import BASE, ROLES, Role
from t2i_core.config import Config
from t2i_core.diffusion.kinds import SamplerName
from t2i_core.errors import ConfigError, did_you_mean
from t2i_core.folders.manifest import read_manifest
from t2i_core.recipe import apply_changes
from t2i_core.systems.config import DynamicThreshold
from t2i_core.training.curve import CheckpointName

# Settings that all stages have: those that say which weights draw, and what others are told.
OF_ALL = frozenset({"checkpoint", "ema", "set"})
# What changes nothing where guidance is off.
OF_GUIDANCE = (
    *("negative_prompt", "autoguide", "guidance_interval", "guidance_rescale"),
    *("apg_parallel", "apg_momentum", "apg_radius"),
)
# What says how estimates are brought back to [-1, 1].
OF_THRESHOLD = ("threshold", "threshold_percentile", "threshold_cap")
# The settings by the heading that they stand under in the help of commands.
DRAW_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "Sampling": ("steps", "sampler", "time_shift", "eta", "low_level", *OF_THRESHOLD, "checkpoint", "ema", "set"),
        "Guidance": ("guidance_scale", *OF_GUIDANCE, "clip_guidance_scale"),
    }
)


class DrawConfig(Config):
    """Settings of drawing. What is left empty is the run's own, and what its system ignores is refused."""

    guidance_scale: float | None = Field(
        None, gt=0, le=100, description="Classifier-free guidance; 1 switches it off. Empty: the run's own."
    )
    steps: int | None = Field(None, gt=0, le=1000, description="Sampling steps. Empty: the run's own.")
    sampler: SamplerName | None = Field(
        None, description="How noise becomes a picture step by step. Empty: the run's own."
    )
    time_shift: float | None = Field(
        None,
        ge=0.01,
        le=100,
        exclude_if=lambda shift: shift is None,
        description="How far the times of the steps lean to noise, beside the run's own shift: above 1 more of them "
        "are for what noise hides, below 1 for details. Empty: 1.",
    )
    eta: float | None = Field(
        None, ge=0, le=1, description="Of the sampler ddim: 0 adds no noise on the way, 1 as much as ddpm. Empty: 0."
    )
    low_level: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Of an upsampler: noise that is put on small pictures before they are enlarged. Empty: its own.",
    )
    threshold: Literal["none", "static", "dynamic"] | None = Field(
        None,
        description="What is done to values that guidance drives out of a picture's bounds: nothing, cut off (static), "
        "or all divided by a percentile of them (dynamic). Empty: the run's own.",
    )
    threshold_percentile: float | None = Field(
        None, gt=0.5, le=1, description="Of the dynamic threshold: share of values that are not cut off. Empty: 0.98."
    )
    threshold_cap: float | None = Field(
        None, ge=1, le=100, description="Of the dynamic threshold: largest value that is brought back to 1. Empty: 1.5."
    )
    negative_prompt: str = Field(
        "", max_length=10_000, description="What guidance leads away from, in place of the empty prompt."
    )
    autoguide: str = Field(
        "",
        max_length=4096,
        description="Folder of a weaker run, trained shorter or smaller on the same captions, that guidance leads away "
        "from in place of the empty prompt.",
    )
    guidance_interval: str = Field(
        "",
        max_length=50,
        description="Times LOW,HIGH between which guidance acts; 0 is the picture and 1 noise. Empty: 0,1.",
    )
    guidance_rescale: float | None = Field(
        None,
        ge=0,
        le=1,
        description="How far guided estimates are brought back to the contrast that they had without. Empty: 0.",
    )
    apg_parallel: float | None = Field(
        None,
        ge=0,
        le=1,
        description="Adaptive projected guidance: share of the push along the picture itself, which saturates, that is "
        "kept. Empty: 1.",
    )
    apg_momentum: float | None = Field(
        None,
        gt=-1,
        lt=1,
        description="Adaptive projected guidance: share of earlier pushes that is added, mostly below 0. Empty: 0.",
    )
    apg_radius: float | None = Field(
        None,
        ge=0,
        description="Adaptive projected guidance: longest push, root of the sum of squares over a picture in -1 to 1; "
        "0 for any. Empty: 0.",
    )
    clip_guidance_scale: float | None = Field(
        None, gt=0, le=1000, description="Guidance by the system's CLIP of noised pictures. Empty: none."
    )
    checkpoint: CheckpointName = Field(
        "last", description="Weights of the end, or of the checkpoint with the lowest loss on validation pictures."
    )

    ema: float | None = Field(
        None, ge=0, lt=1, description="Decay of the average to draw with, if there are several. Empty: the first."
    )

    set: tuple[str, ...] = Field(
        (), description="Settings of another stage of a system than its base, such as upsampler.steps=8."
    )

    @model_validator(mode="after")
    def _sets_what_there_is(self) -> Self:
        for role in apply_changes({}, self.set):
            if role == BASE or role not in ROLES:
                hint = "; those of the base have options of their own" if role == BASE else did_you_mean(role, ROLES)
                raise ConfigError(f"--set takes ROLE.SETTING=VALUE, and {role!r:.80} is no such role{hint}.")
        for role in self.others:
            self.of(role)
        return self

    @model_validator(mode="after")
    def _has_what_it_details(self) -> Self:
        if self.threshold != "dynamic" and (self.threshold_percentile or self.threshold_cap):
            raise ConfigError("a percentile or a cap is of the dynamic threshold: add --threshold dynamic.")
        return self

    @field_validator("guidance_interval")
    @classmethod
    def _is_an_interval(cls, text: str) -> str:
        _interval(text)
        return text

    @property
    def interval(self) -> tuple[float, float]:
        """Times between which guidance acts."""
        return _interval(self.guidance_interval)

    @property
    def bounds(self) -> bool | DynamicThreshold | None:
        """How estimates are brought back to [-1, 1]; None: as the run does."""
        if self.threshold != "dynamic":
            return None if self.threshold is None else self.threshold == "static"
        asked = {"percentile": self.threshold_percentile, "cap": self.threshold_cap}
        return DynamicThreshold.parse({name: value for name, value in asked.items() if value is not None})

    @property
    def weaker(self) -> dict[str, Path]:
        """Folders of the runs that stages are led away from, by the option that names each."""
        named = {"" if role == BASE else f"{role}.": self.of(role).autoguide for role in (BASE, *self.others)}
        return {f"{role}autoguide": Path(folder) for role, folder in named.items() if folder}

    @property
    def weights(self) -> dict[Role, tuple[CheckpointName, float | None]]:
        """Which weights of each stage draw."""
        return {role: (self.of(role).checkpoint, self.of(role).ema) for role in ROLES}

    @property
    def others(self) -> tuple[Role, ...]:
        """Roles beside the base that something was asked for."""
        given = apply_changes({}, self.set)
        return tuple(role for role in ROLES if role in given)

    def of(self, role: Role) -> "DrawConfig":
        """Give the settings of one stage of a system: a base's, or what was set for another.

        Raises:
            ConfigError: a setting is unknown or out of bounds.
        """
        if role == BASE:
            own: object = {name: getattr(self, name) for name in DrawConfig.model_fields if name != "set"}
        else:
            own = apply_changes({}, self.set).get(role, {})
        return DrawConfig.parse(own)

    @property
    def asked(self) -> dict[str, float | str]:
        """What was asked for of the stage, by name."""
        settings = {name: getattr(self, name) for name in DrawConfig.model_fields if name not in OF_ALL}
        return {name: value for name, value in settings.items() if value not in (None, "")}


def weaker_digests(config: DrawConfig) -> dict[str, str]:
    """Read the digests of the runs that pictures are led away from, by the option that names each.

    Raises:
        ConfigError: one is not a finished run.
    """
    return {option: read_manifest(folder, "run").digest for option, folder in config.weaker.items()}


def _interval(text: str) -> tuple[float, float]:
    if not text:
        return 0.0, 1.0
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is not two numbers such as 0.2,0.8") from None
    if not 0 <= low <= high <= 1:
        raise ValueError(f"{text!r} does not lie within 0 and 1, the lower end first")
    return low, high


class GenerateConfig(DrawConfig):
    """How to draw, and how many."""

    num_images: int = Field(1, gt=0, le=10_000, description="Pictures a prompt.")
    seed: int = Field(0, ge=0, description="Seed; picture i of a prompt depends on (seed, prompt, i) alone.")
    grid: bool = Field(False, description="Also lay all pictures side by side in grid.png.")
