"""What a finished run holds: its recipe, and its averaged weights, which another run may start from.

That one's network may read more channels.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.door import read_file
from t2i_core.encoding.origin import Origin
from t2i_core.errors import CheckpointError, ConfigError
from t2i_core.folders.layout import MAX_NOTE_BYTES
from t2i_core.folders.manifest import read_manifest, sha256_of
from t2i_core.models.config import Sizes
from t2i_core.systems.build import build_stage
from t2i_core.systems.stage import Reader, Stage
from t2i_core.training.checkpoint import best_checkpoint, list_checkpoints, open_checkpoint
from t2i_core.training.config import ENCODERS, FEATURES, VERSION
from t2i_core.training.curve import CheckpointName
from t2i_core.training.optim import average_name
from t2i_core.training.preset import Preset

Shape = tuple[int, ...]


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


def load_stage(run_dir: Path, which: CheckpointName = "last", decay: float | None = None) -> Finished:
    """Load the averaged weights of a finished run.

    Args:
        run_dir: the run folder.
        which: of its checkpoints.
        decay: of the average; None for the first of the recipe.

    Raises:
        ConfigError: the folder is not a finished run, one of another version of training, or has no such average.
        CheckpointError: its checkpoint is damaged.
    """
    checkpoint = chosen_checkpoint(run_dir, which)
    preset, sizes = read_run_config(run_dir)
    name = _average(preset.ema.decays, decay, run_dir)
    try:
        stage = build_stage(preset.system, sizes)
    except ConfigError as err:
        raise CheckpointError(f"{run_dir / 'config.json'} was not made by t2i, or on a larger machine: {err}") from err
    open_checkpoint(checkpoint, stage).restore(stage, name)
    return Finished(stage, preset, sizes)


def require_average(run_dir: Path, decay: float) -> None:
    """Refuse an average that a run did not keep.

    Raises:
        ConfigError: there is no such one.
        CheckpointError: the run's config is damaged.
    """
    _average(read_run_config(run_dir)[0].ema.decays, decay, run_dir)


def _average(decays: Sequence[float], decay: float | None, run_dir: Path) -> str:
    """Name the file of an average."""
    if decay is not None and decay not in decays:
        raise ConfigError(f"{run_dir} has no average of decay {decay:g}; there is {', '.join(map(str, decays))}.")
    return average_name(0 if decay is None else decays.index(decay))


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
    with _config_of(run_dir) as config:
        return Preset.parse(config["recipe"]), Sizes.parse(config["sizes"])


@contextmanager
def _config_of(run_dir: Path) -> Iterator[dict[str, Any]]:
    """Give a run's config, and say that it is damaged if what is done with it fails."""
    try:
        yield dict(json.loads(read_file(run_dir / "config.json", MAX_NOTE_BYTES)))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, ConfigError) as err:
        raise CheckpointError(f"{run_dir / 'config.json'} is damaged: {err!r:.300}") from err


def read_origins(run_dir: Path) -> dict[str, Origin]:
    """Read what the features and the embeddings come from that a run was trained on, those that there are.

    Raises:
        CheckpointError: its config is damaged.
    """
    with _config_of(run_dir) as config:
        return {role: Origin.parse(config[role]) for role in ENCODERS if role in config}


def start_from(
    run_dir: Path,
    stage: Stage,
    channels: Sequence[str],
    tokenizer_path: Path,
    origins: Mapping[str, Origin] = MappingProxyType({}),
) -> dict[str, int]:
    """Load the averaged weights of a finished run, and nothing else of it, into a stage with fresh ones.

    The stage may read more channels than the run's, behind those that this one read. Their weights start at zero, so
    that at first it gives what the run gave. It may read other words, or the same in another order: each keeps its
    vector, and new ones start afresh.

    Args:
        run_dir: the finished run.
        stage: what is to be trained.
        channels: that it reads.
        tokenizer_path: of the tokenizer that it reads captions with, unless it has one of its own.
        origins: of the features that it reads in place of captions and of the embeddings beside them, if it does.

    Returns:
        What is new, such as "unet.stem.weight[:, 48:]", and how many numbers each of it has.

    Raises:
        ConfigError: the run's weights have other names or shapes, or were learned for other channels.
        CheckpointError: they are damaged.
    """
    checkpoint, name = chosen_checkpoint(run_dir), average_name(0)
    found = _shapes(checkpoint / f"{name}.safetensors")
    wanted = {weight: tuple(tensor.shape) for weight, tensor in stage.state_dict().items()}
    grown = [weight for weight in _read_channels(stage) if _grows(found.get(weight, ()), wanted[weight])]
    own_words = FEATURES not in origins and not isinstance(stage, Reader)
    words = Words.between(run_dir / "tokenizer.json", tokenizer_path, stage) if own_words else Words()
    _require_same(found, wanted, {*grown, *words.fitting(found, wanted)}, run_dir)
    _require_first(read_run_config(run_dir)[0].system.channels, channels, run_dir)
    if read_origins(run_dir) != origins:
        raise ConfigError(
            f"{run_dir} cannot be the start: it learned other features, or none: its encoder or its options differ."
        )
    fresh = {weight: stage.state_dict()[weight].clone() for weight in words.weights}
    fitted = partial(_fitted, shapes=wanted, words=words, fresh=fresh)
    open_checkpoint(checkpoint, stage).restore(stage, name, fitted)
    new = {f"{weight}[:, {found[weight][1]}:]": prod(wanted[weight]) - prod(found[weight]) for weight in grown}
    return new | words.new(wanted)


@dataclass(frozen=True, slots=True)
class Words:
    """What becomes of the vectors of words.

    Attributes:
        weights: names of the weights that hold a vector a word.
        known: by the number of a word here, its number in the run that is the start.
        size: words of that run.
        count: words here.
    """

    weights: tuple[str, ...] = ()
    known: Mapping[int, int] = field(default_factory=dict)
    size: int = 0
    count: int = 0

    @classmethod
    def between(cls, theirs_path: Path, ours_path: Path, stage: Stage) -> "Words":
        """Find the words that two tokenizers share; nothing where both are the same."""
        if sha256_of(theirs_path) == sha256_of(ours_path):
            return cls()
        theirs, ours = Tokenizer.load(theirs_path), Tokenizer.load(ours_path)
        layers = stage.named_modules()
        weights = [f"{n}.weight" for n, each in layers if isinstance(each, nn.Embedding) and n.endswith("tokens")]
        return cls(tuple(weights), ours.places_in(theirs), theirs.vocab_size, ours.vocab_size)

    def fitting(self, found: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> list[str]:
        """Name the weights that differ in the number of words alone."""
        return [name for name in self.weights if found.get(name) == (self.size, *wanted[name][1:])]

    def new(self, wanted: Mapping[str, Shape]) -> dict[str, int]:
        """Say how many words are new, and how many numbers each weight has for them."""
        new = self.count - len(self.known)
        return {f"{name}, {new} new words": new * wanted[name][1] for name in self.weights if new}


def _read_channels(stage: Stage) -> list[str]:
    """Name the weights whose second axis is what the layer reads.

    Where it alone differs, what the layer reads comes from outside the network: no other layer gives more either.
    """
    layers = stage.named_modules()
    return [f"{name}.weight" for name, layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)]


def _grows(found: Shape, wanted: Shape) -> bool:
    return found[:1] + found[2:] == wanted[:1] + wanted[2:] and found[1:2] < wanted[1:2]


def _require_same(found: Mapping[str, Shape], wanted: Mapping[str, Shape], grown: set[str], run_dir: Path) -> None:
    for name in [*wanted, *found]:
        if name not in grown and wanted.get(name) != found.get(name):
            told = [f"of shape {list(shapes[name])}" if name in shapes else "missing" for shapes in (found, wanted)]
            raise ConfigError(
                f"{run_dir} cannot be the start: its weight {name:.100} is {told[0]}, here it is {told[1]}."
            )


def _require_first(read: Sequence[str], channels: Sequence[str], run_dir: Path) -> None:
    """Refuse channels that mean something else than those that the run read at the same places."""
    for number, (before, now) in enumerate(zip(read, channels, strict=False), start=1):
        if before != now:
            raise ConfigError(f"{run_dir} cannot be the start: its channel {number} is {before}, here it is {now}.")


def _shapes(path: Path) -> dict[str, Shape]:
    """Read the shapes of a file of tensors, and none of these."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as err:
        raise CheckpointError(f"{path} cannot be read: {err}") from err


def _fitted(
    tensors: Mapping[str, Tensor], shapes: Mapping[str, Shape], words: Words, fresh: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Give each tensor its shape, with zeros where the tensor ends, and words their vectors."""
    here, there = list(words.known.keys()), list(words.known.values())
    padded = {name: _padded(tensor, shapes[name]) for name, tensor in tensors.items() if name not in words.weights}
    return padded | {name: fresh[name].index_put((torch.tensor(here),), tensors[name][there]) for name in words.weights}


def _padded(tensor: Tensor, shape: Shape) -> Tensor:
    if tensor.shape == shape:
        return tensor
    whole = torch.zeros(shape, dtype=tensor.dtype)
    whole[:, : tensor.shape[1]] = tensor
    return whole
