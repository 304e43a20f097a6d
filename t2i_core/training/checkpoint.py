"""Checkpoints: safetensors and JSON in a folder of their own, written atomically, checked by sha256, never pickled."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.optim import Optimizer

from t2i_core.door import read_file
from t2i_core.errors import CheckpointError
from t2i_core.folders.atomic import staged_folder, write_atomically
from t2i_core.folders.manifest import sha256_of
from t2i_core.systems.weights import save_tensors, size_bytes
from t2i_core.training.curve import LOSS

SCHEMA_VERSION = 1
STATE_NAME = "state.json"
FILE_NAME = re.compile(r"(model|ema(_[1-9])?|optimizer)\.safetensors")
MAX_STATE_BYTES = 16 * 1024 * 1024
Fit = Callable[[dict[str, Tensor]], dict[str, Tensor]]
# An optimizer keeps two numbers a weight.
MAX_GROWTH = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint on disk whose files have been checked.

    Attributes:
        path: its folder.
        state: counters and unfinished sums of the training loop.
    """

    path: Path
    state: dict[str, Any]

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Read one of its files: model, optimizer, or an average by its name.

        Raises:
            CheckpointError: it is damaged, or not there.
        """
        try:
            return load_file(self.path / f"{name}.safetensors")
        except (SafetensorError, OSError) as err:
            raise CheckpointError(f"{self.path / name}.safetensors cannot be read: {err}") from err

    def restore(self, module: nn.Module, name: str = "model", fitted: Fit = lambda tensors: tensors) -> None:
        """Load weights into a module, every tensor of it and no other.

        Args:
            module: to load into.
            name: of the file that they are read from.
            fitted: makes the module's tensors of those.

        Raises:
            CheckpointError: the checkpoint is of another model.
        """
        try:
            module.load_state_dict(fitted(self.tensors(name)))
        except RuntimeError as err:
            raise CheckpointError(f"{self.path} does not fit this model: {str(err).splitlines()[-1].strip()}") from err


def checkpoint_dir(run_dir: Path, step: int) -> Path:
    """Name the folder of a step's checkpoint."""
    return run_dir / "checkpoints" / f"step_{step:08d}"


def save_checkpoint(
    run_dir: Path, step: int, tensors: Mapping[str, Mapping[str, Tensor]], state: Mapping[str, Any], keep: int = 2
) -> Path:
    """Write a checkpoint under a temporary name, rename it, and drop all but the newest `keep` and the best."""
    path = checkpoint_dir(run_dir, step)
    with staged_folder(path) as stage:
        digests = {}
        for name, group in tensors.items():
            file = stage / f"{name}.safetensors"
            save_tensors(file, group)
            digests[file.name] = sha256_of(file)
        text = json.dumps({"schema_version": SCHEMA_VERSION, "files": digests, **state}, indent=2, sort_keys=True)
        write_atomically(stage / STATE_NAME, text.encode() + b"\n")
    best = best_checkpoint(run_dir)
    for old in list_checkpoints(run_dir)[:-keep]:
        if old != best:
            shutil.rmtree(old)
    return path


def best_checkpoint(run_dir: Path) -> Path | None:
    """Find the checkpoint with the lowest loss on validation pictures; None where no loss was measured."""
    losses = {path: _validation_loss(path) for path in list_checkpoints(run_dir)}
    best = min(losses, key=lambda path: losses[path], default=None)
    return best if best and losses[best] < math.inf else None


def _validation_loss(path: Path) -> float:
    try:
        loss = float(json.loads(read_file(path / STATE_NAME, MAX_STATE_BYTES, levels=2))[LOSS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    return loss if math.isfinite(loss) else math.inf


def list_checkpoints(run_dir: Path) -> list[Path]:
    """List the checkpoints of a run, oldest first."""
    return sorted((run_dir / "checkpoints").glob("step_" + "[0-9]" * 8))


def open_checkpoint(path: Path, module: nn.Module | None = None) -> Checkpoint:
    """Check a checkpoint's files against the digests it holds; nothing larger than the module explains is read.

    Args:
        path: its folder.
        module: what it is for; None to take a file of any size.

    Raises:
        CheckpointError: it is damaged, of another model, or of a version this code does not know.
        DataError: one of its files is a link, or no file.
    """
    try:
        state = json.loads(read_file(path / STATE_NAME, MAX_STATE_BYTES, levels=2))
        files = {_known(path, name): digest for name, digest in state["files"].items()}
        if module is not None:
            _require_sizes(files, module)
        damaged = [file.name for file, digest in files.items() if sha256_of(file) != digest]
    except (OSError, ValueError, KeyError, AttributeError, TypeError, RecursionError) as err:
        raise CheckpointError(f"checkpoint {path} is damaged: {err!r:.200}") from err
    if damaged:
        raise CheckpointError(f"checkpoint {path} is damaged: {', '.join(damaged)} does not match its sha256.")
    if state.get("schema_version") != SCHEMA_VERSION:
        raise CheckpointError(
            f"checkpoint {path} has schema version {state.get('schema_version')}, not {SCHEMA_VERSION}."
        )
    return Checkpoint(path=path, state=state)


def _known(folder: Path, name: str) -> Path:
    if not FILE_NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a file of a checkpoint")
    return folder / name


def _require_sizes(files: Iterable[Path], module: nn.Module) -> None:
    size = size_bytes(module)
    for file in files:
        found = file.lstat().st_size
        if found > MAX_GROWTH * size + MAX_STATE_BYTES:
            raise CheckpointError(
                f"{file} has {found:,} bytes, but the model's weights only {size:,}: it is of another model, or was "
                "not made by t2i. It was not read."
            )


def latest_checkpoint(run_dir: Path, module: nn.Module | None = None) -> Checkpoint | None:
    """Open the newest intact checkpoint; a damaged newest one gives way to the one before it.

    One of which somebody deleted a file is no checkpoint any more: what is left of it is removed, and made again.

    Raises:
        CheckpointError: there are checkpoints, and all are damaged.
    """
    problem: CheckpointError | None = None
    for path in reversed(list_checkpoints(run_dir)):
        try:
            return open_checkpoint(path, module)
        except CheckpointError as err:
            if isinstance(err.__cause__, FileNotFoundError):
                shutil.rmtree(path)
            else:
                problem = problem or err
    if problem is not None:
        raise CheckpointError(f"{problem} No older one is intact: delete {run_dir} and train again.") from problem
    return None


def optimizer_tensors(optimizers: list[Optimizer], module: nn.Module) -> dict[str, Tensor]:
    """Flatten the optimizers' state into named tensors."""
    names: dict[Tensor, str] = {p: name for name, p in module.named_parameters()}
    out: dict[str, Tensor] = {}
    for number, optimizer in enumerate(optimizers):
        for p, values in optimizer.state.items():
            out |= {f"{number}/{names[p]}/{key}": torch.as_tensor(value) for key, value in values.items()}
    return out


def restore_optimizers(optimizers: list[Optimizer], module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Undo `optimizer_tensors`.

    Raises:
        CheckpointError: a tensor is of a weight that the module does not have.
    """
    params = dict(module.named_parameters())
    for name, tensor in tensors.items():
        number, _, rest = name.partition("/")
        weight, _, key = rest.rpartition("/")
        if weight not in params or not number.isdecimal() or int(number) >= len(optimizers):
            raise CheckpointError(f"the optimizer state {name!r:.100} belongs to another model.")
        p = params[weight]
        # Fused optimizers walk through memory, so a weight's averages must lie in memory as the weight does.
        like_weight = tensor.shape == p.shape
        optimizers[int(number)].state[p][key] = (
            torch.empty_like(p.data).copy_(tensor) if like_weight else tensor.clone()
        )
