"""The options of the caption step, and which of them decide what comes out of it."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, field_validator

from t2i_core.captioning.rules import RULES, RULES_BY_NAME
from t2i_core.config import Config
from t2i_core.manifest import OnConflict, StepKey

# Raise it when a rule, a filter or the split gives another result for the same config.
STEP_VERSION = 4
# Longer text is no caption, and cleaning it would only take time.
MAX_RAW_CHARACTERS = 4096


class CaptionConfig(Config):
    """How captions are cleaned, filtered, split and tokenized."""

    rules: tuple[str, ...] = Field(
        tuple(rule.name for rule in RULES), description="Cleaning rules, in the order they are applied."
    )
    min_words: int = Field(1, ge=0, description="Fewer words are too short.")
    min_characters: int = Field(2, ge=0, description="Fewer characters are too short.")
    max_words: int = Field(64, ge=1, description="More words are too long.")
    max_characters: int = Field(512, ge=1, le=MAX_RAW_CHARACTERS, description="More characters are too long.")
    boilerplate: tuple[str, ...] = Field(
        ("image", "img", "photo", "picture", "thumbnail", "logo", "placeholder", "untitled", "no image", "stock photo"),
        description="Captions that say nothing, compared whole and in lower case.",
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
        unknown = [name for name in names if name not in RULES_BY_NAME]
        if unknown or len(set(names)) < len(names):
            raise ValueError(
                f"unknown or repeated rules {unknown or list(names)}; there are {', '.join(RULES_BY_NAME)}"
            )
        return names


def caption_key(digests: Mapping[str, str], config: CaptionConfig) -> StepKey:
    """Give the identity of the captions of finished datasets.

    Args:
        digests: of the datasets, by what the manifest calls them.
        config: the rules.
    """
    # Without it the key is as it was when there was no such option, so that captions made then are still theirs.
    without = None if config.given_splits else {"given_splits"}
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
