"""Shards to batches: deterministic, seeded, resumable at any sample, decoded once and kept in memory when they fit.

Sample number i of a run, counted over all epochs, is a pure function of (seed, i): a resumed run needs no loader state.
"""

import io
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from t2i_core.data.batches.captions import SplitName, read_captions
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.data.shards.layout import shard_name
from t2i_core.data.shards.reader import MAX_MEMBER_BYTES, check_shard
from t2i_core.data.shards.tar_reader import TarError, iter_members
from t2i_core.door import open_file
from t2i_core.errors import ConfigError, DataError, ShardError
from t2i_core.machine import memory_bytes
from t2i_core.manifest import Manifest, read_manifest

Pixels = NDArray[np.uint8]
COLUMNS = ("key", "shard", "uid", "caption", "attributes")
PICTURE_SUFFIXES = (".jpg", ".png", ".webp")
# Share of the machine's memory that decoded pictures may take before they are decoded anew for each batch.
MAX_MEMORY_SHARE = 0.4
MAX_PICTURE_SIDE = 4096


@dataclass(frozen=True, slots=True)
class Place:
    """Where an encoded picture lies."""

    tar_path: Path
    offset: int
    size: int

    def decode(self) -> Pixels:
        """Read and decode the picture: (H, W, 3) uint8.

        Raises:
            DataError: it cannot be read, or is larger than any that is trained on.
        """
        with open_file(self.tar_path, levels=1) as file:
            file.seek(self.offset)
            body = file.read(self.size)
        try:
            with Image.open(io.BytesIO(body), formats=("JPEG", "PNG", "WEBP")) as picture:
                if max(picture.size) > MAX_PICTURE_SIDE:
                    raise ValueError(f"it has {picture.width} x {picture.height} pixels")
                return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as err:
            raise DataError(f"{self.tar_path}: the picture at byte {self.offset:,} cannot be used: {err}.") from err


class Split:
    """The kept samples of one split, in the order of the table.

    Attributes:
        captions: cleaned captions.
        token_ids: (N, L) int64.
        token_mask: (N, L) bool, True = real token.
        keys: sample keys.
        uids: stable identities of the samples.
        attributes: what the source said about each picture, parsed.
    """

    def __init__(self, rows: Sequence[dict[str, Any]], places: Sequence[Place], tokenizer: Tokenizer) -> None:
        self.captions: list[str] = [row["caption"] for row in rows]
        self.keys: list[str] = [row["key"] for row in rows]
        self.uids: list[str] = [row["uid"] for row in rows]
        self.attributes = [parse_attributes(row["attributes"]) for row in rows]
        self.token_ids, self.token_mask = tokenizer.encode(self.captions)
        self._places = places
        self.image_size = _side(places[0]) if places else 0
        size = len(places) * self.image_size**2 * 3
        self._cache = self._decode(range(len(places))) if size <= MAX_MEMORY_SHARE * memory_bytes() else None

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def images(self) -> Pixels:
        """All pictures: (N, H, W, 3) uint8."""
        return self._cache if self._cache is not None else self._decode(range(len(self)))

    def pictures(self, indices: Sequence[int]) -> Pixels:
        """Give some pictures: (B, H, W, 3) uint8."""
        return self._cache[list(indices)] if self._cache is not None else self._decode(indices)

    def _decode(self, indices: Sequence[int]) -> Pixels:
        side = self.image_size
        out = np.empty((len(indices), side, side, 3), np.uint8)
        for row, index in enumerate(indices):
            picture = self._places[index].decode()
            if picture.shape != (side, side, 3):
                raise ConfigError(
                    f"picture {self.keys[index]} is {picture.shape[1]}x{picture.shape[0]}, others {side}x{side}: "
                    "training needs squares of one size. Ingest with --resize-mode center_crop or border."
                )
            out[row] = picture
        return out


def load_tokenizer(captions_dir: Path) -> Tokenizer:
    """Load the tokenizer of a finished captions folder."""
    read_manifest(captions_dir, "captions")
    return Tokenizer.load(captions_dir / "tokenizer.json")


def load_split(captions_dir: Path, split: SplitName, *, limit: int | None = None) -> Split:
    """Load one split of a captioned dataset.

    Args:
        captions_dir: a finished captions folder; it knows where its dataset lies.
        split: train, validation or test.
        limit: at most this many samples, the first of the table.

    Raises:
        ConfigError: the folder is not a finished captions folder, its dataset has changed, or the split is empty.
        ShardError: a shard is damaged; names it with the number of samples lost.
    """
    dataset_dir, dataset = _dataset(captions_dir)
    rows = list(islice(read_captions(captions_dir, split, COLUMNS), limit))
    if not rows:
        raise ConfigError(f"{captions_dir} has no samples in its {split} split; ingest more pictures or filter less.")
    places: dict[str, Place] = {}
    for shard in sorted({row["shard"] for row in rows}):
        check_shard(dataset_dir, dataset, shard)
        places.update(_index_shard(dataset_dir / "shards" / f"{shard_name(shard)}.tar"))
    missing = [row["key"] for row in rows if row["key"] not in places]
    if missing:
        raise DataError(f"{dataset_dir}: {len(missing)} captioned samples have no picture, the first is {missing[0]}.")
    return Split(rows, [places[row["key"]] for row in rows], load_tokenizer(captions_dir))


def parse_attributes(text: str) -> dict[str, Any]:
    """Parse the attributes column; anything but a JSON object counts as none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def _dataset(captions_dir: Path) -> tuple[Path, Manifest]:
    manifest = read_manifest(captions_dir, "captions")
    if not manifest.sources.get("dataset") or "dataset" not in manifest.key.inputs:
        raise DataError(f"{captions_dir} does not say which dataset it was made from. Run the caption step again.")
    dataset_dir = (captions_dir / manifest.sources["dataset"]).resolve()
    dataset = read_manifest(dataset_dir, "dataset")
    if dataset.digest != manifest.key.inputs["dataset"]:
        raise ConfigError(
            f"{dataset_dir} has changed since {captions_dir} was made from it. Run the caption step again."
        )
    return dataset_dir, dataset


def _index_shard(tar_path: Path) -> Iterator[tuple[str, Place]]:
    try:
        with open_file(tar_path, levels=1) as tar:
            for member in iter_members(tar):
                key, suffix = os.path.splitext(member.name)  # noqa: PTH122 - a member's name is not a path here
                if suffix in PICTURE_SUFFIXES and member.is_file and member.size <= MAX_MEMBER_BYTES:
                    yield key, Place(tar_path, member.offset, member.size)
    except (TarError, OSError) as err:
        raise ShardError(f"shard {tar_path} is damaged: {err}.", path=str(tar_path), num_lost=0) from err


def _side(place: Place) -> int:
    return len(place.decode())
