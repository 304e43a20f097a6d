"""Which recipes are tried, how they are judged and when one is stopped; needs no PyTorch."""

import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise, product
from math import prod
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.promotion.config import FigureName
from t2i_core.training.config import VALIDATION_SAMPLES, TrainConfig
from t2i_core.training.preset import Preset, load_preset
from t2i_core.tuning.axis import Axis, parse_axis

MAX_TRIALS = 200
# Options of a training that may be tried beside the fields of its recipe.
OPTIONS = ("preset", "seed", "init_from", "precision")
BUDGETS = ("max_images", "max_minutes")
# Fields, with all below them, whose validation losses are of the same pictures, noise and weights.
SEEN_IN_LOSS = (
    *("optim", "ema", "drop", "micro_batch_size", "seed", "init_from", "precision"),
    *("system.network", "system.cnn", "system.text", "system.text_width", "system.text_layers"),
    *("system.embed_dim", "system.patch_size", "system.width", "system.image_layers", "system.image"),
)
# By the path of its field, the value of each that a trial sets.
Settings = Mapping[str, Any]
JudgeName = Literal["loss", FigureName]


class TuneConfig(TrainConfig):
    """A recipe, its fields that are tried, how trials are judged, and when one is stopped."""

    grid: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="Fields and the values to try, such as optim.learning_rate=1e-3,3e-3; all combinations are tried.",
    )
    search: tuple[str, ...] = Field(
        (),
        max_length=20,
        description="Fields that Optuna searches, ranges such as optim.learning_rate=1e-4..1e-2:log or lists of values "
        "(needs the tune extra).",
    )
    trials: int = Field(20, ge=1, le=MAX_TRIALS, description="Trials of a search.")
    rungs: int = Field(
        3,
        ge=1,
        le=6,
        description="Budgets of a trial: after each but the last the worse trials are stopped; 1 stops none.",
    )
    reduction: int = Field(
        3, ge=2, le=10, description="Of so many trials one goes on to the next budget, which is as many times as large."
    )
    judge: JudgeName = Field(
        "loss",
        description="What is compared: loss (on validation pictures), or of an evaluation strict, styles, clip, or the "
        "first that there is (auto).",
    )
    prompts_per_task: int = Field(24, ge=1, le=5000, description="Held-out prompts a task, where trials are evaluated.")
    images_per_prompt: int = Field(2, ge=1, le=64, description="Pictures a prompt, likewise.")

    @model_validator(mode="after")
    def _tries_something(self) -> Self:
        if bool(self.grid) == bool(self.search):
            raise ConfigError(
                "a tune tries something: give --grid, of which all combinations are tried, or --search, and not both."
            )
        if self.max_minutes:
            raise ConfigError("the budget of a tune is counted in pictures: --max-images in place of --max-minutes.")
        paths = [axis.path for axis in self.axes]
        for path in paths:
            if path in BUDGETS or (path in TrainConfig.model_fields and path not in OPTIONS) or paths.count(path) > 1:
                raise ConfigError(
                    f"{path} cannot be tried, or stands there twice: try fields of the recipe (`t2i presets show`), "
                    f"{', '.join(OPTIONS)}."
                )
        if self.grid and (number := prod(len(axis.values) for axis in self.axes)) > MAX_TRIALS:
            raise ConfigError(f"a tune tries {MAX_TRIALS} recipes at most, and these are {number}.")
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """What is tried."""
        return tuple(parse_axis(text, ranges=bool(self.search)) for text in self.grid or self.search)

    @property
    def combinations(self) -> list[Settings]:
        """All combinations of the values of the axes."""
        paths, values = zip(*((axis.path, axis.values) for axis in self.axes), strict=True)
        return [dict(zip(paths, each, strict=True)) for each in product(*values)]

    @property
    def budgets(self) -> tuple[int, ...]:
        """Pictures that trials have seen at each rung.

        Raises:
            ConfigError: the preset is unknown, or nothing says how many there are.
        """
        whole = self.max_images or load_preset(self.preset, self.set).max_images
        if not whole:
            raise ConfigError(f"preset {self.preset_name} counts no pictures, as a tune does: give --max-images.")
        return tuple(max(1, whole // self.reduction**left) for left in reversed(range(self.rungs)))

    def training(self, settings: Settings, max_images: int) -> TrainConfig:
        """Give the training of a trial.

        Args:
            settings: that it tries.
            max_images: its budget.

        Raises:
            ConfigError: a value is out of bounds.
        """
        base = {name: getattr(self, name) for name in TrainConfig.model_fields} | {"max_images": max_images}
        changes = [f"{path}={json.dumps(value)}" for path, value in settings.items() if path not in OPTIONS]
        options = {path: value for path, value in settings.items() if path in OPTIONS}
        return TrainConfig.parse(base | {"set": (*self.set, *changes)} | options)

    def evaluation(self) -> EvaluateConfig:
        """Give how a trial is evaluated; copies of training pictures are not searched for."""
        asked = {"prompts_per_task": self.prompts_per_task, "images_per_prompt": self.images_per_prompt}
        return EvaluateConfig.parse(asked | {"num_train": 0})

    def check(self) -> None:
        """Refuse, before anything is trained, what can be known to be wrong.

        Raises:
            ConfigError: a field is unknown, a value out of bounds, a budget too small, or losses say nothing.
        """
        recipes = [self.training(settings, self.budgets[-1]).resolve() for settings in self._corners()]
        for recipe in recipes:
            self._require_steps(recipe)
        if self.judge == "loss":
            for axis in self.axes:
                _require_seen_in_loss(axis, recipes)

    def _corners(self) -> Iterator[Settings]:
        """Give all trials of a grid; of a search each end and choice beside the first ones of the others."""
        if self.grid:
            yield from self.combinations
            return
        first = {axis.path: axis.values[0] for axis in self.axes}
        yield from (first | {axis.path: value} for axis in self.axes for value in axis.values)

    def _require_steps(self, recipe: Preset) -> None:
        """Refuse rungs so near each other that a batch steps over one."""
        for budget, next_budget in pairwise(self.budgets):
            if -(-budget // recipe.batch_size) * recipe.batch_size >= next_budget:
                raise ConfigError(
                    f"a rung of {budget:,} pictures leaves nothing to train until {next_budget:,}, in batches of "
                    f"{recipe.batch_size}: give more --max-images, or fewer --rungs."
                )


def _require_seen_in_loss(axis: Axis, recipes: Sequence[Preset]) -> None:
    """Refuse to compare losses of other things, or of what the loss does not show."""
    if axis.path == "batch_size" and not recipes[0].system.compares_samples and not axis.is_range:
        # As many pictures of one order, whatever the size.
        if all(isinstance(size, int) and VALIDATION_SAMPLES % size == 0 for size in axis.values):
            return
    elif any(f"{axis.path}.".startswith(f"{path}.") for path in SEEN_IN_LOSS):
        return
    raise ConfigError(
        f"losses of runs that differ in {axis.path} cannot be compared: they are of other pictures, other noise or "
        "other weights, or do not depend on it. Judge what is drawn: add --judge strict (or styles, clip)."
    )


# Headings of the help and of the form.
TUNE_GROUPS = {"What is tried": tuple(name for name in TuneConfig.model_fields if name not in TrainConfig.model_fields)}
