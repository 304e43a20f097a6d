"""What a finished run holds: its recipe, and its averaged weights, which another run may start from."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from t2i_core.door import read_file
from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.layout import MAX_NOTE_BYTES
from t2i_core.manifest import read_manifest, sha256_of
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.systems.stage import Reader, Stage
from t2i_core.training.checkpoint import best_checkpoint, list_checkpoints, open_checkpoint
from t2i_core.training.config import VERSION
from t2i_core.training.curve import CheckpointName
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


def load_stage(run_dir: Path, which: CheckpointName = "last") -> Finished:
    """Load the averaged weights of a finished run.

    Args:
        run_dir: the run folder.
        which: of its checkpoints.

    Raises:
        ConfigError: the folder is not a finished run, or one of another version of training.
        CheckpointError: its checkpoint is damaged.
    """
    checkpoint = chosen_checkpoint(run_dir, which)
    preset, sizes = read_run_config(run_dir)
    try:
        stage = build_stage(preset.system, sizes)
    except ConfigError as err:
        raise CheckpointError(f"{run_dir / 'config.json'} was not made by t2i, or on a larger machine: {err}") from err
    open_checkpoint(checkpoint, stage).restore(stage, "ema")
    return Finished(stage, preset, sizes)


def chosen_checkpoint(run_dir: Path, which: CheckpointName = "last") -> Path:
    """Find the folder of a finished run's last checkpoint, or of its best one.

    Raises:
        ConfigError: the folder is not a finished run, one of another version of training, or there is no best one.
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
    chosen = checkpoints[-1] if which == "last" else best_checkpoint(run_dir)
    if chosen is None:
        raise ConfigError(f"{run_dir} has no best checkpoint: it was trained without validation pictures.")
    return chosen


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


def start_from(run_dir: Path, stage: Stage, tokenizer_path: Path) -> None:
    """Load the averaged weights of a finished run, and nothing else of it, into a stage with fresh ones.

    Args:
        run_dir: the finished run.
        stage: what is to be trained.
        tokenizer_path: of the tokenizer that it reads captions with, unless it has one of its own.

    Raises:
        ConfigError: the run's weights have other names or shapes, or were learned for other words.
        CheckpointError: they are damaged.
    """
    checkpoint = chosen_checkpoint(run_dir)
    _require_shapes(checkpoint / "ema.safetensors", stage, run_dir)
    if not isinstance(stage, Reader) and sha256_of(run_dir / "tokenizer.json") != sha256_of(tokenizer_path):
        raise ConfigError(f"{run_dir} cannot be the start: it learned the words of other captions, in another order.")
    open_checkpoint(checkpoint, stage).restore(stage, "ema")


def _require_shapes(path: Path, stage: Stage, run_dir: Path) -> None:
    wanted = {name: list(tensor.shape) for name, tensor in stage.state_dict().items()}
    found = _shapes(path)
    for name in [*wanted, *found]:
        if wanted.get(name) != found.get(name):
            told = [f"of shape {shapes[name]}" if name in shapes else "missing" for shapes in (found, wanted)]
            raise ConfigError(
                f"{run_dir} cannot be the start: its weight {name:.100} is {told[0]}, here it is {told[1]}."
            )


def _shapes(path: Path) -> dict[str, list[int]]:
    """Read the shapes of a file of tensors, and none of these."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: list(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as err:
        raise CheckpointError(f"{path} cannot be read: {err}") from err
