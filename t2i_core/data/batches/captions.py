"""The table that captioning writes and training reads: `captions.parquet` with its splits.

A row group holds the rows of one shard, so that those of a shard can be read without the others. Where several datasets
are joined, each has a name, shards are counted through all of them in the order of their names, and a key begins with
the name of the dataset that it is from.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, repeat
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.batches.shapes import ANY_SHAPE, Shapes
from t2i_core.data.tables.table import iter_table
from t2i_core.errors import DataError

SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = get_args(SplitName)

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("shard", pa.int32()),
        ("uid", pa.string()),
        ("caption_raw", pa.string()),
        ("caption", pa.string()),
        ("split", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("num_tokens", pa.int32()),
        ("truncated", pa.bool_()),
        ("group", pa.string()),
        ("attributes", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
    ]
)


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One line of `captions.parquet`.

    Attributes:
        key: NAME/KEY where several datasets are joined.
        shard: counted through all of them.
        num_tokens: length of the whole caption, [EOS] included, before anything is cut.
        truncated: whether the tokenizer cuts it.
        width: of the stored picture, pixels; 0 where it is not known.
        height: likewise.
    """

    key: str
    shard: int
    uid: str
    caption_raw: str
    caption: str
    split: SplitName
    status: str
    reason: str
    num_tokens: int
    truncated: bool
    group: str
    attributes: str
    width: int
    height: int


CAPTIONS_NAME = "captions.parquet"


def write_captions(path: Path, rows: Sequence[CaptionRow]) -> None:
    """Write `captions.parquet`; equal rows give equal bytes.

    Args:
        path: of the file.
        rows: in the order of their shards.
    """
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        for _, of_shard in groupby(rows, key=attrgetter("shard")):
            group = list(of_shard)
            columns = {name: [getattr(row, name) for row in group] for name in SCHEMA.names}
            writer.write_table(pa.table(columns, schema=SCHEMA), row_group_size=len(group))


@dataclass(frozen=True, slots=True)
class ShardRows:
    """Where the rows of one shard stand.

    Attributes:
        shard: its number.
        first: the number of its first row.
        stop: that behind its last one.
        counts: how many of them are kept samples of the split that was asked for, by bucket.
    """

    shard: int
    first: int
    stop: int
    counts: tuple[int, ...]

    @property
    def num_kept(self) -> int:
        """How many of them are kept samples of the split."""
        return sum(self.counts)


def index_captions(captions_dir: Path, split: SplitName, shapes: Shapes = ANY_SHAPE) -> list[ShardRows]:
    """Count the samples of a split shard by shard; shards without any are left out.

    Args:
        captions_dir: a finished captions folder.
        split: which samples.
        shapes: that batches have, with a bucket of samples for each.

    Raises:
        DataError: the table is missing or damaged.
    """
    kept, num_rows = Counter[tuple[int, int]](), dict[int, int]()
    last = None
    names = ["shard", "split", "status", *(("width", "height") if shapes.num > 1 else ())]
    for piece in _pieces(captions_dir, names):
        shards, splits, statuses, *sides = (piece.column(name).to_pylist() for name in names)
        buckets = map(shapes.bucket_of, *sides) if sides else repeat(0)
        rows = zip(shards, splits, statuses, buckets, strict=False)
        kept.update((shard, bucket) for shard, its, status, bucket in rows if its == split and status == "kept")
        for shard, run in groupby(shards):
            if not isinstance(shard, int) or shard < 0:
                raise _damaged(captions_dir, f"{shard!r} is no shard")
            if shard != last and shard in num_rows:
                raise _damaged(captions_dir, f"the rows of shard {shard} are not together")
            num_rows[shard] = num_rows.get(shard, 0) + len(list(run))
            last = shard
    ends = accumulate(num_rows.values())
    found = (
        ShardRows(shard, end - num_rows[shard], end, tuple(kept[shard, bucket] for bucket in range(shapes.num)))
        for shard, end in zip(num_rows, ends, strict=True)
    )
    return [rows for rows in found if rows.num_kept]


def read_captions(
    captions_dir: Path, split: SplitName, columns: Sequence[str], rows: ShardRows | None = None
) -> Iterator[dict[str, Any]]:
    """Read the kept samples of a split in the order of the table, which is that of shards and keys.

    Args:
        captions_dir: a finished captions folder.
        split: which samples.
        columns: of them.
        rows: of one shard alone; None for all.

    Raises:
        DataError: the table is missing or damaged.
    """
    wanted = (rows.first, rows.stop) if rows else None
    for piece in _pieces(captions_dir, [*columns, "split", "status"], wanted):
        for row in piece.to_pylist():
            if (row["split"], row["status"]) == (split, "kept"):
                yield {name: row[name] for name in columns}


def _pieces(captions_dir: Path, columns: Sequence[str], rows: tuple[int, int] | None = None) -> Iterator[pa.Table]:
    try:
        for piece in iter_table(captions_dir / CAPTIONS_NAME, columns, rows=rows):
            lacking = set(columns).difference(piece.schema.names)
            if lacking:
                raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
            yield piece
    except (OSError, pa.ArrowException, ValueError) as err:
        raise _damaged(captions_dir, str(err)) from err


def _damaged(captions_dir: Path, why: str) -> DataError:
    return DataError(f"{captions_dir / CAPTIONS_NAME} is damaged: {why}. Run the caption step again.")
