"""The shards that a feed has near: indexed and, from a store, fetched; those of two blocks or three and no more.

All workers of a feed share one folder. Whoever needs a shard first makes it ready, while the others wait for it or make
another ready; and each makes its share of the next block ready while it reads this one.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import BinaryIO

from t2i_core.data.batches.captions import ShardRows, SplitName
from t2i_core.data.batches.indexed import IndexedShard, write_index
from t2i_core.data.batches.near import Shards
from t2i_core.data.shards.layout import shard_name
from t2i_core.errors import T2IError

_PREFIX, _IN_USE = "t2i-shards-", "in-use"
_ENDINGS = ("arrow", "tar", "parquet", "lock")
_TRIES = 3


class Library:
    """The shards of one split; each process has its own view of the shared folder.

    Args:
        captions_dir: a finished captions folder.
        split: which samples.
        index: the shards that have any.
        shards: where they come from.
        folder: shared by all who read.
    """

    def __init__(
        self, captions_dir: Path, split: SplitName, index: Sequence[ShardRows], shards: Shards, folder: Path
    ) -> None:
        self.index = index
        self._captions_dir, self._split, self._shards, self.folder = captions_dir, split, shards, folder
        self._open: dict[int, IndexedShard] = {}
        self._near: list[frozenset[int]] = [frozenset[int](), frozenset[int]()]
        self._ahead: ThreadPoolExecutor | None = None

    def shard(self, number: int) -> IndexedShard:
        """Open a shard by its place in the index.

        Raises:
            DataError: it is damaged, or its captions are.
            TransientError: a store does not answer.
        """
        for tries_left in reversed(range(_TRIES)):
            if number in self._open:
                break
            self._make_ready(number)
            try:
                tar_path = self._shards.stem(self.index[number].shard).with_suffix(".tar")
                self._open[number] = IndexedShard(self._path(number, "arrow"), tar_path)
            except FileNotFoundError:
                # Another worker, two blocks ahead or behind, has just put it away.
                if not tries_left:
                    raise
        return self._open[number]

    def move_to(self, here: Set[int], ahead: Sequence[int], near: Set[int], worker: int, num_workers: int) -> None:
        """Make shards ready, begin with those that come next, and put away what is behind.

        Args:
            here: shards that are read now.
            ahead: those that come after them.
            near: all that are not behind, these two among them.
            worker: number of this process among those that share the folder.
            num_workers: how many these are.
        """
        for number in self._open.keys() - near:
            self._open.pop(number).close()
        # Other workers may be one step behind; to whom has opened a file it stays until it is closed.
        self._put_away(self._near[0] - self._near[1] - near)
        self._near = [self._near[1], frozenset(near)]
        wanted = sorted(here)
        start = worker * len(wanted) // num_workers
        for number in [*wanted[start:], *wanted[:start]]:
            self._make_ready(number)
        self._ahead = self._ahead or ThreadPoolExecutor(1, "shards ahead")
        for number in ahead[worker::num_workers]:
            self._ahead.submit(self._make_ready_quietly, number)

    def close(self) -> None:
        """Close all that is open, and make nothing ready any more."""
        if self._ahead is not None:
            self._ahead.shutdown(cancel_futures=True)
        for shard in self._open.values():
            shard.close()
        self._open, self._ahead = {}, None

    def _path(self, number: int, ending: str) -> Path:
        return self.folder / f"{shard_name(self.index[number].shard)}.{ending}"

    def _make_ready(self, number: int) -> None:
        path, rows = self._path(number, "arrow"), self.index[number]
        if path.exists():
            return
        with _locked(self._path(number, "lock")):
            if not path.exists():
                self._shards.bring(rows.shard)
                write_index(path, self._shards.stem(rows.shard), self._captions_dir, self._split, rows)

    def _make_ready_quietly(self, number: int) -> None:
        # Whatever is wrong with it will be so when it is needed, and then it is told.
        with suppress(T2IError, OSError):
            self._make_ready(number)

    def _put_away(self, numbers: frozenset[int]) -> None:
        for number in numbers:
            for ending in _ENDINGS:
                self._path(number, ending).unlink(missing_ok=True)


# Reading a table asks a process that answers one question at a time, and threads of this process share it.
_one_at_a_time = Lock()


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Let one process, and one thread of it, do something at a time."""
    with path.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with _one_at_a_time:
            yield


class SharedFolder:
    """A folder for shards that are near, gone when it is closed; those of killed programs are removed by the next."""

    def __init__(self) -> None:
        root = Path(tempfile.gettempdir())
        for left in root.glob(f"{_PREFIX}*"):
            if (file := _taken(left / _IN_USE)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                file.close()
        self._folder = tempfile.TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True)
        self.path = Path(self._folder.name)
        # It has the name that the next program looks for only when it is taken.
        unnamed = self.path / "new"
        unnamed.touch()
        self._file = _taken(unnamed)
        unnamed.rename(self.path / _IN_USE)

    def close(self) -> None:
        """Remove it with all that is in it."""
        self._folder.cleanup()
        if self._file is not None:
            self._file.close()


def _taken(path: Path) -> BinaryIO | None:
    """Take a file for oneself, as long as it is open; None where another process has it, or it is not there."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    file = os.fdopen(descriptor, "rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file
