"""From a sample onward: which datasets and captions hold it, which runs were trained on it, what scored them.

Samples are told apart by their `uid` and folders by their digests, so folders that were moved are found as well.
"""

from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import pyarrow as pa

from t2i_core.config import Config
from t2i_core.data.batches.captions import CAPTIONS_NAME
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.dataset.tombstone import url_sha256
from t2i_core.data.shards.layout import SHARDS_DIR, table_path
from t2i_core.data.shards.reader import read_rows
from t2i_core.data.tables.table import iter_table
from t2i_core.errors import DataError
from t2i_core.folders.layout import Kind
from t2i_core.folders.manifest import Manifest, finished_folders

Folders = Sequence[tuple[Path, Manifest]]
_COLUMNS: dict[Kind, list[str]] = {
    "dataset": ["key", "uid", "status", "reason"],
    "captions": ["key", "uid", "status", "reason", "split"],
}
_MADE: tuple[Kind, ...] = ("run", "system", "evaluation", "comparison")
_WITH_SAMPLE = frozenset({"success", "kept"})


class HeldRow(Config):
    """A row about one of the samples; `split` only for captions."""

    key: str
    uid: str
    status: str
    reason: str
    split: str = ""


class Holder(Config):
    """A finished folder that holds one of the samples, or was made with one.

    Attributes:
        kind: what the folder is.
        folder: where it is.
        digest: its identity.
        rows: of a dataset or captions.
        certain: False for features and a run whose captions are gone, so that nobody can tell.
    """

    kind: Kind
    folder: Path
    digest: str
    rows: tuple[HeldRow, ...] = ()
    certain: bool = True

    @property
    def has_samples(self) -> bool:
        """Whether more than notes about samples that were left out or purged is in it."""
        return self.kind not in _COLUMNS or any(row.status in _WITH_SAMPLE for row in self.rows)


def find_url(root: Path, url: str) -> list[Holder]:
    """Find what holds a URL, or was made with it, at and below a folder; tombstones of it are found too.

    Args:
        root: where to look.
        url: of the picture or of where it was redirected to, in any spelling.

    Raises:
        ConfigError: there is no such folder.
        DataError: a table is damaged.
    """
    folders = list(finished_folders(root))
    wanted = url_sha256(url)
    uids = {
        uid for folder, manifest in folders if manifest.kind == "dataset" for uid in _uids(folder, manifest, wanted)
    }
    return _holders(folders, uids)


def find_samples(root: Path, uids: Set[str]) -> list[Holder]:
    """Find what still holds any of these samples, or was made with one, at and below a folder.

    Raises:
        ConfigError: there is no such folder.
        DataError: a table is damaged.
    """
    return [holder for holder in _holders(list(finished_folders(root)), uids) if holder.has_samples]


def _uids(dataset_dir: Path, manifest: Manifest, url: str) -> Iterator[str]:
    for path in _tables(dataset_dir, manifest):
        for row in read_rows(path, ["uid", "url", "final_url"]):
            if any(url_sha256(found) == url for found in (row["url"], row["final_url"]) if found):
                yield row["uid"]


def _holders(folders: Folders, uids: Set[str]) -> list[Holder]:
    """Follow samples through tables, then through the digests that manifests name as their inputs."""
    if not uids:
        return []
    tables = [_with_rows(folder, manifest, uids) for folder, manifest in folders if manifest.kind in _COLUMNS]
    trained = {holder.digest: True for holder in tables if _in_training(holder)}
    known = {manifest.digest for _, manifest in folders}
    # Features are of the captions of all splits.
    captions = {holder.digest: True for holder in tables if holder.kind == "captions" and holder.has_samples}
    features = _made_from(folders, "features", captions, known)
    made = _all_made_from(folders, trained, known)
    return [*(holder for holder in tables if holder.rows), *features, *made]


def _with_rows(folder: Path, manifest: Manifest, uids: Set[str]) -> Holder:
    columns, rows = _COLUMNS[manifest.kind], list[dict[str, Any]]()
    for path in _tables(folder, manifest):
        try:
            batches = iter_table(path, columns, levels=0 if manifest.kind == "captions" else 1)
            rows += (row for batch in batches for row in batch.to_pylist() if row["uid"] in uids)
        except (OSError, pa.ArrowException, ValueError, KeyError) as err:
            raise DataError(f"{path} cannot be read ({err}). Run the step that makes it again.") from err
    held = tuple(HeldRow.parse(row) for row in rows)
    return Holder(kind=manifest.kind, folder=folder, digest=manifest.digest, rows=held)


def _tables(folder: Path, manifest: Manifest) -> list[Path]:
    if manifest.kind == "captions":
        return [folder / CAPTIONS_NAME]
    return [table_path(folder / SHARDS_DIR, shard_id) for shard_id in files_by_shard(manifest)]


def _in_training(holder: Holder) -> bool:
    return any(row.split == "train" and row.status == "kept" for row in holder.rows)


def _all_made_from(folders: Folders, trained: Mapping[str, bool], known: Set[str]) -> list[Holder]:
    """Give the runs on captions, runs that these were the start of, systems of them, scores of both, comparisons."""
    certain, made = dict[str, bool](), list[Holder]()
    while True:
        inputs = {**trained, **certain}
        made = [holder for kind in _MADE for holder in _made_from(folders, kind, inputs, known)]
        found = {holder.digest: holder.certain for holder in made}
        if found == certain:
            return made
        certain = found


def _made_from(folders: Folders, kind: Kind, inputs: Mapping[str, bool], known: Set[str]) -> Iterator[Holder]:
    """Give the folders of a kind that were made from one of the inputs, or from captions that are gone.

    Args:
        folders: all there are.
        kind: which of them.
        inputs: digests, and whether that input is certain.
        known: digests of all folders.
    """
    for folder, manifest in folders:
        if manifest.kind != kind:
            continue
        found = [inputs[digest] for digest in manifest.key.inputs.values() if digest in inputs]
        lost = kind in ("features", "run") and manifest.key.inputs.get("captions") not in known
        if found or lost:
            yield Holder(kind=kind, folder=folder, digest=manifest.digest, certain=any(found))
