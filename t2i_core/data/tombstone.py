"""What stays of a sample that was removed on request: its key, its uid and the hash of its URL, and nothing else.

The list of them lies in the data set's folder, beside the shards, so that no later ingest into it brings one back.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from t2i_core.config import Config
from t2i_core.data.address import url_identity
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shard import sample_uid
from t2i_core.errors import DataError
from t2i_core.manifest import write_atomically

TOMBSTONES_NAME = "purged.jsonl"
_BURIED_URL = re.compile(r"sha256:([0-9a-f]{64})")


class Tombstone(Config):
    """One line of `purged.jsonl`."""

    key: str
    uid: str
    url_sha256: str


def url_sha256(url: str) -> str:
    """Give the hash that stands for a URL, whatever its spelling; what a tombstone has in its place keeps its own."""
    buried = _BURIED_URL.fullmatch(url)
    return buried[1] if buried else hashlib.sha256(url_identity(url).encode("utf-8", "replace")).hexdigest()


def bury(record: SourceRecord) -> SourceRecord:
    """Give the record that takes the place of a removed one."""
    return SourceRecord(
        url=f"sha256:{url_sha256(record.url)}",
        reason=RejectReason.PURGED,
        uid=record.uid or sample_uid(record.url, record.caption),
    )


def read_tombstones(dataset_dir: Path) -> list[Tombstone]:
    """Read the list of a data set, finished or not.

    Raises:
        DataError: the list is damaged.
    """
    path = dataset_dir / TOMBSTONES_NAME
    try:
        return [Tombstone.model_validate_json(line) for line in path.read_bytes().splitlines()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except ValueError as err:
        raise DataError(f"{path} is damaged ({err}). Restore it: it keeps what was purged from coming back.") from err


def write_tombstones(folder: Path, tombstones: Iterable[Tombstone]) -> None:
    """Write the list, in order of the keys."""
    lines = (stone.model_dump_json() + "\n" for stone in sorted(tombstones, key=lambda stone: stone.key))
    write_atomically(folder / TOMBSTONES_NAME, "".join(lines).encode())
