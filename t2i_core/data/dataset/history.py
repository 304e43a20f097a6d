"""What a dataset keeps of its past: earlier versions as folders of their own, and who opted out of it later."""

from collections.abc import Iterable
from pathlib import Path

from t2i_core.config import Config
from t2i_core.data.dataset.tombstone import PURGED_LIST_NAME, TOMBSTONES_NAME
from t2i_core.data.shards.versions import current_number
from t2i_core.door import is_file, link_file
from t2i_core.folders.manifest import MANIFEST_NAME, Manifest
from t2i_core.folders.records import read_records, write_records

OPT_OUTS_NAME = "opt_outs.jsonl"


class OptOut(Config):
    """A sample that was in a version of the dataset, and is in none any more because it must not be taken.

    Attributes:
        version: the first that does not have it.
        key: that it had.
        uid: its identity.
        url_sha256: of its URL.
        reason: why it must not be taken.
    """

    version: int
    key: str
    uid: str
    url_sha256: str
    reason: str


def read_opt_outs(dataset_dir: Path) -> list[OptOut]:
    """Read who opted out after their pictures were taken, in the order in which it was learned.

    Raises:
        DataError: the list is damaged.
    """
    advice = "Restore it, or delete it: it is a record of the past."
    return read_records(dataset_dir / OPT_OUTS_NAME, OptOut, advice)


def newest_opt_outs(dataset_dir: Path) -> frozenset[str]:
    """Give the uids of the samples that the newest version does not have any more because they must not be taken."""
    number = current_number(dataset_dir)
    return frozenset(each.uid for each in read_opt_outs(dataset_dir) if each.version == number)


def write_opt_outs(folder: Path, opt_outs: Iterable[OptOut]) -> None:
    """Write the list; nothing where there is nobody on it."""
    if listed := list(opt_outs):
        write_records(folder / OPT_OUTS_NAME, listed)


def hold_version(dataset_dir: Path, manifest: Manifest, folder: Path) -> None:
    """Make a dataset folder of what a dataset is now, which shares its files, for they are never changed in place.

    Args:
        dataset_dir: the dataset.
        manifest: of it.
        folder: to make; its manifest comes last.

    Raises:
        OSError: a file is gone, or the disk is full.
    """
    beside = [name for name in (TOMBSTONES_NAME, PURGED_LIST_NAME) if is_file(dataset_dir / name)]
    for name in [*manifest.files_by_path, *beside, MANIFEST_NAME]:
        link_file(dataset_dir / name, folder / name)
