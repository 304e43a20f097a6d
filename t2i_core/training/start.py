"""Where a training starts that takes over the weights of a finished run."""

from pathlib import Path

from safetensors import SafetensorError, safe_open

from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.manifest import sha256_of
from t2i_core.systems.stage import Reader, Stage
from t2i_core.training.checkpoint import open_checkpoint
from t2i_core.training.finished import newest_checkpoint


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
    checkpoint = newest_checkpoint(run_dir)
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
