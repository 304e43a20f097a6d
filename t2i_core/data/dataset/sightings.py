"""What servers said of the pictures of a shard when they were last asked, so that they can be asked for news alone.

It lies beside the plan, `_parts/NNNNN_seen.parquet`, a row a source: marks and times differ from run to run and are no
part of what a dataset is. Where it is lost, the next look fetches whole pictures, and no more is lost.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from t2i_core.data.dataset.parts import PARTS_DIR
from t2i_core.data.shards.columns import column_of
from t2i_core.data.shards.layout import shard_name
from t2i_core.data.tables.table import read_table
from t2i_core.errors import DataError
from t2i_core.folders.atomic import write_atomically

MAX_MARK_CHARS = 300


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a server said of one picture.

    Attributes:
        etag: its mark of the form that came, "" for none.
        last_modified: when it last changed, in the server's own words, "" for none.
        asked_at: when the server last answered, in seconds since 1970; None when it never did.
    """

    etag: str = ""
    last_modified: str = ""
    asked_at: int | None = None


UNSEEN = Sighting()
_SCHEMA = pa.schema([("etag", pa.string()), ("last_modified", pa.string()), ("asked_at", pa.int64())])
_NAMES = [field.name for field in fields(Sighting)]


def write_sightings(folder: Path, shard_id: int, seen: Sequence[Sighting]) -> None:
    """Write what was seen of the sources of one shard, in their order.

    Args:
        folder: the dataset's, or one for new forms of its files.
        shard_id: number of the shard.
        seen: of each source; marks that are too long to be meant are left out.
    """
    rows = [(_short(one.etag), _short(one.last_modified), one.asked_at) for one in seen]
    columns = [column_of((row[place] for row in rows), field.type) for place, field in enumerate(_SCHEMA)]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_arrays(columns, schema=_SCHEMA), buffer, compression="zstd")
    write_atomically(_path(folder, shard_id), buffer.getvalue().to_pybytes())


def _short(mark: str) -> str:
    return mark if len(mark) <= MAX_MARK_CHARS else ""


def read_sightings(folder: Path, shard_id: int, num_rows: int) -> list[Sighting]:
    """Read what was seen of the sources of one shard; nothing of any where that is not noted.

    Args:
        folder: the dataset's.
        shard_id: number of the shard.
        num_rows: its sources.
    """
    try:
        columns = read_table(_path(folder, shard_id), _NAMES).to_pydict()
        seen = [Sighting(*row) for row in zip(*(columns[name] for name in _NAMES), strict=True)]
    except (OSError, DataError, pa.ArrowException, ValueError, KeyError, TypeError):
        seen = []
    return seen if len(seen) == num_rows else [UNSEEN] * num_rows


def _path(folder: Path, shard_id: int) -> Path:
    return folder / PARTS_DIR / f"{shard_name(shard_id)}_seen.parquet"
