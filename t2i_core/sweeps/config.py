"""Which ways of drawing are tried; needs no PyTorch."""

from itertools import product
from typing import Annotated, Any

from pydantic import Field, model_validator

from t2i_core.diffusion.kinds import SamplerName
from t2i_core.errors import ConfigError
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.generation.config import DRAW_GROUPS
from t2i_core.promotion.config import FigureName

MAX_POINTS = 200
OWN = "own"
# The setting that each list is of, and how it is spelt in a point's name.
AXES = {
    "guidance_scales": ("guidance_scale", "g"),
    "step_counts": ("steps", "s"),
    "time_shifts": ("time_shift", "t"),
    "emas": ("ema", "ema"),
    "samplers": ("sampler", ""),
}


class SweepConfig(EvaluateConfig):
    """How a run is judged, and the settings of drawing that are tried in all combinations."""

    guidance_scales: tuple[Annotated[float, Field(gt=0, le=100)], ...] = Field(
        (), max_length=MAX_POINTS, description="scales of guidance to try; none leaves the run's own"
    )
    step_counts: tuple[Annotated[int, Field(gt=0, le=1000)], ...] = Field(
        (), max_length=MAX_POINTS, description="numbers of sampling steps to try; none leaves the run's own"
    )
    time_shifts: tuple[Annotated[float, Field(ge=0.01, le=100)], ...] = Field(
        (),
        max_length=MAX_POINTS,
        description="shifts of the times of the steps to try, as --time-shift; none leaves the run's own schedule",
    )
    emas: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = Field(
        (), max_length=20, description="decays of averages of the weights to try, of those that the run kept"
    )
    samplers: tuple[SamplerName, ...] = Field(
        (), max_length=20, description="samplers to try; none leaves the run's own"
    )
    figure: FigureName = Field("auto", description="what is compared: strict, styles, clip, or the first there is")

    @model_validator(mode="after")
    def _tries_something(self) -> "SweepConfig":
        if not any(getattr(self, axis) for axis in AXES):
            raise ConfigError(
                "a sweep tries something: give --guidance-scales, --step-counts, --time-shifts, --emas or --samplers."
            )
        if len(self.points) > MAX_POINTS + 1:
            raise ConfigError(f"a sweep tries {MAX_POINTS} ways at most, and these are {len(self.points) - 1}.")
        return self

    @property
    def tried(self) -> dict[str, dict[str, Any]]:
        """The settings of each way by its name; the run's own, which sets nothing, comes first."""
        axes = [(*AXES[axis], getattr(self, axis)) for axis in AXES if getattr(self, axis)]
        ways = product(*(dict.fromkeys(values) for _, _, values in axes))
        named = {}
        for way in ways:
            settings = {setting: value for (setting, _, _), value in zip(axes, way, strict=True)}
            parts = (
                f"{mark}{value:.12g}" if mark else str(value) for (_, mark, _), value in zip(axes, way, strict=True)
            )
            named["_".join(parts)] = settings
        return {OWN: {}, **named}

    @property
    def points(self) -> dict[str, EvaluateConfig]:
        """The evaluation of each way by its name."""
        asked = self.model_dump(exclude={*AXES, "figure"})
        return {name: EvaluateConfig.parse(asked | settings) for name, settings in self.tried.items()}


# Headings of the help and of the form.
SWEEP_GROUPS = {"What is tried": (*AXES, "figure"), **DRAW_GROUPS}
