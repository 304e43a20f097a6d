"""How to draw with a finished run or system; needs no PyTorch."""

from typing import Self

from pydantic import Field, model_validator

from t2i_core.composition.config import BASE, ROLES, Role
from t2i_core.config import Config
from t2i_core.diffusion.kinds import SamplerName
from t2i_core.errors import ConfigError, did_you_mean
from t2i_core.recipe import apply_changes
from t2i_core.training.curve import CheckpointName

# Settings that all stages have: those that say which weights draw, and what others are told.
OF_ALL = frozenset({"checkpoint", "ema", "set"})


class DrawConfig(Config):
    """Settings of drawing. What is left empty is the run's own, and what its system ignores is refused."""

    guidance_scale: float | None = Field(
        None, gt=0, le=100, description="Classifier-free guidance; 1 switches it off. Empty: the run's own."
    )
    steps: int | None = Field(None, gt=0, le=1000, description="Sampling steps. Empty: the run's own.")
    sampler: SamplerName | None = Field(
        None, description="How noise becomes a picture step by step. Empty: the run's own."
    )
    negative_prompt: str = Field(
        "", max_length=10_000, description="What guidance leads away from, in place of the empty prompt."
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


class GenerateConfig(DrawConfig):
    """How to draw, and how many."""

    num_images: int = Field(1, gt=0, le=10_000, description="Pictures a prompt.")
    seed: int = Field(0, ge=0, description="Seed; picture i of a prompt depends on (seed, prompt, i) alone.")
    grid: bool = Field(False, description="Also lay all pictures side by side in grid.png.")
