"""The samples of a dataset as captioning reads them, from its parquet sidecars."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path

import pyarrow as pa

from t2i_core.data.batches.captions import SPLITS, SplitName
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.tables.table import read_table
from t2i_core.data.text import clean_text
from t2i_core.errors import DataError
from t2i_core.folders.hits import missing_outputs
from t2i_core.folders.manifest import Manifest

COLUMNS = ("key", "uid", "caption", "attributes", "status")
# Of the stored picture, and where it was found; tables of other programs may lack them.
SIDES = ("width", "height")
URL = "url"
_SPLITS: dict[str, SplitName] = {name: name for name in SPLITS}


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of the dataset that has a picture.

    Attributes:
        caption: as it was found, "" when there was none.
        attributes: a JSON object.
        group: what the split must not divide.
        split: where the source puts it, None where it does not say.
        width: of the stored picture, pixels; 0 where it is not known.
        height: likewise.
        url: where it was found, or its path in a folder; "" where it is not known.
    """

    key: str
    shard: int
    uid: str
    caption: str
    attributes: str
    group: str
    width: int = 0
    height: int = 0
    split: SplitName | None = None
    url: str = ""


def read_samples(dataset_dir: Path, manifest: Manifest) -> list[Sample]:
    """Read every sample that has a picture, in the order of shards and keys.

    Raises:
        DataError: a sidecar is missing, damaged, or lacks a column.
    """
    sidecars = {files[".parquet"].path for files in files_by_shard(manifest).values()}
    gone = sidecars.intersection(missing_outputs(dataset_dir, manifest))
    if gone:
        raise DataError(
            f"{dataset_dir} is damaged: {sorted(gone)[0]} is missing or has another size ({len(gone)} such files). "
            f"Run the ingest again: it makes only what is missing."
        )
    return [sample for path in sorted(sidecars) for sample in _read_sidecar(dataset_dir / path)]


def _read_sidecar(path: Path) -> Iterator[Sample]:
    try:
        shard, table = int(path.stem), read_table(path, (*COLUMNS, *SIDES, URL))
        lacking = [name for name in COLUMNS if name not in table.schema.names]
        if lacking:
            raise ValueError(f"no column {', '.join(lacking)}")
        columns = table.to_pydict()
    except (pa.ArrowException, OSError, ValueError) as err:
        raise DataError(f"{path} cannot be read ({err}). Delete it and run the ingest again.") from err
    unknown = [None] * table.num_rows
    cells = [columns[name] for name in COLUMNS] + [columns.get(name, unknown) for name in (*SIDES, URL)]
    rows = sorted(zip(*cells, strict=True), key=itemgetter(0))
    for key, uid, caption, attributes, status, width, height, url in rows:
        if status == "success":
            name, attributes = uid or key, attributes or "{}"
            told = _told(attributes)
            group = clean_text(told.get("group", "")) or name
            split = _SPLITS.get(told.get("split", ""))
            sides = width or 0, height or 0
            yield Sample(key, shard, name, caption or "", attributes, group, *sides, split, url or "")


def _told(attributes: str) -> dict[str, str]:
    """Give what the source says in words about a sample."""
    try:
        found = json.loads(attributes)
    except (ValueError, RecursionError):
        return {}
    return {key: value for key, value in found.items() if isinstance(value, str)} if isinstance(found, dict) else {}
