"""Which samples of which shape and dataset come when: whole groups of one shape, datasets by their weights.

Of a bucket with n samples, floor(n / size of a group * c) groups have come after c rounds, whatever the shape: nothing
is dropped, nothing waits for more, and where a group begins can be worked out. With one bucket this is its order.

Datasets that have weights go through epochs of their own. Which of them a position is given to can be worked out too:
after any number of positions each has had its share of them, but for rounding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from t2i_core.data.batches.order import Order, generator

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Weighted:
    """Datasets with weights.

    Attributes:
        datasets: the number of the one that each shard is of.
        weights: of the datasets by their numbers, above 0.
    """

    datasets: Sequence[int]
    weights: Sequence[Fraction]


@dataclass(frozen=True, slots=True)
class Stretch:
    """Samples of a batch that follow one another in one order.

    Attributes:
        lane: the number of the order.
        first: position in it of the first of them.
        places: (n,) int64, where they stand in the batch.
    """

    lane: int
    first: int
    places: Numbers


class Plan:
    """The endless order of groups.

    Args:
        counts: (S, K) samples of each shard by bucket.
        seed: another one gives another order.
        group: samples that come together; may be 1 where there is one bucket.
        weighted: the datasets; None for samples that all come equally often.

    Attributes:
        orders: of the samples of each lane, which is the part of one bucket that one dataset has.
    """

    def __init__(
        self, counts: Sequence[Sequence[int]], seed: int, group: int, weighted: Weighted | None = None
    ) -> None:
        table = np.asarray(counts, np.int64)
        weighted = weighted or Weighted([0] * len(table), [Fraction(1)])
        of = np.asarray(weighted.datasets)[:, None]
        parts = [np.where(of == number, table, 0) for number in range(len(weighted.weights))]
        columns = [[(part[:, bucket], part.sum(axis=1)) for part in parts] for bucket in range(table.shape[1])]
        self.orders = [Order(own.tolist(), seed, all_.tolist()) for column in columns for own, all_ in column]
        shares = [_shares(part, weight) for part, weight in zip(parts, weighted.weights, strict=True)]
        self._mixes = [Mix(of_bucket) for of_bucket in zip(*shares, strict=True)]
        # A round has about as many samples as an epoch of all shards.
        whole = Fraction(int(table.sum())) / sum(weighted.weights)
        self._sizes = [mix.total * whole for mix in self._mixes]
        self._seed, self._group, self._num_datasets = seed, group, len(parts)
        self._round: tuple[int, Numbers] = (-1, np.empty(0, np.int64))

    def bucket_of(self, lane: int) -> int:
        """Give the bucket that a lane is a part of."""
        return lane // self._num_datasets

    def find(self, position: int, count: int) -> list[Stretch]:
        """Say where the samples at `count` positions from one on come from, which are all of one bucket.

        Raises:
            ValueError: the positions are not all of one group.
        """
        bucket, first = self._in_bucket(position, count)
        datasets, befores = self._mixes[bucket].at(first, count)
        found = ((number, np.flatnonzero(datasets == number)) for number in range(self._num_datasets))
        return [
            Stretch(bucket * self._num_datasets + number, befores[number], places)
            for number, places in found
            if len(places)
        ]

    def _in_bucket(self, position: int, count: int) -> tuple[int, int]:
        """Give the bucket of some positions, and the position of the first in it."""
        if len(self._mixes) == 1:
            return 0, position
        number, inside = divmod(position, self._group)
        if inside + count > self._group:
            raise ValueError(f"{count} samples from {position} on are not all of one group of {self._group}")
        done, first = self._round_of(number)
        sequence = self._sequence(done)
        bucket = int(sequence[number - first])
        earlier = int(self._before(done)[bucket] + (sequence[: number - first] == bucket).sum())
        return bucket, earlier * self._group + inside

    def _before(self, rounds: int) -> Numbers:
        """Count the groups of each bucket in the first rounds."""
        return np.array([rounds * size // self._group for size in self._sizes], np.int64)

    def _round_of(self, number: int) -> tuple[int, int]:
        """Give the round of a group, and the first group of that round."""
        done = number * self._group // int(sum(self._sizes))
        while self._before(done + 1).sum() <= number:
            done += 1
        return done, int(self._before(done).sum())

    def _sequence(self, done: int) -> Numbers:
        """Give the buckets of the groups of a round."""
        if self._round[0] != done:
            each = self._before(done + 1) - self._before(done)
            buckets = np.repeat(np.arange(len(each)), each)
            self._round = (done, generator(stream="buckets", seed=self._seed, epoch=done).permutation(buckets))
        return self._round[1]


def _shares(part: Numbers, weight: Fraction) -> list[Fraction]:
    """Divide the weight of a dataset among the buckets, by the samples that it has in each."""
    return [weight * Fraction(int(number), int(part.sum())) for number in part.sum(axis=0)]


class Mix:
    """Which of several kinds each position of an endless sequence is given to.

    Half of the kinds get their share of all positions, rounded, and the others what is left; each half divides its own
    likewise. So counts can be worked out for any position, and the error is less than 1/2 for every time that the kinds
    are halved: after any number of positions two kinds are within 1/2 of their shares, and up to four within 1.

    Args:
        shares: of the kinds, which need not add up to 1.

    Attributes:
        total: of the shares.
    """

    def __init__(self, shares: Sequence[Fraction]) -> None:
        self.total = sum(shares, Fraction(0))
        middle = len(shares) // 2
        self._halves = (Mix(shares[:middle]), Mix(shares[middle:])) if middle else None
        self._share = self._halves[0].total / self.total if self._halves and self.total else Fraction(0)

    def before(self, position: int) -> list[int]:
        """Count the positions of each kind in front of one."""
        if self._halves is None:
            return [position]
        up, down = self._share.as_integer_ratio()
        left = (2 * position * up + down) // (2 * down)
        return [*self._halves[0].before(left), *self._halves[1].before(position - left)]

    def at(self, position: int, count: int) -> tuple[Numbers, list[int]]:
        """Give the kind of each of `count` positions from one on, (count,) int64, and the counts in front of them."""
        if self._halves is None:
            return np.zeros(count, np.int64), [position]
        befores = [self.before(position + number) for number in range(count + 1)]
        return np.diff(np.array(befores, np.int64), axis=0).argmax(axis=1), befores[0]
