"""Shards to batches: exact at every position, with the memory of a few shards, or from memory where all pictures fit.

Sample number i of a run, counted over all epochs, is a function of (seed, i): a resumed run needs no loader's state,
and how many processes decode, how many ranks train and whether pictures are kept in memory change nothing.
PyTorch's DataLoader runs the processes, hands over their batches in order and pins them.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader

from t2i_core.data.batches.captions import TOKENIZER_NAME, SplitName, index_captions, read_captions
from t2i_core.data.batches.decode import decode
from t2i_core.data.batches.library import Library, SharedFolder
from t2i_core.data.batches.near import open_shards
from t2i_core.data.batches.order import Order
from t2i_core.data.batches.plan import Plan
from t2i_core.data.batches.read import Encode, Reader, Rows, joined
from t2i_core.data.batches.shapes import ANY_SHAPE, Shapes
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.errors import ConfigError, T2IError, TransientError
from t2i_core.machine import memory_bytes, usable_cores

# Share of the machine's memory that decoded pictures may take before they are decoded anew for each batch.
MAX_MEMORY_SHARE = 0.4
MAX_WORKERS = 8
BATCHES_AHEAD = 2


class Feed(Protocol):
    """Gives the samples of a split by their positions in its endless order."""

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

    def __init__(self, reader: Reader) -> None:
        self._plan = reader.plan
        shards, buckets = range(len(reader.library.index)), range(len(self._plan.orders))
        parts = {bucket: [reader.whole_shard(shard, bucket) for shard in shards] for bucket in buckets}
        found = {bucket: [rows for rows in each if rows is not None] for bucket, each in parts.items()}
        self._rows = {bucket: joined(each) for bucket, each in found.items() if each}

    def take(self, position: int, size: int) -> Rows:
        """Give the samples at some positions."""
        bucket, first = self._plan.find(position, size)
        return self._rows[bucket].at(self._plan.orders[bucket].rows(first, size))

    def close(self) -> None:
        """There is nothing to end."""


class StreamedFeed:
    """Samples of a split that is larger than memory, decoded ahead by worker processes.

    Args:
        reader: of batches.
        folder: where shards are near, removed at the end.
        stride: positions from one batch of this rank to its next; 0 for the size of a batch.
        workers: processes that decode; 0 decodes here.
        pin: whether batches go to a graphics card.
    """

    def __init__(self, reader: Reader, folder: SharedFolder, *, stride: int, workers: int, pin: bool) -> None:
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


@contextmanager
def worker_errors() -> Iterator[None]:
    """Say in a sentence that a process that decodes was killed; PyTorch interrupts whatever its parent does then.

    Raises:
        TransientError: one was.
    """
    try:
        yield
    except (RuntimeError, ConnectionError, EOFError) as err:
        # What goes wrong inside a worker begins otherwise. One that dies while it hands over a batch breaks the line.
        if isinstance(err, RuntimeError) and not str(err).startswith("DataLoader worker"):
            raise
        advice = "Run again, with fewer --workers if memory or /dev/shm is short."
        raise TransientError(f"a process that decodes pictures ended: {err!s:.300} {advice}") from err


class OpenSplit:
    """A split of a captioned dataset, of which little is read yet.

    Args:
        captions_dir: a finished captions folder.
        split: which samples.
        location: where the dataset lies if not where it lay; see `open_shards`.
        shapes: that pictures are brought to.

    Attributes:
        num_samples: that the split has.
        image_size: side of a square of as many pixels as each picture has.

    Raises:
        ConfigError: the folder is not a finished captions folder, its dataset has changed, or the split is empty.
        DataError: a shard is damaged, or the captions are.
        TransientError: a store does not answer.
    """

    def __init__(self, captions_dir: Path, split: SplitName, location: str = "", shapes: Shapes = ANY_SHAPE) -> None:
        self._captions_dir, self._split, self._shapes = captions_dir, split, shapes
        self._folder = SharedFolder()
        try:
            shards = open_shards(captions_dir, location, self._folder.path)
            index = index_captions(captions_dir, split, shapes)
            chosen = [rows for rows in index if shards.numbers is None or rows.shard in shards.numbers]
            if not chosen:
                advice = "ingest more pictures or filter less."
                raise ConfigError(f"{captions_dir} has no samples in its {split} split; {advice}")
            self._library = Library(captions_dir, split, chosen, shards, self._folder.path)
            self.num_samples = sum(rows.num_kept for rows in chosen)
            # Only what is stored in the shape that it is trained in tells it.
            first = None if shapes.side else decode(self._library.shard(0).sample(0).body, "the first picture")
            self.image_size = shapes.side if first is None else len(first)
        except BaseException:
            self._folder.close()
            raise

    def captions(self, numbers: Sequence[int]) -> list[str]:
        """Read the captions of some samples by their numbers in the split."""
        order = Order([rows.num_kept for rows in self._library.index], 0)
        shards, inside = order.shard_of(np.asarray(numbers))
        index = [self._library.index[shard] for shard in shards]
        found = (
            next(islice(read_captions(self._captions_dir, self._split, ["caption"], rows), number, None))
            for rows, number in zip(index, inside.tolist(), strict=True)
        )
        return [row["caption"] for row in found]

    def feed(
        self,
        seed: int,
        encode: Encode | None = None,
        *,
        group: int = 1,
        workers: int | None = None,
        stride: int = 0,
        pin: bool = False,
    ) -> Feed:
        """Start to read; what was opened is closed with the feed.

        Args:
            seed: of the order.
            encode: makes token ids of captions; None for the captions folder's own tokenizer.
            group: samples of a batch of all ranks, which have one shape; 1 where there is only one.
            workers: processes that decode what does not fit in memory; None for one a core, `MAX_WORKERS` at most.
            stride: positions from one batch of this rank to its next; 0 for the size of a batch.
            pin: whether batches go to a graphics card.

        Raises:
            ConfigError: the pictures are not squares of one size.
            DataError: a shard is damaged, or the captions are.
            TransientError: a store does not answer.
        """
        encode = encode or Tokenizer.load(self._captions_dir / TOKENIZER_NAME).encode
        plan = Plan([rows.counts for rows in self._library.index], seed, group)
        reader = Reader(self._library, plan, self._shapes, self.image_size, encode)
        if self.num_samples * self.image_size**2 * 3 <= MAX_MEMORY_SHARE * memory_bytes():
            try:
                return MemoryFeed(reader)
            finally:
                self.close()
        if workers is None:
            workers = min(usable_cores(), MAX_WORKERS)
        return StreamedFeed(reader, self._folder, stride=stride, workers=workers, pin=pin)

    def some(self, num_batches: int, size: int, seed: int, encode: Encode) -> list[Rows]:
        """Read the first batches of an order, each of one shape; what was opened is closed."""
        try:
            plan = Plan([rows.counts for rows in self._library.index], seed, size)
            reader = Reader(self._library, plan, self._shapes, self.image_size, encode)
            return [reader.read(number * size, size) for number in range(num_batches)]
        finally:
            self.close()

    def close(self) -> None:
        """Remove what is near; not needed once there is a feed."""
        self._library.close()
        self._folder.close()


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(_worker: int) -> None:
    # An interrupt at the terminal is for the parent, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The tokenizers' threads do not survive a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
