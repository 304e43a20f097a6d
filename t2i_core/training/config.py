"""What to train and for how long, and what of it decides the outcome; needs no PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator

from t2i_core.config import Config
from t2i_core.data.batches.location import anchored, by_dataset, by_weight, dataset_names, divided
from t2i_core.encoding.origin import origin_of
from t2i_core.errors import ConfigError
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.layout import Kind
from t2i_core.folders.manifest import StepKey, read_manifest
from t2i_core.recipe import is_file_name, recipe_label
from t2i_core.training.preset import Preset, load_preset, preset_names

FEATURES, EMBEDDINGS = "features", "embeddings"
# Roles of folders of features, and the name of the encoder that each was made with among what a run is made from.
ENCODERS = {FEATURES: "encoder", EMBEDDINGS: "clip"}
STEP, VERSION = "train", 3
# Pictures of the validation split that a loss is of, or one batch where that is more.
VALIDATION_SAMPLES = 64


def _offer_presets(schema: dict[str, Any]) -> None:
    """Make a form offer the recipes that there are; a file of one's own is no choice of it."""
    schema["enum"] = preset_names()


class TrainConfig(Config):
    """What to train, and for how long."""

    preset: str = Field(
        "diffusion-demo",
        description="Training recipe: a name that `t2i presets list` prints, or a JSON file.",
        json_schema_extra=_offer_presets,
    )
    set: tuple[str, ...] = Field(
        (),
        description="Fields of the recipe to change, such as optim.learning_rate=3e-3; `t2i presets show` lists them.",
    )
    max_minutes: float = Field(0, ge=0, description="Budget of training time, minutes; 0 = the preset's own.")
    max_images: int = Field(0, ge=0, description="Budget of pictures seen; 0 = the preset's own.")
    init_from: str = Field("", description="Finished run whose weights this one starts from; empty starts anew.")
    uses: tuple[str, ...] = Field(
        (),
        description="Finished run, or folder of features, that the recipe stands on, by what it is to it, such as "
        "clip=RUN.",
    )
    seed: int = Field(0, ge=0, description="Seed of weights, noise and data order.")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="Type that networks run in; auto measures which is faster."
    )
    shards: tuple[str, ...] = Field(
        (),
        description="Where the dataset lies if not where it lay when it was captioned: a folder, a URL of a store "
        "such as s3://bucket/dataset, or a pattern of its tars, s3://bucket/dataset/shards/{00000..00099}.tar; of each "
        "of several datasets NAME=s3://bucket/dataset.",
    )
    weights: tuple[str, ...] = Field(
        (),
        description="How often pictures come from each of several datasets, such as photos=3,emoji=1; "
        "without weights all pictures come equally often.",
    )
    workers: int = Field(
        0, ge=0, description="Processes that decode pictures when they do not fit in memory; 0 = one a core, 8 at most."
    )
    devices: int = Field(
        1,
        ge=1,
        le=64,
        description="Processes that train together, each on a graphics card of its own if there are any.",
    )
    log_every: int = Field(50, gt=0, description="Steps between log lines.")
    checkpoint_seconds: float = Field(120, gt=0, description="Seconds between checkpoints.")
    tensorboard: bool = Field(False, description="Also write TensorBoard events (needs the tensorboard extra).")

    @field_validator("shards", "weights", mode="before")
    @classmethod
    def _of_one(cls, words: Any) -> Any:
        """Take a single word as it is."""
        return (words,) if isinstance(words, str) else words

    @field_validator("weights")
    @classmethod
    def _apart(cls, weights: tuple[str, ...]) -> tuple[str, ...]:
        """Take several in one word."""
        return tuple(part for word in weights for part in word.split(",") if part)

    @field_validator("uses")
    @classmethod
    def _have_roles(cls, uses: tuple[str, ...]) -> tuple[str, ...]:
        for use in uses:
            role, _, run = use.partition("=")
            if not role.isidentifier() or not run:
                raise ValueError(f"{use!r} is not of the form ROLE=RUN")
        return uses

    @property
    def preset_name(self) -> str:
        """What the preset is called, wherever its file lies."""
        return recipe_label(self.preset)

    def resolve(self) -> Preset:
        """Give the preset with the changes and the budget of this config.

        Raises:
            ConfigError: the preset is unknown, does not fit, nothing limits the run, or it stands on other runs.
        """
        preset = load_preset(self.preset, self.set)
        self._require_roles(preset.system.inputs)
        if self.max_minutes or self.max_images:
            preset = preset.with_changes(max_minutes=self.max_minutes, max_images=self.max_images)
        if not (preset.max_minutes or preset.max_images):
            raise ConfigError(f"preset {self.preset_name} has no budget: set max_minutes or max_images.")
        self._require_shares(preset)
        return preset

    def _require_shares(self, preset: Preset) -> None:
        if preset.batch_size % self.devices:
            raise ConfigError(
                f"a batch of {preset.batch_size} pictures has no {self.devices} equal shares (--devices)."
            )
        if self.devices > 1 and preset.system.compares_samples:
            raise ConfigError(
                f"the loss of a {preset.system.kind} system compares the pictures of a batch with each other: it is "
                "trained on one device (--devices 1)."
            )

    def _require_roles(self, wanted: tuple[str, ...]) -> None:
        for role in sorted(self.roles.keys() ^ set(wanted)):
            if role in wanted:
                what, word = (f"folder of {role}", "FOLDER") if role in ENCODERS else (f"{role} run", "RUN")
                raise ConfigError(f"this recipe stands on a {what}: name a finished one with --uses {role}={word}.")
            raise ConfigError(f"this recipe stands on no {role} run: leave out --uses {role}={self.roles[role]}.")

    @property
    def roles(self) -> dict[str, str]:
        """The runs that the recipe stands on, by role."""
        return dict(use.split("=", 1) for use in self.uses)

    @property
    def encoded(self) -> dict[str, Path]:
        """The folders of features that the recipe reads, by role."""
        return {role: Path(folder) for role, folder in self.roles.items() if role in ENCODERS}

    @property
    def runs(self) -> dict[str, str]:
        """All runs that this one is made from, by the name of the input."""
        return self.roles | ({"init": self.init_from} if self.init_from else {})

    def standing_on(self, place: Callable[[str], str]) -> Self:
        """Give the config with its runs named in another way."""
        init_from = place(self.init_from) if self.init_from else ""
        return self.with_changes(init_from=init_from, uses=[f"{role}={place(run)}" for role, run in self.roles.items()])

    def anchored(self) -> Self:
        """Give the config for a process that works in another folder."""
        preset = str(Path(self.preset).absolute()) if is_file_name(self.preset) else self.preset
        placed = self.standing_on(lambda run: str(Path(run).absolute()))
        return placed.with_changes(preset=preset, shards=tuple(map(anchored, self.shards)))

    def record(self) -> dict[str, Any]:
        """Give what is noted beside the merged preset: nothing of where anything lay, or how the preset was changed."""
        elsewhere = {"preset", "set", "init_from", "uses", "shards", "workers", "devices"}
        return {"preset": self.preset_name} | self.model_dump(mode="json", exclude=elsewhere)


def train_key(captions_dir: Path, config: TrainConfig) -> StepKey:
    """Say what decides the outcome of a training; of features also their encoder, which it draws with.

    Raises:
        ConfigError: the captions folder or a run that it stands on is not finished, or the preset is unknown.
    """
    preset = config.resolve().model_dump(mode="json", exclude={"description"})
    captions = read_manifest(captions_dir, "captions")
    inputs = {"captions": captions.digest}
    made_from = {name: read_manifest(Path(run), _kind_of(name)) for name, run in config.runs.items()}
    inputs |= {name: manifest.digest for name, manifest in made_from.items()}
    inputs |= {ENCODERS[role]: origin_of(made_from[role]).encoder for role in config.encoded}
    # Where the data lies does not matter, and which part of it is read does.
    places = by_dataset(config.shards, dataset_names(captions))
    patterns = {name: pattern for name, place in places.items() if (pattern := divided(place)[1])}
    part: dict[str, Any] = {"shards": patterns.get("", patterns)} if patterns else {}
    if weights := by_weight(config.weights, dataset_names(captions)):
        part["weights"] = {name: str(weight / sum(weights.values())) for name, weight in weights.items()}
    return StepKey(
        step=STEP,
        version=VERSION,
        config={"preset": config.preset_name, "seed": config.seed, **part, **preset},
        inputs=inputs,
    )


def _kind_of(name: str) -> Kind:
    return "features" if name in ENCODERS else "run"


class TrainRequest(Config):
    """What `train` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        captions_dir: a finished captions folder.
        config: the training recipe, its budget and its seed.
        output_dir: the run folder, whose name is the run's.
        on_conflict: what to do with a folder that holds other work.
    """

    captions_dir: Path
    config: TrainConfig
    output_dir: Path
    on_conflict: OnConflict = "refuse"

    @property
    def name(self) -> str:
        """Under which the run is shown."""
        return self.output_dir.name
