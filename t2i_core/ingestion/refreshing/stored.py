"""Pictures that a dataset holds, taken as they are for samples of which something else is said now."""

import os
from collections import OrderedDict
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from t2i_core.data.attempt import Attempt
from t2i_core.data.picture import Picture
from t2i_core.data.record import SourceRecord
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name, table_path
from t2i_core.data.shards.reader import picture_places, read_rows
from t2i_core.door import open_file
from t2i_core.errors import ShardError
from t2i_core.ingestion.refreshing.earlier import Earlier

MAX_OPEN = 4
_FIELDS = tuple(field.name for field in fields(Picture) if field.name != "data")


@dataclass(frozen=True, slots=True)
class _Shard:
    """Where the pictures of a shard lie, and its rows."""

    places: dict[str, tuple[int, int]]
    rows: list[dict[str, Any]]


class StoredPictures:
    """Reads single pictures; the last few shards stay open.

    Args:
        dataset_dir: the dataset.
    """

    def __init__(self, dataset_dir: Path) -> None:
        self._shards_dir = dataset_dir / SHARDS_DIR
        self._open: OrderedDict[int, _Shard] = OrderedDict()

    def attempt(self, record: SourceRecord, row: Earlier) -> Attempt:
        """Give what became of a source as if it had just been asked for.

        Args:
            record: what the source says of it now.
            row: that has its picture.

        Raises:
            ShardError: the shard is damaged.
        """
        shard = self._shard(row.shard)
        told = shard.rows[row.place]
        described: dict[str, Any] = {name: told.get(name) for name in _FIELDS}
        described |= {name: described[name] or "" for name in ("exif", "color_grid", "phash")}
        picture = Picture(data=self._read(row.shard, shard, told["key"]), **described)
        answer = told["http_status"] or 0, told["final_url"] or "", told["signals"] or ""
        return Attempt(record, picture, *answer, row.asked_at, row.etag, row.last_modified)

    def _shard(self, shard_id: int) -> _Shard:
        if shard_id not in self._open:
            places = picture_places(self._tar(shard_id))
            self._open[shard_id] = _Shard(places, read_rows(table_path(self._shards_dir, shard_id)))
            if len(self._open) > MAX_OPEN:
                self._open.popitem(last=False)
        self._open.move_to_end(shard_id)
        return self._open[shard_id]

    def _read(self, shard_id: int, shard: _Shard, key: str) -> bytes:
        path = self._tar(shard_id)
        offset, size = shard.places.get(key, (0, 0))
        with open_file(path, levels=1) as tar:
            body = os.pread(tar.fileno(), size, offset)
        if not body or len(body) != size:
            raise ShardError(f"shard {path} is damaged: it lacks the picture of {key}.", path=str(path), num_lost=1)
        return body

    def _tar(self, shard_id: int) -> Path:
        return self._shards_dir / f"{shard_name(shard_id)}.tar"
