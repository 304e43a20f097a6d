"""Shards brought near: those of a folder are read where they lie, those of a store are fetched whole, once each.

A store is whatever fsspec reaches. Nothing of it is believed but what the manifest says, and that only if it is the one
that the captions were made from: names and sizes are known before a byte is fetched, and sha256 is compared after.
webdataset expands its ranges of names; its reader of tars, which takes whatever members they have, is not used.
"""

import hashlib
import re
from bisect import bisect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from t2i_core.data.batches.location import by_dataset, dataset_names, divided, input_name
from t2i_core.data.shards.layout import SHARDS_DIR, shard_name
from t2i_core.data.shards.reader import check_shard
from t2i_core.data.shards.versions import named_version, version_with
from t2i_core.data.tables.list_files import is_remote, source_errors
from t2i_core.door import create_file
from t2i_core.errors import ConfigError, DataError, ShardError
from t2i_core.folders.atomic import other_name
from t2i_core.folders.layout import MAX_MANIFEST_BYTES
from t2i_core.folders.manifest import MANIFEST_NAME, Manifest, OutputFile, read_manifest

_CHUNK_BYTES, _AHEAD_BYTES = 1 << 20, 8 << 20
_SHARD = re.compile(rf"{SHARDS_DIR}/([0-9]{{5,18}})\.(?:tar|parquet)")
_TAR_NAME = re.compile(r"([0-9]{5,18})\.tar")


@dataclass(frozen=True, slots=True)
class LocalShards:
    """Shards in a dataset's folder, read where they lie.

    Attributes:
        folder: the dataset.
        manifest: of it.
        first: number of its first shard.
        numbers: which of them; None for all.
    """

    folder: Path
    manifest: Manifest
    first: int
    numbers: frozenset[int] | None

    def stem(self, shard: int) -> Path:
        """Say where a shard lies."""
        return self.folder / SHARDS_DIR / shard_name(shard - self.first)

    def bring(self, shard: int) -> None:
        """Check a shard."""
        check_shard(self.folder, self.manifest, shard - self.first)


@dataclass(frozen=True, slots=True)
class RemoteShards:
    """Shards in a store.

    Attributes:
        url: of the dataset's folder.
        manifest: of it.
        cache: folder of this machine for what is fetched.
        first: number of its first shard.
        numbers: which of them; None for all.
    """

    url: str
    manifest: Manifest
    cache: Path
    first: int
    numbers: frozenset[int] | None

    def stem(self, shard: int) -> Path:
        """Say where a shard lies once it was fetched."""
        return self.cache / shard_name(shard)

    def bring(self, shard: int) -> None:
        """Fetch a shard."""
        stem = self.stem(shard)
        for ending in (".parquet", ".tar"):
            name = f"{SHARDS_DIR}/{shard_name(shard - self.first)}{ending}"
            file = self.manifest.files_by_path.get(name)
            if file is None:
                raise ShardError(f"{self.url} has no {name}.", path=name, num_lost=0)
            if not stem.with_suffix(ending).exists():
                self._fetch(file, stem.with_suffix(ending))

    def _fetch(self, file: OutputFile, path: Path) -> None:
        url, partial = f"{self.url}/{file.path}", other_name(path)
        digest, left = hashlib.sha256(), file.size
        with source_errors(self.url), _open_remote(url) as source, create_file(partial) as target:
            while left and (part := source.read(min(left, _CHUNK_BYTES))):
                digest.update(part)
                target.write(part)
                left -= len(part)
        if digest.hexdigest() != file.sha256:
            partial.unlink()
            raise ShardError(f"{url} is not what was written. Copy the dataset there again.", path=url, num_lost=0)
        partial.replace(path)


@dataclass(frozen=True, slots=True)
class Shards:
    """Shards of one dataset or of several, counted through all of them.

    Attributes:
        parts: of each dataset by its name, in the order of their numbers; the only one has the name "".
    """

    parts: dict[str, LocalShards | RemoteShards]

    def dataset_of(self, shard: int) -> str:
        """Give the name of the dataset that a shard is of."""
        return list(self.parts)[bisect([part.first for part in self.parts.values()], shard) - 1]

    def has(self, shard: int) -> bool:
        """Tell whether a shard is to be read."""
        numbers = self._of(shard).numbers
        return numbers is None or shard in numbers

    def stem(self, shard: int) -> Path:
        """Say where a shard's tar and table lie on this machine once it was brought, without ending."""
        return self._of(shard).stem(shard)

    def bring(self, shard: int) -> None:
        """Bring a shard to this machine, and check it.

        Raises:
            ShardError: one of its files is not what was written.
            TransientError: a store does not answer.
        """
        self._of(shard).bring(shard)

    def _of(self, shard: int) -> LocalShards | RemoteShards:
        return self.parts[self.dataset_of(shard)]


def open_shards(captions_dir: Path, locations: Sequence[str] = (), cache: Path = Path()) -> Shards:
    """Find the shards of the datasets that captions were made from.

    Args:
        captions_dir: a finished captions folder.
        locations: where a dataset lies if not where it lay when the captions were made: a folder, or a URL of a store,
            or a pattern of its tars such as `s3://bucket/dataset/shards/{00000..00099}.tar`; of several datasets one
            each, `NAME=s3://bucket/dataset`.
        cache: an empty folder for what is fetched, needed only for a store.

    Raises:
        ConfigError: one is no dataset, or another one, or the captions folder is none.
        TransientError: a store does not answer.
    """
    captions = read_manifest(captions_dir, "captions")
    names = dataset_names(captions)
    given, parts, first = by_dataset(locations, names), dict[str, LocalShards | RemoteShards](), 0
    for name in names:
        lay = str((captions_dir / captions.sources[input_name(name)]).resolve())
        root, pattern = divided(given.get(name, lay))
        wanted = captions.key.inputs[input_name(name)]
        if not is_remote(root):
            # A dataset that was refreshed since holds the version that the captions were made from.
            root = str(version_with(named_version(Path(root)), wanted))
        manifest = _remote_manifest(root) if is_remote(root) else read_manifest(Path(root), "dataset")
        if manifest.digest != wanted:
            raise ConfigError(f"{root} has changed since {captions_dir} was made from it. Run the caption step again.")
        parts[name] = _part(root, pattern, manifest, cache, first)
        first += count_shards(manifest)
    return Shards(parts)


def _part(root: str, pattern: str, manifest: Manifest, cache: Path, first: int) -> LocalShards | RemoteShards:
    numbers = _numbers(manifest, pattern, first) if pattern else None
    if numbers is not None and not numbers:
        raise ConfigError(f"{pattern} names none of the shards of {root}.")
    if is_remote(root):
        return RemoteShards(root, manifest, cache, first, numbers)
    return LocalShards(Path(root), manifest, first, numbers)


def count_shards(manifest: Manifest) -> int:
    """Say how many shards a dataset has, which are numbered from 0 on."""
    return 1 + max((int(found[1]) for file in manifest.files if (found := _SHARD.fullmatch(file.path))), default=-1)


def _tars(manifest: Manifest) -> dict[str, int]:
    """Give the numbers of a dataset's shards by the names of their tars."""
    names = (PurePosixPath(file.path).name for file in manifest.files)
    return {name: int(found[1]) for name in names if (found := _TAR_NAME.fullmatch(name))}


def _numbers(manifest: Manifest, pattern: str, first: int) -> frozenset[int]:
    """Give the shards whose tars a pattern names: what shells and fsspec know, and webdataset's ranges."""
    from webdataset.shardlists import expand_urls

    patterns: Sequence[str] = expand_urls(pattern)
    return frozenset(
        first + number
        for tar, number in _tars(manifest).items()
        if any(PurePosixPath(tar).match(each) for each in patterns)
    )


def _remote_manifest(url: str) -> Manifest:
    with source_errors(url), _open_remote(f"{url}/{MANIFEST_NAME}") as file:
        text = file.read(MAX_MANIFEST_BYTES + 1)
        if len(text) > MAX_MANIFEST_BYTES:
            raise DataError(f"{url}/{MANIFEST_NAME} is larger than a manifest can be.")
        manifest = Manifest.model_validate_json(text)
    if manifest.kind != "dataset":
        raise ConfigError(f"{url} holds a {manifest.kind}, not a dataset.")
    return manifest


def _open_remote(url: str) -> BinaryIO:
    """Open a file of a store for reading from its start to its end."""
    from fsspec.core import url_to_fs

    # A store that was opened before a fork does not work after it, so each process opens its own; fsspec keeps it.
    store, path = url_to_fs(url)
    opened: Any = store.open(path, "rb", block_size=_AHEAD_BYTES)
    file: BinaryIO = opened
    return file
