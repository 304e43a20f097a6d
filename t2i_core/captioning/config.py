"""The options of the caption step, and which of them decide what comes out of it."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from pydantic import Field, field_validator

from t2i_core.captioning.drafting import SOURCE_RULES_BY_NAME, DraftOptions
from t2i_core.captioning.rules import MAX_RAW_CHARACTERS, RULES, RULES_BY_NAME
from t2i_core.config import Config
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepKey
from t2i_core.recipe import read_recipe

# Raise it when a rule, a filter or the split gives another result for the same config.
STEP_VERSION = 4
PRESETS = files("t2i_core.captioning") / "presets"
# Where one says what it does by itself, the key is as it was when there was no such option, so that captions made then
# are still theirs.
_LATER = ("given_splits", "source_rules", "max_repeats", "collection_names", "junk_keywords")


# The options by the heading that they stand under in the help of commands and in forms.
CAPTION_GROUPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "What is kept": (
            *("min_words", "max_words", "min_characters", "max_characters", "boilerplate", "drop_placeholders"),
            *("drop_duplicates", "drop_near_duplicates", "max_same_caption"),
        ),
        "How it is split and read": (
            *("rules", "given_splits", "validation_share", "test_share", "split_seed", "vocab_size", "context_length"),
        ),
        "How captions are written from what a source says": (
            *("source_rules", "max_repeats", "collection_names", "junk_keywords"),
        ),
    }
)


class CaptionConfig(Config):
    """How captions are cleaned, filtered, split and tokenized."""

    source_rules: tuple[str, ...] = Field(
        (),
        description="Rules that write captions from what the source says of pictures, in the order they are applied, "
        f"before the cleaning: {', '.join(SOURCE_RULES_BY_NAME)}.",
    )
    max_repeats: int = Field(5, ge=1, description="For drop_repeated: pictures that may share a caption.")
    collection_names: tuple[str, ...] = Field(
        (), description="For drop_collections: captions that name a collection and no picture; * stands for anything."
    )
    junk_keywords: tuple[str, ...] = Field(
        (), description="For add_keywords: keywords that say nothing; * stands for anything."
    )
    rules: tuple[str, ...] = Field(
        tuple(rule.name for rule in RULES), description="Cleaning rules, in the order they are applied."
    )
    min_words: int = Field(1, ge=0, description="Fewer words are too short.")
    min_characters: int = Field(2, ge=0, description="Fewer characters are too short.")
    max_words: int = Field(64, ge=1, description="More words are too long.")
    max_characters: int = Field(512, ge=1, le=MAX_RAW_CHARACTERS, description="More characters are too long.")
    boilerplate: tuple[str, ...] = Field(
        ("image", "img", "photo", "picture", "thumbnail", "logo", "placeholder", "untitled", "no image", "stock photo"),
        description="Captions that say nothing, compared whole and in lower case; with source rules also as found.",
    )
    drop_placeholders: bool = Field(
        True, description="Leave out pictures whose very bytes one host gives under 10 URLs or more."
    )
    drop_duplicates: bool = Field(True, description="Of pictures with the same source bytes, keep the first.")
    drop_near_duplicates: bool = Field(
        False, description="Of pictures whose perceptual hashes differ by 3 of 64 bits at most, keep the first."
    )
    max_same_caption: int = Field(0, ge=0, description="Samples kept with one caption; 0 = no limit.")
    validation_share: float = Field(0.05, ge=0, le=0.5, description="Expected share of groups for validation.")
    test_share: float = Field(0.05, ge=0, le=0.5, description="Expected share of groups for testing.")
    split_seed: int = Field(0, description="Another seed gives another split.")
    given_splits: bool = Field(
        False,
        description="Leave samples in the split that their source names in an attribute `split`: train, "
        "validation or test.",
    )
    vocab_size: int = Field(8192, ge=4, le=1_000_000, description="Largest vocabulary, in tokens.")
    context_length: int = Field(24, ge=2, le=1024, description="Tokens a caption, its end included; more are cut.")

    @field_validator("rules")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _require_known(names, RULES_BY_NAME)

    @field_validator("source_rules")
    @classmethod
    def _known_source_rules(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return _require_known(names, SOURCE_RULES_BY_NAME)

    @classmethod
    def preset(cls, wanted: str, changes: Mapping[str, Any] | None = None) -> Self:
        """Load a recipe for captions by its name, or a file of one's own that may start from one.

        Args:
            wanted: the name or the path.
            changes: fields that win over the recipe's.

        Raises:
            ConfigError: there is none, or it does not fit.
        """
        return cls.parse(read_recipe(PRESETS, wanted) | dict(changes or {}))

    def drafting(self) -> DraftOptions:
        """Give the part about writing captions from what a source says."""
        return DraftOptions(self.max_repeats, self.collection_names, self.junk_keywords)


def _require_known(names: tuple[str, ...], known: Mapping[str, object]) -> tuple[str, ...]:
    unknown = [name for name in names if name not in known]
    if unknown or len(set(names)) < len(names):
        raise ValueError(f"unknown or repeated rules {unknown or list(names)}; there are {', '.join(known)}")
    return names


def caption_key(digests: Mapping[str, str], config: CaptionConfig) -> StepKey:
    """Give the identity of the captions of finished datasets.

    Args:
        digests: of the datasets, by what the manifest calls them.
        config: the rules.
    """
    fields = CaptionConfig.model_fields
    without = {name for name in _LATER if getattr(config, name) == fields[name].default}
    options = config.model_dump(mode="json", exclude=without)
    return StepKey(step="caption", version=STEP_VERSION, config=options, inputs=dict(digests))


class CaptionRequest(Config):
    """What `caption` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        dataset_dir: a finished dataset folder.
        config: the rules.
        output_dir: the captions folder.
        joined_with: other finished dataset folders, joined with it; NAME=FOLDER names one.
        on_conflict: what to do with a folder that holds other work.
    """

    dataset_dir: Path
    config: CaptionConfig
    output_dir: Path
    joined_with: tuple[str, ...] = ()
    on_conflict: OnConflict = "refuse"
