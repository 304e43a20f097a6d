"""A split of a captioned dataset: opened with little of it read, then fed to a training or looked at by number."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.data.batches.captions import SplitName, index_captions, read_captions
from t2i_core.data.batches.decode import cover, decode
from t2i_core.data.batches.feed import Feed, MemoryFeed, StreamedFeed
from t2i_core.data.batches.library import Library, SharedFolder
from t2i_core.data.batches.location import by_weight
from t2i_core.data.batches.near import open_shards
from t2i_core.data.batches.order import Order
from t2i_core.data.batches.plan import Plan, Weighted
from t2i_core.data.batches.read import Encode, Reader, Rows
from t2i_core.data.batches.shapes import ANY_SHAPE, Shapes
from t2i_core.data.batches.tokenizer import load_tokenizer
from t2i_core.errors import ConfigError
from t2i_core.machine import memory_bytes, usable_cores

Pixels = NDArray[np.uint8]
# Share of the machine's memory that decoded pictures may take before they are decoded anew whenever they are needed.
MAX_MEMORY_SHARE = 0.4
MAX_WORKERS = 8


class EmptySplitError(ConfigError):
    """A split has no samples."""


class OpenSplit:
    """A split of a captioned dataset, of which little is read yet.

    Args:
        captions_dir: a finished captions folder.
        split: which samples.
        locations: where its datasets lie if not where they lay; see `open_shards`.
        shapes: that pictures are brought to.

    Attributes:
        num_samples: that the split has.
        image_size: side of a square of as many pixels as each picture has, or of the largest in the first one.

    Raises:
        ConfigError: the folder is not a finished captions folder, or its dataset has changed.
        EmptySplitError: the split is empty.
        DataError: a shard is damaged, or the captions are.
        TransientError: a store does not answer.
    """

    def __init__(
        self, captions_dir: Path, split: SplitName, locations: Sequence[str] = (), shapes: Shapes = ANY_SHAPE
    ) -> None:
        self._captions_dir, self._split, self._shapes = captions_dir, split, shapes
        self._folder = SharedFolder()
        try:
            shards = open_shards(captions_dir, locations, self._folder.path)
            index = index_captions(captions_dir, split, shapes)
            chosen = [rows for rows in index if shards.has(rows.shard)]
            if not chosen:
                advice = "ingest more pictures or filter less."
                raise EmptySplitError(f"{captions_dir} has no samples in its {split} split; {advice}")
            self._library = Library(captions_dir, split, chosen, shards, self._folder.path)
            self.num_samples = sum(rows.num_kept for rows in chosen)
            self._datasets = [shards.dataset_of(rows.shard) for rows in chosen]
            # Only what is stored in the shape that it is trained in tells it.
            self.image_size = shapes.side or min(self._picture(0, 0).shape[:2])
        except BaseException:
            self._folder.close()
            raise

    def squares(self, numbers: Sequence[int]) -> Pixels:
        """Read some samples by their numbers in the split, scaled and cut: (B, S, S, 3) uint8, S = `image_size`.

        Raises:
            DataError: a shard is damaged, or the captions are.
        """
        shards, inside = map(np.asarray, self._places(numbers))
        out = np.empty((len(numbers), self.image_size, self.image_size, 3), np.uint8)
        for shard in np.unique(shards).tolist():
            for row in np.flatnonzero(shards == shard).tolist():
                out[row] = cover(self._picture(shard, inside[row]), self.image_size, self.image_size)[0].numpy()
            # Of many shards only one is open.
            self._library.close()
        return out

    def fit_in_memory(self, num_samples: int) -> bool:
        """Tell whether so many pictures do, decoded."""
        return num_samples * self.image_size**2 * 3 <= MAX_MEMORY_SHARE * memory_bytes()

    def _weighted(self, weights: Sequence[str]) -> Weighted | None:
        names = list(dict.fromkeys(self._datasets))
        by_name = by_weight(weights, names)
        if not by_name:
            return None
        return Weighted([names.index(name) for name in self._datasets], [by_name[name] for name in names])

    def _require_one_side(self) -> None:
        """Refuse datasets of different sizes at once; a single picture of another size is refused when it comes."""
        names = [] if self._shapes.side else list(dict.fromkeys(self._datasets))
        sides = {name: min(self._picture(self._datasets.index(name), 0).shape[:2]) for name in names}
        if len(set(sides.values())) > 1:
            told = ", ".join(f"{name} of {side}" for name, side in sides.items())
            raise ConfigError(
                f"the datasets have pictures of different sides, {told} pixels: add --set shapes.side=N, which brings "
                "all to one, or ingest them again with one --image-size."
            )

    def _places(self, numbers: Sequence[int]) -> tuple[list[int], list[int]]:
        """Give the shard of each sample by its place in the index, and its number in it."""
        order = Order([rows.num_kept for rows in self._library.index], 0)
        shards, inside = order.shard_of(np.asarray(numbers, np.int64))
        return shards.tolist(), inside.tolist()

    def _picture(self, shard: int, number: int) -> Tensor:
        sample = self._library.shard(shard).sample(number)
        return decode(sample.body, f"picture {sample.key}")

    def feed(
        self,
        seed: int,
        encode: Encode | None = None,
        *,
        group: int = 1,
        workers: int | None = None,
        stride: int = 0,
        processes: int = 1,
        pin: bool = False,
        weights: Sequence[str] = (),
    ) -> Feed:
        """Start to read; what was opened is closed with the feed.

        Args:
            seed: of the order.
            encode: makes token ids of captions; None for the captions folder's own tokenizer.
            group: samples of a batch of all ranks, which have one shape; 1 where there is only one.
            workers: processes that decode what does not fit in memory; None for one a core, `MAX_WORKERS` at most.
            stride: positions from one batch of this rank to its next; 0 for the size of a batch.
            processes: that read on this machine, each of which keeps what fits in its share of the memory.
            pin: whether batches go to a graphics card.
            weights: of the datasets, each as NAME=NUMBER: samples come from them in these proportions; none for all
                samples alike.

        Raises:
            ConfigError: the pictures are not squares of one size, or the weights are not those of these datasets.
            DataError: a shard is damaged, or the captions are.
            TransientError: a store does not answer.
        """
        self._require_one_side()
        encode = encode or load_tokenizer(self._captions_dir).encode
        plan = Plan([rows.counts for rows in self._library.index], seed, group, self._weighted(weights))
        reader = Reader(self._library, plan, self._shapes, self.image_size, encode)
        if self.fit_in_memory(self.num_samples * processes):
            try:
                return MemoryFeed(reader)
            finally:
                self.close()
        if workers is None:
            workers = min(max(1, usable_cores() // processes), MAX_WORKERS)
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


class Split:
    """A split as evaluations look at it: any sample by its number, as a square; pictures that fit are in memory.

    Args:
        opened: the split, closed with this one.
        rows: of the table, for each of the samples.

    Attributes:
        captions: cleaned captions.
        keys: sample keys.
        attributes: what the source said about each picture, parsed.
        image_size: side of the pictures, in pixels; those that are stored otherwise are scaled and cut to it.
    """

    def __init__(self, opened: OpenSplit, rows: Sequence[dict[str, Any]]) -> None:
        self.captions: list[str] = [row["caption"] for row in rows]
        self.keys: list[str] = [row["key"] for row in rows]
        self.attributes = [parse_attributes(row["attributes"]) for row in rows]
        self.image_size = opened.image_size
        self._opened = opened
        self._cache = opened.squares(range(len(rows))) if opened.fit_in_memory(len(rows)) else None

    def __len__(self) -> int:
        return len(self.keys)

    def pictures(self, indices: Sequence[int]) -> Pixels:
        """Give some pictures: (B, H, W, 3) uint8."""
        return self._cache[list(indices)] if self._cache is not None else self._opened.squares(indices)

    def close(self) -> None:
        """Remove what is near."""
        self._opened.close()


def load_split(captions_dir: Path, split: SplitName, *, limit: int | None = None, side: int = 0) -> Split:
    """Load one split of a captioned dataset.

    Args:
        captions_dir: a finished captions folder; it knows where its dataset lies.
        split: train, validation or test.
        limit: at most this many samples, the first of the table.
        side: of the pictures, in pixels; 0 for the shorter one of the first.

    Raises:
        ConfigError: the folder is not a finished captions folder, its dataset has changed, or the split is empty.
        ShardError: a shard is damaged; names it with the number of samples lost.
        DataError: the captions are damaged, or a sample has no picture.
    """
    opened = OpenSplit(captions_dir, split, shapes=Shapes(side=side))
    try:
        columns = ("key", "caption", "attributes")
        return Split(opened, list(islice(read_captions(captions_dir, split, columns), limit)))
    except BaseException:
        opened.close()
        raise


def parse_attributes(text: str) -> dict[str, Any]:
    """Parse the attributes column; anything but a JSON object counts as none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
