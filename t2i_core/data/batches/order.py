"""Which sample comes when: a function of seed and position, in memory for the shards and one block alone.

Every epoch is another random order of the shards, cut into blocks of a few; the samples of a block come in one random
order. So a sample moves within its block, a block is all that has to be near at once, and what is small has one block.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from t2i_core.canonical import digest_of

Rows = NDArray[np.int64]
# A block ends with the shard that gives it both: samples to mix, and shards that they come from.
MIN_BLOCK_SAMPLES, MIN_BLOCK_SHARDS = 16_384, 4


@dataclass(frozen=True, slots=True)
class Block:
    """A few shards whose samples come in one random order.

    Attributes:
        epoch: that it belongs to.
        number: its place in it.
        first: position in the epoch of its first sample.
        size: how many samples it has.
        shards: their places in the list of shards, ascending.
    """

    epoch: int
    number: int
    first: int
    size: int
    shards: tuple[int, ...]


class Order:
    """The endless order of the samples of some shards; each epoch has every sample once.

    Args:
        counts: samples of each shard; sample number i is the i-th over all shards.
        seed: another one gives another order.
        weights: of the shards, by which blocks are cut; None for `counts`. Orders of parts of the same shards with the
            same weights go through the same blocks; shards without weight are passed over.

    Attributes:
        num_samples: of an epoch.
        shards: that have any, by their places in the list of shards.
    """

    def __init__(self, counts: Sequence[int], seed: int, weights: Sequence[int] | None = None) -> None:
        self._seed = seed
        self._counts = np.asarray(counts, np.int64)
        self._weights = self._counts if weights is None else np.asarray(weights, np.int64)
        self._starts = np.cumsum(self._counts) - self._counts
        self.num_samples = int(self._counts.sum())
        self.shards: list[int] = np.flatnonzero(self._counts).tolist()
        self._blocks: dict[int, tuple[Rows, list[Block]]] = {}
        self._shuffled: dict[tuple[int, int], Rows] = {}

    def rows(self, position: int, count: int) -> Rows:
        """Give the numbers of the samples at `count` positions from one on, (count,) int64."""
        parts = []
        for block, first, stop in self._parts(position, count):
            parts.append(self._rows_of(block)[first:stop])
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def blocks(self, position: int, count: int) -> list[Block]:
        """Give the blocks that the samples at `count` positions from one on come from, and the one after them."""
        blocks = [block for block, _, _ in self._parts(position, count)]
        last = blocks[-1]
        after = last.epoch * self.num_samples + last.first + last.size
        return [*blocks, self._block_at(after)[0]]

    def shard_of(self, rows: Rows) -> tuple[Rows, Rows]:
        """Give the shard of each sample, and its number in it: two of (B,) int64."""
        shards = np.searchsorted(self._starts + self._counts, rows, "right")
        return shards, rows - self._starts[shards]

    def _parts(self, position: int, count: int) -> Iterator[tuple[Block, int, int]]:
        """Cut a range of positions at the bounds of the blocks."""
        while count > 0:
            block, first = self._block_at(position)
            stop = min(block.size, first + count)
            yield block, first, stop
            position, count = position + stop - first, count - (stop - first)

    def _block_at(self, position: int) -> tuple[Block, int]:
        """Give the block of a position, and the place of the position in it."""
        epoch, offset = divmod(position, self.num_samples)
        firsts, blocks = self._blocks_of(epoch)
        block = blocks[int(np.searchsorted(firsts, offset, "right")) - 1]
        return block, offset - block.first

    def _blocks_of(self, epoch: int) -> tuple[Rows, list[Block]]:
        """Give the blocks of an epoch with their first positions; two epochs are remembered, as batches span them."""
        if epoch not in self._blocks:
            blocks = list(self._cut(epoch))
            last = list(self._blocks.items())[-1:]
            self._blocks = dict([*last, (epoch, (np.array([block.first for block in blocks]), blocks))])
        return self._blocks[epoch]

    def _cut(self, epoch: int) -> Iterator[Block]:
        order = generator(stream="shards", seed=self._seed, epoch=epoch).permutation(len(self._counts))
        number = first = size = weight = 0
        shards: list[int] = []
        for shard in order[self._weights[order] > 0].tolist():
            shards.append(shard)
            size, weight = size + int(self._counts[shard]), weight + int(self._weights[shard])
            if weight >= MIN_BLOCK_SAMPLES and len(shards) >= MIN_BLOCK_SHARDS:
                yield Block(epoch, number, first, size, tuple(sorted(shards)))
                number, first, size, weight, shards = number + 1, first + size, 0, 0, []
        if shards:
            yield Block(epoch, number, first, size, tuple(sorted(shards)))

    def _rows_of(self, block: Block) -> Rows:
        key = (block.epoch, block.number)
        if key not in self._shuffled:
            rows = np.concatenate([self._starts[s] + np.arange(self._counts[s]) for s in block.shards])
            # The first block has no number, as datasets of one block were shuffled before there were blocks.
            number = {"block": block.number} if block.number else {}
            places = generator(stream="order", seed=self._seed, epoch=block.epoch, **number).permutation(len(rows))
            self._shuffled = dict([*list(self._shuffled.items())[-1:], (key, rows[places])])
        return self._shuffled[key]


def generator(**entropy: str | int) -> np.random.Generator:
    """Give the generator of a named stream."""
    return np.random.Generator(np.random.Philox(int(digest_of(entropy)[:16], 16)))
