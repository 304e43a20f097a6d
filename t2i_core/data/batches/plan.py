"""Which samples of which shape come when: whole groups of one shape, each sample as often as every other.

Of a bucket with n samples, floor(n / size of a group * c) groups have come after c rounds, whatever the shape: nothing
is dropped, nothing waits for more, and where a group begins can be worked out. With one bucket this is its order.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from t2i_core.data.batches.order import Order, generator


class Plan:
    """The endless order of groups.

    Args:
        counts: (S, K) samples of each shard by bucket.
        seed: another one gives another order.
        group: samples that come together; may be 1 where there is one bucket.

    Attributes:
        orders: of the samples of each bucket.
    """

    def __init__(self, counts: Sequence[Sequence[int]], seed: int, group: int) -> None:
        table = np.asarray(counts, np.int64)
        weights = table.sum(axis=1).tolist()
        self.orders = [Order(table[:, bucket].tolist(), seed, weights) for bucket in range(table.shape[1])]
        self._seed, self._group, self._sizes = seed, group, table.sum(axis=0)
        self._round: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))

    def find(self, position: int, count: int) -> tuple[int, int]:
        """Give the bucket of the samples at `count` positions from one on, and the position of the first in it.

        Raises:
            ValueError: the positions are not all of one group.
        """
        if len(self.orders) == 1:
            return 0, position
        number, inside = divmod(position, self._group)
        if inside + count > self._group:
            raise ValueError(f"{count} samples from {position} on are not all of one group of {self._group}")
        done, first = self._round_of(number)
        sequence = self._sequence(done)
        bucket = int(sequence[number - first])
        earlier = int(self._before(done)[bucket] + (sequence[: number - first] == bucket).sum())
        return bucket, earlier * self._group + inside

    def _before(self, rounds: int) -> NDArray[np.int64]:
        """Count the groups of each bucket in the first rounds."""
        return np.asarray(rounds * self._sizes // self._group)

    def _round_of(self, number: int) -> tuple[int, int]:
        """Give the round of a group, and the first group of that round."""
        done = number * self._group // int(self._sizes.sum())
        while self._before(done + 1).sum() <= number:
            done += 1
        return done, int(self._before(done).sum())

    def _sequence(self, done: int) -> NDArray[np.int64]:
        """Give the buckets of the groups of a round."""
        if self._round[0] != done:
            each = self._before(done + 1) - self._before(done)
            buckets = np.repeat(np.arange(len(each)), each)
            self._round = (done, generator(stream="buckets", seed=self._seed, epoch=done).permutation(buckets))
        return self._round[1]
