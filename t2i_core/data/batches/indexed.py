"""One shard with an index: what is told about each of its samples and where its picture lies, in a file that is mapped.

The index is made once for as long as the shard is near, by whichever process needs it first; the others map the same
file, so that none holds the texts of a shard in memory of its own.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from t2i_core.data.batches.captions import ShardRows, SplitName, read_captions
from t2i_core.data.batches.location import own_key
from t2i_core.data.batches.shapes import Shapes
from t2i_core.data.shards.reader import picture_places, read_rows
from t2i_core.door import open_file
from t2i_core.errors import DataError
from t2i_core.folders.atomic import other_name

TEXTS = ("key", "uid", "caption")
SIZES = ("width", "height", "original_width", "original_height")
_SCHEMA = pa.schema(
    [*((name, pa.string()) for name in TEXTS), *((name, pa.int64()) for name in ("offset", "size", *SIZES))]
)


def write_index(path: Path, stem: Path, captions_dir: Path, split: SplitName, rows: ShardRows) -> None:
    """Write the index of a shard.

    Args:
        path: of the index.
        stem: of the shard's tar and table, without ending.
        captions_dir: the captions of its samples.
        split: which samples.
        rows: where their captions stand.

    Raises:
        ShardError: the shard is damaged.
        DataError: the captions are, or a sample has no picture.
    """
    samples = list(read_captions(captions_dir, split, TEXTS, rows))
    table = read_rows(stem.with_suffix(".parquet"), ("key", *SIZES))
    sizes = {row["key"]: tuple(row[name] or 0 for name in SIZES) for row in table}
    places = picture_places(stem.with_suffix(".tar"))
    keys = [own_key(row["key"]) for row in samples]
    missing = [key for key in keys if key not in places or key not in sizes]
    if missing:
        raise DataError(f"{stem}.tar: {len(missing)} captioned samples have no picture, the first is {missing[0]}.")
    numbers = [(*places[key], *sizes[key]) for key in keys]
    columns = [[row[name] for row in samples] for name in TEXTS] + [
        list(column) for column in zip(*numbers, strict=True)
    ]
    partial = other_name(path)
    with pa.OSFile(str(partial), "wb") as file, pa.ipc.new_file(file, _SCHEMA) as writer:
        writer.write_batch(pa.record_batch(columns, schema=_SCHEMA))
    partial.replace(path)


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample as it is stored.

    Attributes:
        body: its encoded picture.
        width, height: of the picture, in pixels.
        original_width, original_height: of the one that it was made from; 0 where that is not known.
    """

    key: str
    uid: str
    caption: str
    body: bytes
    width: int
    height: int
    original_width: int
    original_height: int


class IndexedShard:
    """A shard whose samples can be read one by one.

    Args:
        path: of its index.
        tar_path: of its tar.
    """

    def __init__(self, path: Path, tar_path: Path) -> None:
        self.tar_path = tar_path
        self._buckets: dict[int, NDArray[np.int64]] = {}
        with pa.memory_map(str(path)) as mapped:
            batch = pa.ipc.open_file(mapped).get_batch(0)
        self._texts = [batch.column(name) for name in TEXTS]
        self._numbers = np.stack([_as_numpy(batch.column(name)) for name in ("offset", "size", *SIZES)], axis=1)
        self._tar = open_file(tar_path, levels=1)

    def rows_of(self, bucket: int, shapes: Shapes) -> NDArray[np.int64]:
        """Give the numbers of the samples of one bucket."""
        if shapes.num == 1:
            return np.arange(len(self._numbers))
        if not self._buckets:
            sides = self._numbers[:, [2, 3]].tolist()
            each = np.array([shapes.bucket_of(width, height) for width, height in sides])
            self._buckets = {number: np.flatnonzero(each == number) for number in range(shapes.num)}
        return self._buckets[bucket]

    def sample(self, number: int) -> Sample:
        """Read a sample by its number among those of the split.

        Raises:
            DataError: the tar has become shorter.
        """
        offset, size, *sizes = self._numbers[number].tolist()
        body = os.pread(self._tar.fileno(), size, offset)
        if len(body) != size:
            raise DataError(f"{self.tar_path} has become shorter while it was read.")
        key, uid, caption = (column[number].as_py() for column in self._texts)
        return Sample(key, uid, caption, body, *sizes)

    def close(self) -> None:
        """Close the tar."""
        self._tar.close()


def _as_numpy(column: pa.Array) -> NDArray[np.int64]:
    # pyarrow's own way to NumPy imports pandas first.
    return np.frombuffer(column.buffers()[1], np.int64, len(column))
