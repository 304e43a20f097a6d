"""What a finished run holds: its recipe and its averaged weights."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from t2i_core.door import read_file
from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.layout import MAX_NOTE_BYTES
from t2i_core.manifest import read_manifest
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.systems.stage import Stage
from t2i_core.training.checkpoint import list_checkpoints, open_checkpoint
from t2i_core.training.config import VERSION
from t2i_core.training.preset import Preset


@dataclass(frozen=True, slots=True)
class Finished:
    """A finished run, loaded.

    Attributes:
        stage: with the averaged weights; it stands on no other run any more.
        preset: that it was trained by.
        sizes: of its data.
    """

    stage: Stage
    preset: Preset
    sizes: Sizes


def load_stage(run_dir: Path) -> Finished:
    """Load the averaged weights of a finished run.

    Raises:
        ConfigError: the folder is not a finished run, or one of another version of training.
        CheckpointError: its checkpoint is damaged.
    """
    checkpoint = newest_checkpoint(run_dir)
    preset, sizes = read_run_config(run_dir)
    try:
        stage = build_stage(preset.system, sizes)
    except ConfigError as err:
        raise CheckpointError(f"{run_dir / 'config.json'} was not made by t2i, or on a larger machine: {err}") from err
    open_checkpoint(checkpoint, stage).restore(stage, "ema")
    return Finished(stage, preset, sizes)


def newest_checkpoint(run_dir: Path) -> Path:
    """Find the folder of a finished run's last checkpoint.

    Raises:
        ConfigError: the folder is not a finished run, or one of another version of training.
        CheckpointError: it is gone.
    """
    trained_with = read_manifest(run_dir, "run").key.version
    if trained_with != VERSION:
        raise ConfigError(
            f"{run_dir} was trained by version {trained_with} of training, and would draw otherwise with this one, "
            f"version {VERSION}: train it again."
        )
    checkpoints = list_checkpoints(run_dir)
    if not checkpoints:
        raise CheckpointError(f"{run_dir} has lost its checkpoints. Run its training again.")
    return checkpoints[-1]


def read_run_config(run_dir: Path) -> tuple[Preset, Sizes]:
    """Read what a run was trained by.

    Raises:
        CheckpointError: its config is damaged.
    """
    try:
        config: dict[str, Any] = json.loads(read_file(run_dir / "config.json", MAX_NOTE_BYTES))
        return Preset.parse(config["recipe"]), Sizes.parse(config["sizes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as err:
        raise CheckpointError(f"{run_dir / 'config.json'} is damaged: {err!r:.300}") from err
