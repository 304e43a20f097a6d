"""Where a score or a picture comes from: back to its run, its captions, its dataset and the source list or pages."""

from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from t2i_core.config import Config
from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.location import dataset_names, input_name, own_key
from t2i_core.data.batches.near import count_shards
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.shards.layout import SHARDS_DIR, table_path
from t2i_core.data.shards.reader import read_rows
from t2i_core.data.shards.stats import read_fetch_times
from t2i_core.data.shards.versions import version_with
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import MANIFEST_NAME, Manifest, finished_folders, read_manifest
from t2i_core.lineage.mark import origin_of_picture

MAX_ANCESTORS = 200


@dataclass(frozen=True, slots=True)
class Ancestor:
    """One finished folder that a score rests on."""

    folder: Path
    manifest: Manifest

    def as_dict(self) -> dict[str, Any]:
        """Give what identifies the folder; paths of this machine are left out."""
        return {
            "kind": self.manifest.kind,
            "digest": self.manifest.digest,
            "step": f"{self.manifest.key.step} v{self.manifest.key.version}",
            "code_version": self.manifest.code_version,
            "inputs": self.manifest.key.inputs,
            "counts": self.manifest.counts,
        }


def trace(folder: Path) -> list[Ancestor]:
    """List a finished folder and all folders it was made from, the nearest first.

    Raises:
        ConfigError: the folder itself is not a finished one.
        DataError: a manifest is damaged.
    """
    return list(_walk(folder, set()))


def _walk(folder: Path, visited: set[str]) -> Iterator[Ancestor]:
    manifest = read_manifest(folder)
    if manifest.digest in visited:
        return
    if len(visited) > MAX_ANCESTORS:
        raise DataError(f"{folder} rests on more than {MAX_ANCESTORS} folders, which no work of t2i does.")
    visited.add(manifest.digest)
    yield Ancestor(folder, manifest)
    for name, source in manifest.sources.items():
        parent = folder / source
        if (parent / MANIFEST_NAME).is_file():
            yield from _walk(version_with(parent.resolve(), manifest.key.inputs.get(name, "")), visited)


def captions_of(run_dir: Path) -> Path:
    """Find the captions folder that a run, or the base of a system, was trained on.

    Raises:
        ConfigError: it is neither, or the base or its captions folder is gone.
        DataError: a manifest is damaged.
    """
    run = read_manifest(run_dir, "run", "system")
    if run.kind == "system":
        return captions_of((run_dir / run.sources.get("base", "")).resolve())
    source = run.sources.get("captions")
    folder = (run_dir / source).resolve() if source else None
    if folder is None or not (folder / MANIFEST_NAME).is_file():
        raise ConfigError(f"the captions that {run_dir} was trained on are gone (looked in {folder}); put them back.")
    return folder


def trace_picture(path: Path, workspace: Path | None = None) -> list[Ancestor]:
    """List the run that drew a picture and all folders it was made from, the nearest first.

    Args:
        path: the picture.
        workspace: where to look for the run; None for the evaluation that holds the picture, and then for the folder
            above the picture's own.

    Raises:
        ConfigError: the file is not a picture that t2i drew, or its run is not found.
        DataError: a manifest is damaged.
    """
    run = origin_of_picture(path)["run"]
    place = path.resolve().parent
    if workspace is None and (place.parent / MANIFEST_NAME).is_file():
        chain = trace(place.parent)
        drawn_by = next((ancestor for ancestor in chain if ancestor.manifest.digest == run), None)
        if drawn_by:
            return [chain[0], *trace(drawn_by.folder)]
    root = workspace or place.parent
    found = next((folder for folder, manifest in finished_folders(root) if manifest.digest == run), None)
    if found is None:
        raise ConfigError(
            f"the run that drew {path} ({run:.12}) is not below {root}; name its folder with --workspace."
        )
    return trace(found)


def outdated(ancestors: Sequence[Ancestor]) -> list[str]:
    """Say which folders of a chain were made from an earlier state of the folder that is there now."""
    digests = {ancestor.folder.resolve(): ancestor.manifest.digest for ancestor in ancestors}
    # What a dataset names as its source is not the digest of a folder.
    made = [ancestor for ancestor in ancestors if ancestor.manifest.kind != "dataset"]
    links = ((a, name, (a.folder / source).resolve()) for a in made for name, source in a.manifest.sources.items())
    return [
        f"{ancestor.folder} was made from an earlier state of {parent}."
        for ancestor, name, parent in links
        if parent in digests and digests[parent] != ancestor.manifest.key.inputs.get(name)
    ]


class TrainingSample(Config):
    """A sample that a chain rests on, and where it came from; a purged one has the hash of its URL.

    Attributes:
        key: its name in the dataset; NAME/KEY where several datasets are joined.
        uid: its identity.
        url: of its picture.
        fetched_at: when the picture came, in UTC such as 2026-01-31T23:59:59Z; "" for local files and purged ones.
    """

    key: str
    uid: str
    url: str
    fetched_at: str


def training_samples(ancestors: Sequence[Ancestor]) -> Iterator[TrainingSample]:
    """Give the training samples of all captions in a chain, or of a chain without captions all kept samples.

    Raises:
        ConfigError: the dataset of the captions is gone.
        DataError: a table is damaged.
    """
    captions = [ancestor for ancestor in ancestors if ancestor.manifest.kind == "captions"]
    for ancestor in captions:
        yield from _of_captions(ancestor)
    for ancestor in ancestors if not captions else ():
        yield from _of_dataset(ancestor)


def _of_captions(captions: Ancestor) -> Iterator[TrainingSample]:
    folders, firsts = zip(*_datasets_of(captions), strict=True)
    trained_on = read_captions(captions.folder, "train", ("key", "shard", "uid"))
    for shard_id, rows in groupby(trained_on, key=itemgetter("shard")):
        place = bisect(firsts, shard_id) - 1
        # A key is one row; a uid may also be that of a rejected copy.
        samples = {sample.key: sample for sample in _of_shard(folders[place], shard_id - firsts[place])}
        for row in rows:
            found = samples.get(own_key(row["key"]))
            if found is None or found.uid != row["uid"]:
                found = TrainingSample(key=row["key"], uid=row["uid"], url="", fetched_at="")
            yield found if found.key == row["key"] else found.with_changes(key=row["key"])


def _datasets_of(captions: Ancestor) -> Iterator[tuple[Path, int]]:
    """Give the folder of each dataset of captions, and the number of its first shard among those of all."""
    first = 0
    for name in dataset_names(captions.manifest):
        lay = (captions.folder / captions.manifest.sources[input_name(name)]).resolve()
        folder = version_with(lay, captions.manifest.key.inputs[input_name(name)])
        yield folder, first
        first += count_shards(read_manifest(folder, "dataset"))


def _of_dataset(dataset: Ancestor) -> Iterator[TrainingSample]:
    for shard_id in files_by_shard(dataset.manifest):
        yield from _of_shard(dataset.folder, shard_id, kept_only=True)


def _of_shard(dataset_dir: Path, shard_id: int, *, kept_only: bool = False) -> Iterator[TrainingSample]:
    rows = read_rows(table_path(dataset_dir / SHARDS_DIR, shard_id), ["key", "uid", "url", "status"])
    times = read_fetch_times(dataset_dir / SHARDS_DIR, shard_id, len(rows))
    for row, fetched_at in zip(rows, times, strict=True):
        if row["status"] == "success" or not kept_only:
            yield TrainingSample(key=row["key"], uid=row["uid"], url=row["url"], fetched_at=_in_utc(fetched_at))


def _in_utc(seconds: int | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
