"""Several datasets as one: what they are called, how shards are counted, which samples are copies."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from t2i_core.captioning.copies import Copies
from t2i_core.captioning.samples import Sample, read_samples
from t2i_core.data.batches.location import joined_key
from t2i_core.data.batches.near import count_shards
from t2i_core.data.dataset.duplicates import Duplicate, mark_duplicates, read_duplicates
from t2i_core.data.dataset.folder import files_by_shard
from t2i_core.data.mark import DuplicateKind
from t2i_core.data.shards.layout import SHARDS_DIR, sample_key, sample_place, table_path
from t2i_core.data.shards.versions import named_version
from t2i_core.errors import ConfigError, DataError
from t2i_core.folders.manifest import Manifest, read_manifest
from t2i_core.naming import name_and_folder, named_folders


def named_datasets(dataset_dir: Path, joined_with: Sequence[str]) -> dict[str, Path]:
    """Give the folders by the names of their datasets, in the order of these; the only one has the name "".

    Args:
        dataset_dir: one, which may be written NAME=FOLDER, and FOLDER@2 for its second version.
        joined_with: others, likewise; without a name one is called as its folder is.

    Raises:
        ConfigError: two have the same name, or one has none that can be used.
    """
    if not joined_with:
        return {"": named_version(name_and_folder(str(dataset_dir))[1])}
    found = named_folders([str(dataset_dir), *joined_with], "datasets")
    return {name: named_version(folder) for name, folder in sorted(found.items())}


@dataclass(frozen=True, slots=True)
class Part:
    """One of the datasets that are captioned together.

    Attributes:
        name: of the dataset; "" for the only one.
        folder: of it.
        manifest: likewise.
        first: the number of its first shard among those of all.
    """

    name: str
    folder: Path
    manifest: Manifest
    first: int

    def samples(self) -> Iterator[Sample]:
        """Read the samples that have a picture, as those of all datasets are named and counted."""
        for sample in read_samples(self.folder, self.manifest):
            key = joined_key(self.name, sample.key)
            yield replace(sample, key=key, shard=self.first + sample.shard) if self.name else sample

    @property
    def samples_per_shard(self) -> int:
        """Sources that a shard was made from, at most.

        Raises:
            DataError: the manifest does not say it.
        """
        number = self.manifest.key.config.get("samples_per_shard")
        if not isinstance(number, int) or number < 1 or [*files_by_shard(self.manifest)] != [*range(self.num_shards)]:
            raise DataError(f"{self.folder} was not made by ingest: it cannot be joined with other datasets.")
        return number

    @property
    def num_shards(self) -> int:
        """How many shards it has."""
        return count_shards(self.manifest)

    def key_of(self, shard: int, index: int) -> str:
        """Give the key of a sample by its shard, counted through all datasets, and its number in it."""
        return joined_key(self.name, sample_key(shard - self.first, index, self.samples_per_shard))


def open_parts(datasets: dict[str, Path]) -> list[Part]:
    """Read the manifests of datasets.

    Raises:
        ConfigError: one is not finished, or two are the same.
        DataError: a manifest is damaged.
    """
    parts = list[Part]()
    for name, folder in datasets.items():
        manifest = read_manifest(folder, "dataset")
        if same := [part.folder for part in parts if part.manifest.digest == manifest.digest]:
            raise ConfigError(f"{same[0]} and {folder} are the same dataset: leave one out.")
        parts.append(Part(name, folder, manifest, parts[-1].first + parts[-1].num_shards if parts else 0))
    return parts


def read_marks(parts: Sequence[Part]) -> Iterator[Duplicate]:
    """Give the marks of all samples: those of the only dataset, or those that all of several together have.

    Raises:
        DataError: a table is damaged, or several datasets were not all made by ingest.
    """
    if len(parts) == 1:
        yield from read_duplicates(parts[0].folder)
        return
    shards = [(part, shard) for part in parts for shard in range(part.num_shards)]
    tables = dict(enumerate(table_path(part.folder / SHARDS_DIR, shard) for part, shard in shards))
    samples_per_shard = max(part.samples_per_shard for part in parts)

    def joint(key: str) -> str:
        shard, index = sample_place(key, samples_per_shard)
        return shards[shard][0].key_of(shard, index)

    with tempfile.TemporaryDirectory() as folder:
        mark_duplicates(Path(folder), tables, samples_per_shard)
        for mark in read_duplicates(Path(folder)):
            yield Duplicate(joint(mark.key), mark.kind, joint(mark.of_key))


def with_joint_groups(samples: Sequence[Sample], marks: Sequence[Duplicate]) -> list[Sample]:
    """Put into one group what several datasets have of the same picture, and the groups that it is in.

    Args:
        samples: of all datasets.
        marks: likewise.
    """
    copies = Copies(marks, {DuplicateKind.EXACT, DuplicateKind.PLACEHOLDER})
    above, by_picture = dict[str, str](), dict[str, str]()

    def top(group: str) -> str:
        while (higher := above.get(group, group)) != group:
            above[group] = group = above.get(higher, higher)
        return group

    for sample in samples:
        one, other = sorted((top(by_picture.setdefault(copies.first_of(sample.key), sample.group)), top(sample.group)))
        if one != other:
            above[other] = one
    return [replace(sample, group=top(sample.group)) for sample in samples]
