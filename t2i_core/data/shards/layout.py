"""Which names and columns the shards of a dataset have."""

import hashlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from t2i_core.data.address import url_identity
from t2i_core.data.picture import EncodeFormat

SHARDS_DIR = "shards"
SHARD_DIGITS = 5
# In the order in which img2dataset writes them, then those it does not have.
JSON_COLUMNS = (
    *("caption", "url", "key", "status", "error_message", "width", "height", "original_width", "original_height"),
    *("sha256", "uid", "reason", "http_status", "final_url", "page_url", "caption_source", "attributes"),
    *("phash", "original_format", "original_mode", "frames", "signals"),
)
# Times differ from run to run, so this one is not in the table, but in the statistics.
FETCH_TIME = "fetched_at"
# What the JSON of a sample does not have. The colors are there to compare rows with, and long.
TABLE_ONLY = ("color_grid", "sample_crc32")
COLUMNS = (*JSON_COLUMNS, *TABLE_ONLY)
# Only of datasets whose options ask for it.
EXIF_COLUMN = "exif"
OWN_COLUMNS = frozenset({*COLUMNS, FETCH_TIME, EXIF_COLUMN, "md5", "sha512"})
# Lists often bring a column of this name, which then stays where it is, and is the only one.
LICENSE_COLUMN = "license"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardLayout:
    """What every shard of a dataset has in common.

    Attributes:
        shards_dir: the folder of all shards.
        samples_per_shard: attempted sources in each, which decides the width of the keys.
        encode_format: of the stored pictures.
        extra_columns: of the source, passed through.
        extra_types: of those that are no text, by name.
        has_exif: whether there is a column of the sources' EXIF.
    """

    shards_dir: Path
    samples_per_shard: int
    encode_format: EncodeFormat
    extra_columns: tuple[str, ...]
    extra_types: Mapping[str, pa.DataType] = field(default_factory=dict)
    has_exif: bool = False

    @property
    def last_columns(self) -> tuple[str, ...]:
        """The columns behind those that all datasets have in the same order."""
        return (LICENSE_COLUMN, EXIF_COLUMN) if self.has_exif else (LICENSE_COLUMN,)


def shard_name(shard_id: int) -> str:
    """Give the stem of a shard's file names."""
    return f"{shard_id:0{SHARD_DIGITS}d}"


def table_path(shards_dir: Path, shard_id: int) -> Path:
    """Give the path of the table of a shard's rows."""
    return shards_dir / f"{shard_name(shard_id)}.parquet"


def sample_key(shard_id: int, index: int, samples_per_shard: int) -> str:
    """Give the key of the `index`-th source of a shard, as img2dataset numbers them."""
    digits = len(str(samples_per_shard - 1)) if samples_per_shard > 1 else 0
    return f"{shard_id * 10**digits + index:0{SHARD_DIGITS + digits}d}"


def sample_place(key: str, samples_per_shard: int) -> tuple[int, int]:
    """Give the shard and the number of the source in it that a key of `sample_key` was made for."""
    per_shard = 10 ** len(str(samples_per_shard - 1)) if samples_per_shard > 1 else 1
    return divmod(int(key), int(per_shard))


def sample_uid(url: str, caption: str) -> str:
    """Give the identity of a sample that survives another order or shard size: 32 hexadecimal digits."""
    return hashlib.sha256(f"{url_identity(url)}\n{caption}".encode()).hexdigest()[:32]


def extra_columns(names: Iterable[str]) -> tuple[str, ...]:
    """Give the columns of a shard's table that came from the source and are passed through: those before its own."""
    return tuple(itertools.takewhile(lambda name: name not in COLUMNS, names))
