"""What stays of a sample that was removed on request: its key, its uid and the hash of its URL, and nothing else.

The list of them lies in the dataset's folder, beside the shards, and next to it what was asked to be removed, as a
deny-list that any ingest can use: neither brings back what was removed, nor takes what comes under the same names.
"""

import hashlib
import re
from collections.abc import Iterable
from pathlib import Path

from yarl import URL

from t2i_core.config import Config
from t2i_core.data.address import normalise_url, url_identity
from t2i_core.data.manners.denylist import NOTHING_DENIED, DenyList
from t2i_core.data.record import SourceRecord
from t2i_core.data.reject import RejectReason
from t2i_core.data.shards.layout import sample_uid
from t2i_core.door import is_file, open_file, read_file
from t2i_core.folders.atomic import write_atomically
from t2i_core.folders.layout import MAX_LOG_BYTES
from t2i_core.folders.records import read_records, write_records

TOMBSTONES_NAME = "purged.jsonl"
PURGED_LIST_NAME = "purged_deny_list.txt"
_PURGED_LIST_HEAD = "# Purged from this dataset: no ingest into this folder takes it. For others: --deny-list"
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
    """Read the list of a dataset, finished or not.

    Raises:
        DataError: the list is damaged.
    """
    advice = "Restore it: it keeps what was purged from coming back."
    return read_records(dataset_dir / TOMBSTONES_NAME, Tombstone, advice)


def write_tombstones(folder: Path, tombstones: Iterable[Tombstone]) -> None:
    """Write the list, in order of the keys."""
    in_order = sorted(tombstones, key=lambda stone: stone.key)
    write_records(folder / TOMBSTONES_NAME, in_order)


def read_purged_list(dataset_dir: Path) -> DenyList:
    """Read what no ingest into this folder may take.

    Raises:
        ConfigError: the list is damaged.
    """
    path = dataset_dir / PURGED_LIST_NAME
    return DenyList.read(path) if _is_there(path) else NOTHING_DENIED


def _is_there(path: Path) -> bool:
    """Tell whether there is a list.

    Raises:
        DataError: what has its name is a link, no file, or too large: what was purged could come back.
    """
    try:
        open_file(path, MAX_LOG_BYTES).close()
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def purged_list_lines(dataset_dir: Path) -> list[str]:
    """Give the lines of this list as they stand there, the comments of persons included; none without a list.

    Raises:
        ConfigError: the list is damaged.
    """
    read_purged_list(dataset_dir)
    path = dataset_dir / PURGED_LIST_NAME
    return read_file(path, MAX_LOG_BYTES).decode("utf-8-sig").splitlines() if is_file(path) else []


def write_purged_list(folder: Path, lines: Iterable[str]) -> None:
    """Write the list, each line once."""
    text = "".join(f"{line}\n" for line in dict.fromkeys([_PURGED_LIST_HEAD, *lines]))
    write_atomically(folder / PURGED_LIST_NAME, text.encode())


class Purged:
    """What was removed from a dataset, to be looked up source by source.

    Args:
        dataset_dir: the dataset, finished or not.
    """

    def __init__(self, dataset_dir: Path) -> None:
        self._tombstones = {stone.url_sha256 for stone in read_tombstones(dataset_dir)}
        self._list = read_purged_list(dataset_dir)

    def holds(self, text: str) -> bool:
        """Tell whether a URL, or the path of a local picture, was removed or comes under what was."""
        if self._tombstones and url_sha256(text) in self._tombstones:
            return True
        url = normalise_url(text) if self._list != NOTHING_DENIED else None
        return isinstance(url, URL) and self._list.refusal(url) is not None
