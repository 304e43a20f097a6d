"""What to compare, and what of it decides what comes out; needs no PyTorch."""

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from t2i_core.config import Config
from t2i_core.errors import ConfigError
from t2i_core.folders.claim import OnConflict
from t2i_core.folders.manifest import StepKey, read_manifest

# Raise it when the same evaluations give another table or grid.
STEP, VERSION = "compare", 1


class CompareConfig(Config):
    """What of the evaluations is shown."""

    prompts_per_task: int = Field(
        2, ge=1, le=50, description="Prompts of each task in the picture grid, the first of the evaluations."
    )
    real: bool = Field(
        True, description="Show the real picture of each prompt, for which the dataset behind the evaluations is read."
    )


class CompareRequest(Config):
    """What `compare` is asked for; the record that commands, flows and tasks pass on.

    Attributes:
        evaluations: two or more finished evaluation folders in the order of the rows; NAME=FOLDER names one.
        config: what of them is shown.
        output_dir: the comparison folder.
        on_conflict: what to do with a folder that holds other work.
    """

    evaluations: tuple[str, ...]
    config: CompareConfig
    output_dir: Path
    on_conflict: OnConflict = "refuse"


def compare_key(folders: Mapping[str, Path], config: CompareConfig) -> StepKey:
    """Give the identity of a comparison.

    Args:
        folders: of the evaluations, by name, in the order of the rows.
        config: what of them is shown.

    Raises:
        ConfigError: they are less than two, or one is not a finished evaluation.
        DataError: a manifest is damaged.
    """
    if len(folders) < 2:
        raise ConfigError("a comparison is of two evaluations or more: name their folders.")
    inputs = {name: read_manifest(folder, "evaluation").digest for name, folder in folders.items()}
    options = config.model_dump(mode="json") | {"rows": list(folders)}
    return StepKey(step=STEP, version=VERSION, config=options, inputs=inputs)
