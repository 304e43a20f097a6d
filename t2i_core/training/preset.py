"""Presets: named training recipes as JSON files beside this one, and such files of one's own; needs no PyTorch.

A preset may start `from` another (see `t2i_core.recipe`); what is validated, digested and kept is the merged whole.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from t2i_core.config import Config
from t2i_core.data.batches.shapes import Shapes
from t2i_core.recipe import apply_changes, read_recipe, recipe_names
from t2i_core.systems.config import FieldName, SystemConfig

PRESET_DIR = files("t2i_core.training") / "presets"


class OptimConfig(Config):
    """How weights are updated."""

    method: Literal["adamw", "adafactor"] = Field(
        "adamw",
        exclude_if=lambda method: method == "adamw",
        description="What trains the weights that Muon does not: AdamW, or Adafactor (arXiv:1804.04235), which keeps "
        "a number for each row and column of a matrix instead of two for each weight, and scales the learning rate "
        "by the size of the weights.",
    )
    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW or Adafactor.")
    muon_learning_rate: float = Field(
        0.0, ge=0, description="Peak learning rate of Muon on hidden weight matrices; 0 trains none with it."
    )
    betas: tuple[float, float] = Field((0.9, 0.99), description="AdamW's decay rates.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay of AdamW or Adafactor.")
    warmup_steps: int = Field(100, ge=0, description="Steps over which the learning rate rises from zero.")
    decay_from: float = Field(
        0.3, ge=0, lt=1, description="Share of the budget after which the rate falls, to 0 at its end."
    )
    sam_rho: float = Field(
        0.0,
        ge=0,
        le=10,
        exclude_if=lambda rho: not rho,
        description="Radius of sharpness-aware minimization (SAM, arXiv:2010.01412), with which unCLIP's CLIP is "
        "published (0.1): gradients are those where the loss is largest this far around the weights, for twice the "
        "time; 0 is without.",
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are scaled down to it.")


Decay = Annotated[float, Field(ge=0, lt=1)]


class EMAConfig(Config):
    """How long the averages reach back."""

    decays: tuple[Decay, ...] = Field(
        (0.998,),
        min_length=1,
        max_length=4,
        description="Decay per step of each average once it has warmed up; the first one is drawn with.",
    )

    @field_validator("decays")
    @classmethod
    def _differ(cls, decays: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(decays)) < len(decays):
            raise ValueError("the same decay stands there twice")
        return decays


class DropConfig(Config):
    """How often each field of the condition is dropped, so that the null which a network puts in its place is learned.

    Each field of each sample is dropped independently of all others; guidance leads away from what is learned so.
    """

    text: float = Field(0, ge=0, lt=1, description="Share of samples without their caption.")
    image: float = Field(0, ge=0, lt=1, description="Share of samples without the embedding of a picture.")
    low: float = Field(0, ge=0, lt=1, description="Share of samples without the small picture to be enlarged.")
    known: float = Field(0, ge=0, lt=1, description="Share of samples without known parts of the picture.")


class Preset(Config):
    """Everything about a training but its data, its budget's override and its seed."""

    description: str = Field(description="What the preset is for, and what it costs.")
    system: SystemConfig
    optim: OptimConfig = OptimConfig()
    ema: EMAConfig = EMAConfig()
    shapes: Shapes = Shapes()
    batch_size: int = Field(32, gt=0, le=1_000_000, description="Pictures a step.")
    micro_batch_size: int = Field(
        0, ge=0, description="Pictures that are worked on at once, to save memory; 0 = all of a step."
    )
    drop: DropConfig = DropConfig()
    max_minutes: float = Field(0, ge=0, description="Budget of training time, minutes; 0 = none.")
    max_images: int = Field(0, ge=0, description="Budget of pictures seen; 0 = none.")

    @property
    def drop_rates(self) -> dict[FieldName, float]:
        """How often each field is dropped, of those that ever are."""
        rates: dict[FieldName, float] = {
            "text": self.drop.text,
            "image": self.drop.image,
            "low": self.drop.low,
            "known": self.drop.known,
        }
        return {name: rate for name, rate in rates.items() if rate}

    @model_validator(mode="after")
    def _has_nulls(self) -> Self:
        if without := self.drop_rates.keys() - self.system.nulls:
            names = ", ".join(f"drop.{name}" for name in sorted(without))
            raise ValueError(f"this {self.system.kind} system puts nothing in the place of what {names} would drop")
        return self

    @model_validator(mode="after")
    def _can_be_parted(self) -> Self:
        if self.micro_batch_size and self.system.compares_samples:
            raise ValueError(
                f"the loss of a {self.system.kind} system compares the pictures of a step with each other, which must "
                "be worked on at once: leave micro_batch_size out, and choose a smaller batch_size if memory is short"
            )
        return self

    @model_validator(mode="after")
    def _takes_shapes(self) -> Self:
        multiple = self.system.side_multiple
        if self.shapes.num > 1 and not multiple:
            raise ValueError(f"a {self.system.kind} system takes squares of one size: leave shapes.step out")
        if self.shapes.num > 1 and self.shapes.step % multiple:
            raise ValueError(f"this network takes sides that are multiples of {multiple}: shapes.step must be one")
        return self


def preset_names() -> list[str]:
    """List the presets."""
    return recipe_names(PRESET_DIR)


def load_preset(wanted: str, changes: Sequence[str] = ()) -> Preset:
    """Load a preset.

    Args:
        wanted: its name, or the path of a JSON file.
        changes: fields to set, such as "optim.learning_rate=3e-3".

    Raises:
        ConfigError: there is none, it cannot be read, or what comes of it does not fit.
    """
    return Preset.parse(apply_changes(read_recipe(PRESET_DIR, wanted), changes))
