"""What a pipeline does: `PipelineConfig`, its presets, and the request that a person fills in."""

from importlib.resources import files
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field

from t2i_core.captioning.config import CaptionConfig
from t2i_core.config import Config
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.ingestion.config import IngestConfig
from t2i_core.recipe import read_recipe, recipe_names
from t2i_core.samples.site import SiteConfig
from t2i_core.training.config import TrainConfig

SITE_PREFIX = "site:"
PRESETS = files("flows") / "presets"
PresetName = Literal["demo", "demo-smoke"]
DemoSource = Literal["scenes", "emoji"]

# Minutes of a timed job kept for everything that is not training, and never more than this share of it.
OTHER_MINUTES, MAX_OTHER_SHARE = 2.6, 0.4
TRAINING_SHARES = {"cnn": 0.07, "clip": 0.10, "diffusion": 0.83}


class PipelineConfig(Config):
    """A whole job: what to scrape, and the config of each step."""

    source: str = Field(description="Page, URL list or folder; site:scenes or site:emoji for the built-in site.")
    minutes: float = Field(
        default=0, ge=0, description="Aim for the whole job, minutes; 0 leaves each training its own budget."
    )
    site: SiteConfig = Field(description="The built-in site, when it is the source.")
    ingest: IngestConfig
    caption: CaptionConfig
    cnn: TrainConfig | None = Field(default=None, description="The one-step baseline; null leaves it out.")
    clip: TrainConfig | None = Field(default=None, description="The scorer; null leaves it out.")
    diffusion: TrainConfig = Field(description="The model to be scored.")
    evaluate: EvaluateConfig

    @classmethod
    def preset(cls, name: str) -> Self:
        """Load a preset by its name, or a file of one's own that may start from one.

        Raises:
            ConfigError: there is none, or it does not fit.
        """
        return cls.parse(read_recipe(PRESETS, name))

    @property
    def uses_site(self) -> bool:
        """Whether the built-in site is the source."""
        return self.source.startswith(SITE_PREFIX)

    @property
    def trainings(self) -> dict[str, TrainConfig]:
        """The trainings by name, each with its share of the job's minutes if those are set."""
        chosen = {"cnn": self.cnn, "clip": self.clip, "diffusion": self.diffusion}
        minutes = training_minutes(self.minutes)
        return {
            name: config.with_changes(max_minutes=minutes[name]) if self.minutes else config
            for name, config in chosen.items()
            if config is not None
        }


class PipelineRequest(Config):
    """What a person chooses: a preset or a config file, and a few changes to it."""

    preset: PresetName = Field(default="demo", title="Preset", description="Complete settings to start from.")
    config_file: str = Field(
        default="",
        title="Config file",
        description="Path of a complete pipeline config (JSON) to use in place of the preset; empty for none.",
    )
    source: str = Field(
        default="",
        title="Source",
        description="Page, URL list, folder, site:scenes or site:emoji; empty for the preset's own.",
    )
    minutes: float = Field(
        default=0,
        ge=0,
        le=100_000,
        title="Minutes",
        description="Aim for the whole job, minutes; 0 for the preset's own budget.",
    )
    image_size: int = Field(
        default=0,
        ge=0,
        le=1024,
        title="Image size",
        description="Side of the pictures, pixels; 0 for the preset's own.",
    )

    def resolve(self) -> PipelineConfig:
        """Give the complete config.

        Raises:
            ConfigError: the preset or file is unknown, or the result does not fit together.
        """
        config = PipelineConfig.load(Path(self.config_file)) if self.config_file else PipelineConfig.preset(self.preset)
        changes: dict[str, Any] = {}
        source = self.source or config.source
        if self.source:
            changes["source"] = source
        if source.startswith(SITE_PREFIX):
            changes["site"] = config.site.with_changes(source=source.removeprefix(SITE_PREFIX))
        if self.minutes:
            changes["minutes"] = self.minutes
        if self.image_size:
            changes["ingest"] = config.ingest.with_changes(image_size=self.image_size)
            changes["site"] = changes.get("site", config.site).with_changes(image_size=self.image_size)
        return config.with_changes(**changes) if changes else config


def training_minutes(minutes: float) -> dict[str, float]:
    """Share out a job's minutes among its trainings.

    Args:
        minutes: aim for the whole job; what ingest, caption and evaluate need is set aside first.

    Returns:
        Minutes of each training, rounded to hundredths.
    """
    trainable = minutes - min(OTHER_MINUTES, MAX_OTHER_SHARE * minutes)
    return {name: round(share * trainable, 2) for name, share in TRAINING_SHARES.items()}


def preset_names() -> list[str]:
    """List the presets of the package."""
    return recipe_names(PRESETS)
