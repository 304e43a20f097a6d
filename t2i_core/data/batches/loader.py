"""A split as evaluations look at it: any sample by its number, as a square."""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from t2i_core.data.batches.captions import SplitName, read_captions
from t2i_core.data.batches.decode import cover, decode
from t2i_core.data.batches.indexed import picture_places
from t2i_core.data.batches.near import open_shards
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.door import open_file
from t2i_core.errors import ConfigError, DataError
from t2i_core.machine import memory_bytes
from t2i_core.manifest import read_manifest

Pixels = NDArray[np.uint8]
Place = tuple[Path, int, int]
"""Where an encoded picture lies: its tar, offset and size in bytes."""
COLUMNS = ("key", "shard", "caption", "attributes")
# Share of the machine's memory beyond which pictures are decoded anew whenever they are asked for.
MAX_MEMORY_SHARE = 0.4


class Split:
    """The kept samples of one split, in the order of the table.

    Attributes:
        captions: cleaned captions.
        keys: sample keys.
        attributes: what the source said about each picture, parsed.
        image_size: side of the pictures, in pixels: the shorter one of the first; others are scaled and cut to it.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], places: Sequence[Place]) -> None:
        self.captions: list[str] = [row["caption"] for row in rows]
        self.keys: list[str] = [row["key"] for row in rows]
        self.attributes = [parse_attributes(row["attributes"]) for row in rows]
        self._places = places
        self.image_size = min(_decode(places[0]).shape[:2])
        size = len(places) * self.image_size**2 * 3
        self._cache = self._squares(range(len(places))) if size <= MAX_MEMORY_SHARE * memory_bytes() else None

    def __len__(self) -> int:
        return len(self.keys)

    def pictures(self, indices: Sequence[int]) -> Pixels:
        """Give some pictures: (B, H, W, 3) uint8."""
        return self._cache[list(indices)] if self._cache is not None else self._squares(indices)

    def _squares(self, indices: Sequence[int]) -> Pixels:
        side = self.image_size
        out = np.empty((len(indices), side, side, 3), np.uint8)
        for row, index in enumerate(indices):
            out[row] = cover(_decode(self._places[index]), side, side)[0].numpy()
        return out


def _decode(place: Place) -> Tensor:
    tar_path, offset, size = place
    with open_file(tar_path, levels=1) as file:
        file.seek(offset)
        body = file.read(size)
    return decode(body, f"{tar_path}: the picture at byte {offset:,}")


def load_tokenizer(captions_dir: Path) -> Tokenizer:
    """Load the tokenizer of a finished captions folder."""
    read_manifest(captions_dir, "captions")
    return Tokenizer.load(captions_dir / "tokenizer.json")


def load_split(captions_dir: Path, split: SplitName, *, limit: int | None = None) -> Split:
    """Load one split of a captioned dataset.

    Args:
        captions_dir: a finished captions folder; it knows where its dataset lies.
        split: train, validation or test.
        limit: at most this many samples, the first of the table.

    Raises:
        ConfigError: the folder is not a finished captions folder, its dataset has changed, or the split is empty.
        ShardError: a shard is damaged; names it with the number of samples lost.
        DataError: the captions are damaged, or a sample has no picture.
    """
    shards = open_shards(captions_dir)
    rows = list(islice(read_captions(captions_dir, split, COLUMNS), limit))
    if not rows:
        raise ConfigError(f"{captions_dir} has no samples in its {split} split; ingest more pictures or filter less.")
    places: dict[str, Place] = {}
    for shard in sorted({row["shard"] for row in rows}):
        shards.bring(shard)
        tar_path = shards.stem(shard).with_suffix(".tar")
        places |= {key: (tar_path, *place) for key, place in picture_places(tar_path).items()}
    missing = [row["key"] for row in rows if row["key"] not in places]
    if missing:
        raise DataError(f"{captions_dir}: {len(missing)} of its samples have no picture, the first is {missing[0]}.")
    return Split(rows, [places[row["key"]] for row in rows])


def parse_attributes(text: str) -> dict[str, Any]:
    """Parse the attributes column; anything but a JSON object counts as none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
