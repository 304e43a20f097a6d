"""Presets: named training recipes as JSON files beside this one, and such files of one's own; needs no PyTorch.

A preset may start `from` another (see `t2i_core.recipe`); what is validated, digested and kept is the merged whole.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, Self

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from t2i_core.config import Config
from t2i_core.data.batches.shapes import Shapes
from t2i_core.recipe import apply_changes, read_recipe, recipe_names
from t2i_core.systems.config import SystemConfig

PRESET_DIR = files("t2i_core.training") / "presets"


class OptimConfig(Config):
    """How weights are updated."""

    learning_rate: float = Field(1e-3, gt=0, description="Peak learning rate of Adam.")
    muon_learning_rate: float = Field(
        0.0, ge=0, description="Peak learning rate of Muon on hidden weight matrices; 0 trains all weights with Adam."
    )
    betas: tuple[float, float] = Field((0.9, 0.99), description="Adam's decay rates.")
    weight_decay: float = Field(0.01, ge=0, description="Decoupled weight decay of Adam.")
    warmup_steps: int = Field(100, ge=0, description="Steps over which the learning rate rises from zero.")
    decay_from: float = Field(
        0.3, ge=0, lt=1, description="Share of the budget after which the rate falls, to 0 at its end."
    )
    max_grad_norm: float = Field(1.0, gt=0, description="Gradients longer than this are scaled down to it.")


class EMAConfig(Config):
    """How long the average reaches back."""

    max_decay: float = Field(0.998, ge=0, lt=1, description="Decay per step once the average has warmed up.")


class Preset(Config):
    """Everything about a training but its data, its budget's override and its seed."""

    description: str = Field(description="What the preset is for, and what it costs.")
    system: SystemConfig
    optim: OptimConfig = OptimConfig()
    ema: EMAConfig = EMAConfig()
    shapes: Shapes = Field(default_factory=Shapes, description="Shapes that pictures are trained in.")
    batch_size: int = Field(32, gt=0, le=1_000_000, description="Pictures a step.")
    caption_dropout: float = Field(0.1, ge=0, lt=1, description="Share of captions replaced by the empty one.")
    max_minutes: float = Field(0, ge=0, description="Budget of training time, minutes; 0 = none.")
    max_images: int = Field(0, ge=0, description="Budget of pictures seen; 0 = none.")

    @model_serializer(mode="wrap")
    def _without_usual_shapes(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # Recipes that were written before there were shapes keep their digests, which are part of every run's key.
        data: dict[str, Any] = dump(self)
        if self.shapes == Shapes():
            data.pop("shapes", None)
        return data

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
