"""Shards to batches: exact at every position, with the memory of a few shards, or from memory where all pictures fit.

Sample number i of a run, counted over all epochs, is a function of (seed, i): a resumed run needs no loader's state,
and how many processes decode, how many ranks train and whether pictures are kept in memory change nothing.
PyTorch's DataLoader runs the processes, hands over their batches in order and pins them.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate, get_worker_info

from t2i_core.data.batches.captions import TOKENIZER_NAME, SplitName, index_captions
from t2i_core.data.batches.decode import decode
from t2i_core.data.batches.indexed import Sample
from t2i_core.data.batches.library import Library, SharedFolder
from t2i_core.data.batches.near import open_shards
from t2i_core.data.batches.order import Order
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.errors import ConfigError, T2IError
from t2i_core.machine import memory_bytes, usable_cores

# Share of the machine's memory that decoded pictures may take before they are decoded anew for each batch.
MAX_MEMORY_SHARE = 0.4
MAX_WORKERS = 8
BATCHES_AHEAD = 2


@dataclass(frozen=True, slots=True)
class Rows:
    """Some samples, in the order of their positions.

    Attributes:
        pixels: (B, H, W, 3) uint8.
        captions: cleaned captions.
        token_ids: (B, L) int64.
        token_mask: (B, L) bool, True = real token.
        keys: of the samples in their data set.
        uids: stable identities.
        original: (B, 2) int64, height and width of the picture as it was found; 0 where that is not known.
    """

    pixels: Tensor
    captions: list[str]
    token_ids: Tensor
    token_mask: Tensor
    keys: list[str]
    uids: list[str]
    original: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, numbers: "np.typing.NDArray[np.int64]") -> "Rows":
        """Choose some of them, by their numbers."""
        rows = torch.from_numpy(numbers)
        return self._each(lambda v: v[rows] if isinstance(v, Tensor) else [v[i] for i in numbers.tolist()])

    def pin_memory(self) -> "Rows":
        """Copy tensors to where a graphics card fetches them faster."""
        return self._each(lambda v: v.pin_memory() if isinstance(v, Tensor) else v)

    def _each(self, change: Callable[[Any], Any]) -> "Rows":
        return Rows(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


class Feed(Protocol):
    """Gives the samples of a split by their positions in its endless order.

    Attributes:
        num_samples: of an epoch.
        image_size: side of the pictures, in pixels.
    """

    num_samples: int
    image_size: int

    def take(self, position: int, size: int) -> Rows:
        """Give the samples at `size` positions from one on.

        Raises:
            ConfigError: the pictures are not squares of one size.
            DataError: a shard is damaged.
            TransientError: a store does not answer.
        """

    def close(self) -> None:
        """End its processes and remove what was near."""


class MemoryFeed:
    """All samples of a split, decoded once."""

    def __init__(self, reader: "Reader", order: Order) -> None:
        self._order = order
        self.num_samples, self.image_size = order.num_samples, reader.image_size
        self._rows = _joined([reader.whole_shard(number) for number in range(len(reader.library.index))])

    def take(self, position: int, size: int) -> Rows:
        """Give the samples at some positions."""
        return self._rows.at(self._order.rows(position, size))

    def close(self) -> None:
        """There is nothing to end."""


def _joined(parts: Sequence[Rows]) -> Rows:
    joined: dict[str, Any] = {}
    for field in fields(Rows):
        column = [getattr(part, field.name) for part in parts]
        joined[field.name] = torch.cat(column) if isinstance(column[0], Tensor) else list(chain.from_iterable(column))
    return Rows(**joined)


class Reader(Dataset[Rows | T2IError]):
    """Reads and decodes batches; each worker has one.

    Args:
        library: of the shards.
        order: of the samples.
        tokenizer: of the captions.
    """

    def __init__(self, library: Library, order: Order, tokenizer: Tokenizer) -> None:
        self.library, self._order, self._tokenizer = library, order, tokenizer
        first = decode(library.shard(0).sample(0).body, "the first picture")
        self.image_size = len(first)

    def __getitem__(self, wanted: tuple[int, int]) -> Rows | T2IError:
        """Read a batch by its first position and its size; an error is a value, so that it crosses processes whole."""
        try:
            return self.read(*wanted)
        except T2IError as err:
            return err

    def read(self, position: int, size: int) -> Rows:
        """Read a batch."""
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        self.library.move_to(self._order.blocks(position, size), worker, num_workers)
        shards, numbers = self._order.shard_of(self._order.rows(position, size))
        pairs = zip(shards.tolist(), numbers.tolist(), strict=True)
        return self._decoded([self.library.shard(shard).sample(number) for shard, number in pairs])

    def whole_shard(self, number: int) -> Rows:
        """Read all samples of a shard."""
        shard = self.library.shard(number)
        rows = self._decoded([shard.sample(each) for each in range(self.library.index[number].num_kept)])
        self.library.close()
        return rows

    def _decoded(self, samples: Sequence[Sample]) -> Rows:
        # In a worker this stacks the pictures where the parent finds them, without another copy.
        pixels = default_collate([self._square(sample) for sample in samples])
        ids, mask = self._tokenizer.encode([sample.caption for sample in samples])
        return Rows(
            pixels,
            [sample.caption for sample in samples],
            torch.from_numpy(ids),
            torch.from_numpy(mask),
            [sample.key for sample in samples],
            [sample.uid for sample in samples],
            torch.tensor([(sample.original_height, sample.original_width) for sample in samples]),
        )

    def _square(self, sample: Sample) -> Tensor:
        picture, side = decode(sample.body, f"picture {sample.key}"), self.image_size
        if picture.shape != (side, side, 3):
            raise ConfigError(
                f"picture {sample.key} is {picture.shape[1]}x{picture.shape[0]}, others {side}x{side}: "
                "training needs squares of one size. Ingest with --resize-mode center_crop or border."
            )
        return picture


class StreamedFeed:
    """Samples of a split that is larger than memory, decoded ahead by worker processes.

    Args:
        reader: of batches.
        order: of the samples.
        folder: where shards are near, removed at the end.
        stride: positions from one batch of this rank to its next; 0 for the size of a batch.
        workers: processes that decode; 0 decodes here.
        pin: whether batches go to a graphics card.
    """

    def __init__(
        self, reader: Reader, order: Order, folder: SharedFolder, *, stride: int, workers: int, pin: bool
    ) -> None:
        self.num_samples, self.image_size = order.num_samples, reader.image_size
        self._reader, self._folder, self._stride = reader, folder, stride
        self._options: dict[str, Any] = {"num_workers": workers, "pin_memory": pin}
        if workers:
            # Forked workers are there at once, and hold no memory of their own for what is there already.
            self._options |= {"prefetch_factor": BATCHES_AHEAD, "multiprocessing_context": "fork"}
        self._batches: Iterator[Rows | T2IError] | None = None
        self._next = (-1, 0)

    def take(self, position: int, size: int) -> Rows:
        """Give the samples at some positions; those that follow the last ones are there already."""
        if self._batches is None or (position, size) != self._next:
            self._batches = iter(self._loader(position, size))
        batch = next(self._batches)
        self._next = (position + (self._stride or size), size)
        if isinstance(batch, T2IError):
            raise batch
        return batch

    def _loader(self, position: int, size: int) -> "DataLoader[Rows | T2IError]":
        self._batches = None
        wanted = _Wanted(position, size, self._stride or size)
        return DataLoader(
            self._reader,
            batch_size=None,
            sampler=wanted,
            collate_fn=_as_it_is,
            worker_init_fn=_begin_worker,
            **self._options,
        )

    def close(self) -> None:
        """End the processes, and remove what was near."""
        self._batches = None
        self._reader.library.close()
        self._folder.close()


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The batches from a position on, endlessly."""

    position: int
    size: int
    stride: int

    def __iter__(self) -> Iterator[tuple[int, int]]:
        position = self.position
        while True:
            yield position, self.size
            position += self.stride


def open_feed(
    captions_dir: Path,
    split: SplitName,
    seed: int,
    *,
    location: str = "",
    workers: int | None = None,
    stride: int = 0,
    pin: bool = False,
) -> Feed:
    """Open a split of a captioned data set for training.

    Args:
        captions_dir: a finished captions folder.
        split: which samples.
        seed: of their order.
        location: where the data set lies if not where it lay; see `open_shards`.
        workers: processes that decode what does not fit in memory; None for one a core, `MAX_WORKERS` at most.
        stride: positions from one batch of this rank to its next; 0 for the size of a batch.
        pin: whether batches go to a graphics card.

    Raises:
        ConfigError: the folder is not a finished captions folder, its data set has changed, or the split is empty.
        DataError: a shard is damaged, or the captions are.
        TransientError: a store does not answer.
    """
    folder = SharedFolder()
    try:
        reader, order = _open_reader(captions_dir, split, seed, location, folder.path)
        if order.num_samples * reader.image_size**2 * 3 <= MAX_MEMORY_SHARE * memory_bytes():
            feed = MemoryFeed(reader, order)
            folder.close()
            return feed
        if workers is None:
            workers = min(usable_cores(), MAX_WORKERS)
        return StreamedFeed(reader, order, folder, stride=stride, workers=workers, pin=pin)
    except BaseException:
        folder.close()
        raise


def _open_reader(captions_dir: Path, split: SplitName, seed: int, location: str, folder: Path) -> tuple[Reader, Order]:
    shards = open_shards(captions_dir, location, folder)
    index = [
        rows for rows in index_captions(captions_dir, split) if shards.numbers is None or rows.shard in shards.numbers
    ]
    if not index:
        raise ConfigError(f"{captions_dir} has no samples in its {split} split; ingest more pictures or filter less.")
    order = Order([rows.num_kept for rows in index], seed)
    library = Library(captions_dir, split, index, shards, folder)
    return Reader(library, order, Tokenizer.load(captions_dir / TOKENIZER_NAME)), order


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(_worker: int) -> None:
    # An interrupt at the terminal is for the parent, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The tokenizers' threads do not survive a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
