"""Shards to batches: exact at every position, with the memory of a few shards, or from memory where all pictures fit.

Sample number i of a run, counted over all epochs, is a function of (seed, i): a resumed run needs no loader's state,
and how many processes decode, how many ranks train and whether pictures are kept in memory change nothing.
PyTorch's DataLoader runs the processes, hands over their batches in order and pins them.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import current_thread, main_thread
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader

from t2i_core.data.batches.library import SharedFolder
from t2i_core.data.batches.plan import Stretch
from t2i_core.data.batches.read import Reader, Rows, joined
from t2i_core.errors import T2IError, TransientError

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
        self._plan, lanes = reader.plan, enumerate(reader.plan.orders)
        self._rows = {
            lane: joined([reader.whole_shard(shard, self._plan.bucket_of(lane)) for shard in order.shards])
            for lane, order in lanes
            if order.shards
        }

    def take(self, position: int, size: int) -> Rows:
        """Give the samples at some positions."""
        stretches = self._plan.find(position, size)
        parts = [self._of(stretch) for stretch in stretches]
        if len(parts) == 1:
            return parts[0]
        return joined(parts).at(np.argsort(np.concatenate([stretch.places for stretch in stretches])))

    def _of(self, stretch: Stretch) -> Rows:
        order = self._plan.orders[stretch.lane]
        return self._rows[stretch.lane].at(order.rows(stretch.first, len(stretch.places)))

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
        # Whoever prints this is not to be interrupted by the signal that the same death sends.
        if current_thread() is main_thread():
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        advice = "Run again, with fewer --workers if memory or /dev/shm is short."
        raise TransientError(f"a process that decodes pictures ended: {err!s:.300} {advice}") from err


def _as_it_is(batch: Any) -> Any:
    return batch


def _begin_worker(_worker: int) -> None:
    # An interrupt at the terminal is for the parent, which ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    # The tokenizers' threads do not survive a fork.
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
