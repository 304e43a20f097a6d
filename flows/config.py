"""What a pipeline does: `PipelineConfig`, its presets, and the request that a person fills in."""

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from t2i_core.captioning.config import CaptionConfig
from t2i_core.composition.config import Role, require_base
from t2i_core.config import Config
from t2i_core.encoders.config import FeaturesConfig
from t2i_core.errors import ConfigError, did_you_mean
from t2i_core.evaluation.config import EvaluateConfig
from t2i_core.ingestion.config import IngestConfig
from t2i_core.recipe import read_recipe, recipe_names
from t2i_core.samples.site import SiteConfig
from t2i_core.training.config import TrainConfig

SITE_PREFIX = "site:"
PRESETS = files("flows") / "presets"
PresetName = Literal[
    "demo",
    "demo-smoke",
    "emoji-styles",
    "emoji-styles-smoke",
    "glide-smoke",
    "glide-toy",
    "imagen-smoke",
    "imagen-toy",
    "systems-smoke",
    "systems-toy",
    "unclip-smoke",
    "unclip-toy",
]

# Minutes of a timed job kept for everything that is not training, and never more than this share of it.
OTHER_MINUTES, MAX_OTHER_SHARE = 2.6, 0.4
MAX_RUNS = 100
# Of runs and systems that are judged by themselves, and then compared; fewer share one evaluation.
MAX_COMPARED, MAX_TOGETHER = 20, 2

# Folders of a workspace that scores end in.
EVALUATION, COMPARISON = "evaluation", "comparison"

# A run's name is that of its folder.
RunName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")]


class PlannedRun(TrainConfig):
    """One training of a job."""

    init_from: str = Field("", description="Earlier run of the job, or folder of a finished run, that it starts from.")
    share: float = Field(1, gt=0, le=1000, description="Part of the job's minutes that it gets, beside the others'.")

    def training(self, minutes: float) -> TrainConfig:
        """Give the training with its minutes; 0 leaves it its own budget."""
        changes = {"max_minutes": minutes} if minutes else {}
        return TrainConfig.parse(self.model_dump(exclude={"share"}) | changes)


class PlannedFeatures(FeaturesConfig):
    """Features of one frozen encoder, made when the first run that reads them is trained."""

    encoder: str = Field(
        min_length=1, description="A clip run of the job, or folder of an encoder, that reads the captions."
    )

    def encoding(self) -> FeaturesConfig:
        """Give what the features step takes."""
        return FeaturesConfig.parse(self.model_dump(exclude={"encoder"}))


class JudgeConfig(EvaluateConfig):
    """Which runs and systems are judged, by which, and how."""

    judged: tuple[RunName, ...] = Field(
        min_length=1,
        max_length=MAX_COMPARED,
        description="The run or system that is scored, and perhaps one that is printed beside it; three or more are "
        "each scored by themselves, and then compared.",
    )
    scorer: RunName | Literal[""] = Field("", description="The CLIP run that scores; empty for none.")

    @field_validator("judged")
    @classmethod
    def _once(cls, judged: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(judged)) < len(judged):
            raise ValueError("one is named twice")
        return judged

    @property
    def places(self) -> dict[str, tuple[str, ...]]:
        """Who is scored in each evaluation, by its folder in the workspace."""
        if len(self.judged) <= MAX_TOGETHER:
            return {EVALUATION: self.judged}
        return {f"evaluations/{name}": (name,) for name in self.judged}

    @property
    def result(self) -> str:
        """The folder of the workspace that holds all scores."""
        return EVALUATION if EVALUATION in self.places else COMPARISON

    def evaluation(self) -> EvaluateConfig:
        """Give what the evaluate step takes."""
        return EvaluateConfig.parse(self.model_dump(exclude={"judged", "scorer"}))


class PipelineConfig(Config):
    """A whole job: what to scrape, and the config of each step."""

    source: str = Field(
        description="Page, URL list or folder; site:scenes, site:emoji or site:emoji-styles for the built-in site."
    )
    minutes: float = Field(
        default=0, ge=0, description="Aim for the whole job, minutes; 0 leaves each training its own budget."
    )
    site: SiteConfig = Field(description="The built-in site, when it is the source.")
    ingest: IngestConfig
    caption: CaptionConfig
    features: dict[RunName, PlannedFeatures] = Field(
        default_factory=dict, max_length=MAX_RUNS, description="Features by name, for runs that name them in `uses`."
    )
    runs: dict[RunName, PlannedRun] = Field(
        min_length=1, max_length=MAX_RUNS, description="The trainings by name, in their order."
    )
    systems: dict[RunName, dict[Role, RunName]] = Field(
        default_factory=dict, max_length=MAX_RUNS, description="Systems by name, each with a run for each role."
    )
    evaluate: JudgeConfig

    @model_validator(mode="before")
    @classmethod
    def _with_runs(cls, data: Any) -> Any:
        """Leave out runs that are null, which takes a run away from what a config starts from."""
        if not isinstance(data, dict):
            return data
        runs = data.get("runs")
        if runs is None and "ingest" in data:
            raise ConfigError(
                "this pipeline config has no `runs`: each training stands there by its name now, and `evaluate` says "
                "which are judged. `t2i presets show demo` prints one whole."
            )
        if isinstance(runs, dict):
            data = data | {"runs": {name: run for name, run in runs.items() if run is not None}}
        return data

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        for name in [*self.evaluate.judged, *filter(None, [self.evaluate.scorer])]:
            _require(name, [*self.runs, *self.systems], "evaluate asks for")
        order = list(self.runs)
        for number, (name, run) in enumerate(self.runs.items()):
            for late in order[number:]:
                if late in self._made_from(run):
                    raise ConfigError(f"the run {name} is made from {late}, which is not trained before it.")
        for name in self.features:
            if name in self.runs:
                raise ConfigError(f"{name} is a run and a folder of features: give one of them another name.")
        for name, roles in self.systems.items():
            require_base(roles)
            if name in self.runs:
                raise ConfigError(f"{name} is a run and a system: give one of them another name.")
            for role, part in roles.items():
                _require(part, self.runs, f"the {role} of the system {name} is")
        return self

    def _made_from(self, run: PlannedRun) -> set[str]:
        """Name what a run is made from, and what reads its captions."""
        named = set(run.runs.values())
        return named | {self.features[name].encoder for name in named & self.features.keys()}

    @classmethod
    def preset(cls, wanted: str) -> Self:
        """Load a preset by its name, or a file of one's own that may start from one.

        Raises:
            ConfigError: there is none, or it does not fit.
        """
        return cls.parse(read_recipe(PRESETS, wanted))

    def only_for(self, name: str) -> Self:
        """Keep of the job what one run or system and the run that scores it need, and judge that one alone."""
        systems = {each: roles for each, roles in self.systems.items() if each == name}
        wanted = {name, self.evaluate.scorer, *(run for roles in systems.values() for run in roles.values())}
        for run in reversed(self.runs):
            wanted |= self._made_from(self.runs[run]) if run in wanted else set()
        return self.with_changes(
            runs={run: planned for run, planned in self.runs.items() if run in wanted},
            systems=systems,
            features={each: planned for each, planned in self.features.items() if each in wanted},
            evaluate=self.evaluate.with_changes(judged=[name]),
        )

    @property
    def uses_site(self) -> bool:
        """Whether the built-in site is the source."""
        return self.source.startswith(SITE_PREFIX)

    @property
    def trainings(self) -> dict[str, TrainConfig]:
        """The trainings by name, each with its share of the job's minutes if those are set."""
        minutes = training_minutes(self.minutes, {name: run.share for name, run in self.runs.items()})
        return {name: run.training(minutes[name]) for name, run in self.runs.items()}


class PipelineRequest(Config):
    """What a person chooses: a preset or a config file, and a few changes to it."""

    preset: PresetName = Field(default="demo", title="Preset", description="Complete settings to start from.")
    config_file: str = Field(
        default="",
        title="Config file",
        description="Path of a pipeline config (JSON), whole or started from a preset, in its place; empty for none.",
    )
    source: str = Field(
        default="",
        title="Source",
        description="Page, URL list, folder, site:scenes, site:emoji or site:emoji-styles; empty for the preset's own.",
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
    language: Literal["", "plain", "wide"] = Field(
        default="",
        title="Language",
        description="How the built-in site's captions say what scenes show; empty for the preset's own.",
    )
    icons: tuple[str, ...] = Field(
        default=(),
        max_length=100,
        title="Icon sets",
        description="Folders of icon sets that emoji-styles are drawn from, three at least; empty for the preset's.",
    )

    def resolve(self) -> PipelineConfig:
        """Give the complete config.

        Raises:
            ConfigError: the preset or file is unknown, or the result does not fit together.
        """
        config = PipelineConfig.preset(str(Path(self.config_file).absolute()) if self.config_file else self.preset)
        changes: dict[str, Any] = {}
        source = self.source or config.source
        if self.source:
            changes["source"] = source
        if source.startswith(SITE_PREFIX):
            site = {"source": source.removeprefix(SITE_PREFIX)} | ({"icons": self.icons} if self.icons else {})
            changes["site"] = config.site.with_changes(**site)
        if self.minutes:
            changes["minutes"] = self.minutes
        if self.image_size:
            changes["ingest"] = config.ingest.with_changes(image_size=self.image_size)
            changes["site"] = changes.get("site", config.site).with_changes(image_size=self.image_size)
        if self.language:
            if not source.startswith(SITE_PREFIX):
                raise ConfigError(
                    "--language is of the built-in site's scenes, and this source is another: leave it out."
                )
            changes["site"] = changes.get("site", config.site).with_changes(language=self.language)
        return config.with_changes(**changes) if changes else config


def _require(name: str, known: Iterable[str], wanted: str) -> None:
    if name not in (names := list(known)):
        raise ConfigError(f"{wanted} a run {name!r}{did_you_mean(name, names)}; there are: {', '.join(names)}.")


def training_minutes(minutes: float, shares: Mapping[str, float]) -> dict[str, float]:
    """Share out a job's minutes among its trainings.

    Args:
        minutes: aim for the whole job; what ingest, caption and evaluate need is set aside first.
        shares: of each training, in any unit.

    Returns:
        Minutes of each training, rounded to hundredths.
    """
    trainable = minutes - min(OTHER_MINUTES, MAX_OTHER_SHARE * minutes)
    total = sum(shares.values())
    return {name: round(share / total * trainable, 2) for name, share in shares.items()}


def preset_names() -> list[str]:
    """List the presets of the package."""
    return recipe_names(PRESETS)
