"""The table that captioning writes and training reads: `captions.parquet`, its splits and its tokenizer."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa
import pyarrow.parquet as pq

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
    ]
)


@dataclass(frozen=True, slots=True)
class CaptionRow:
    """One line of `captions.parquet`.

    Attributes:
        num_tokens: length of the whole caption, [EOS] included, before anything is cut.
        truncated: whether the tokenizer cuts it.
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


def write_captions(path: Path, rows: Sequence[CaptionRow]) -> None:
    """Write `captions.parquet`; equal rows give equal bytes."""
    columns = {name: [getattr(row, name) for row in rows] for name in SCHEMA.names}
    pq.write_table(pa.table(columns, schema=SCHEMA), path, compression="zstd")


CAPTIONS_NAME, TOKENIZER_NAME = "captions.parquet", "tokenizer.json"
