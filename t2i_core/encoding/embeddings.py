"""The embeddings of a CLIP on disk: of every picture by its sample, beside those of captions, and what they are like.

The pictures of a file lie in the order of the captions folder. They are found by the digests of their keys, which are
all that is in memory.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from t2i_core.data.batches.captions import read_captions
from t2i_core.data.batches.feed import Feed
from t2i_core.data.batches.read import Rows
from t2i_core.data.bounded.side_table import key_digest
from t2i_core.encoding.store import DIGEST_BYTES, StoredFeatures
from t2i_core.errors import DataError
from t2i_core.folders.atomic import other_name
from t2i_core.folders.manifest import Manifest
from t2i_core.models.embedding import Statistics
from t2i_core.systems.weights import save_tensors

STATISTICS_NAME = "statistics.safetensors"
NUM_QUANTILES = 1025
# Samples that are looked at together.
PART = 4096
_AGAIN = "Delete it and run the features step again."


def pictures_path(folder: Path, number: int) -> Path:
    """Name a file of embeddings of pictures."""
    return folder / f"pictures_{number:05d}.safetensors"


def write_pictures(path: Path, keys: Sequence[str], embeddings: Tensor) -> None:
    """Write embeddings (N, D) of the pictures of some samples under a temporary name, and rename the file."""
    digests = torch.frombuffer(bytearray(b"".join(map(key_digest, keys))), dtype=torch.uint8).view(-1, DIGEST_BYTES)
    partial = other_name(path)
    save_tensors(partial, {"samples": digests, "embeddings": embeddings})
    partial.replace(path)


def read_pictures(path: Path) -> tuple[Tensor, Tensor]:
    """Map a file: digests of samples (N, 16) uint8, and embeddings (N, D).

    Raises:
        DataError: it is damaged.
    """
    try:
        tensors = load_file(path)
        samples, embeddings = tensors["samples"], tensors["embeddings"]
        if samples.shape != (len(embeddings), DIGEST_BYTES) or samples.dtype != torch.uint8 or embeddings.ndim != 2:
            raise ValueError("its tensors do not fit together")
    except (SafetensorError, OSError, ValueError, KeyError) as err:
        raise DataError(f"{path} is damaged ({err!s:.200}). {_AGAIN}") from err
    return samples, embeddings


class StoredPictures:
    """The embeddings of the pictures in a folder.

    Args:
        folder: a features folder with embeddings of pictures.
        num_files: that it has of them.

    Raises:
        DataError: a file is damaged.
    """

    def __init__(self, folder: Path, num_files: int) -> None:
        self.folder = folder
        files = [read_pictures(pictures_path(folder, number)) for number in range(num_files)]
        self._embeddings = [embeddings for _, embeddings in files]
        self._ends = np.cumsum([len(embeddings) for embeddings in self._embeddings])
        digests = np.concatenate([samples.numpy().view(f"S{DIGEST_BYTES}")[:, 0] for samples, _ in files])
        self._order = np.argsort(digests)
        self._digests = digests[self._order]
        self.width = self._embeddings[0].shape[1]

    def of(self, keys: Sequence[str]) -> Tensor:
        """Give the embeddings (B, D) float32 of the pictures of samples.

        Raises:
            DataError: there is none of one.
        """
        wanted = np.array([key_digest(key) for key in keys], self._digests.dtype)
        places = np.minimum(np.searchsorted(self._digests, wanted), len(self._digests) - 1)
        if lacking := np.flatnonzero(self._digests[places] != wanted).tolist():
            raise DataError(f"{self.folder} has no embedding of picture {keys[lacking[0]]!r:.100}. {_AGAIN}")
        return torch.stack([self._at(number) for number in self._order[places].tolist()]).float()

    def _at(self, number: int) -> Tensor:
        file = int(np.searchsorted(self._ends, number, "right"))
        return self._embeddings[file][number - int(self._ends[file]) + len(self._embeddings[file])]


class StoredEmbeddings:
    """The embeddings of pictures and captions in a folder.

    Args:
        folder: a finished features folder.
        manifest: of it.

    Attributes:
        width: of an embedding.
        statistics: of those of the training pictures.

    Raises:
        DataError: a file is damaged.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self.pictures = StoredPictures(folder, manifest.counts["picture_shards"])
        self._captions = StoredFeatures(folder, manifest.counts["shards"])
        self.width, self.statistics = self.pictures.width, read_statistics(folder)

    def captions(self, captions: Sequence[str]) -> Tensor:
        """Give the embeddings (B, D) float32 of captions.

        Raises:
            DataError: there is none of one.
        """
        return self._captions.pooled(self._captions.find(captions)).float()

    def with_rows(self, rows: Rows) -> Rows:
        """Give samples with the embeddings of their pictures and captions."""
        return replace(
            rows, picture_embeddings=self.pictures.of(rows.keys), caption_embeddings=self.captions(rows.captions)
        )


class EmbeddedFeed:
    """A feed whose samples come with their embeddings, read from what is mapped, batch by batch."""

    def __init__(self, feed: Feed, stored: StoredEmbeddings) -> None:
        self._feed, self._stored = feed, stored

    def take(self, position: int, size: int) -> Rows:
        """See `Feed.take`."""
        return self._stored.with_rows(self._feed.take(position, size))

    def close(self) -> None:
        """See `Feed.close`."""
        self._feed.close()


def write_statistics(folder: Path, captions_dir: Path, pictures: StoredPictures, captions: StoredFeatures) -> None:
    """Measure the embeddings of the training split, as they are stored, and write what was found."""
    sums = _Sums(pictures.width)
    for keys, texts in _training_samples(captions_dir):
        sums.add(pictures.of(keys).double(), captions.pooled(captions.find(texts)).double())
    partial = other_name(folder / STATISTICS_NAME)
    save_tensors(partial, asdict(sums.statistics()))
    partial.replace(folder / STATISTICS_NAME)


def read_statistics(folder: Path) -> Statistics:
    """Read what was measured of the embeddings of a folder.

    Raises:
        DataError: the file is damaged.
    """
    path = folder / STATISTICS_NAME
    try:
        return Statistics(**load_file(path))
    except (SafetensorError, OSError, TypeError) as err:
        raise DataError(f"{path} is damaged ({err!s:.200}). {_AGAIN}") from err


def _training_samples(captions_dir: Path) -> Iterator[tuple[list[str], list[str]]]:
    """Give the keys and captions of some training samples after others."""
    keys: list[str] = []
    captions: list[str] = []
    for row in read_captions(captions_dir, "train", ("key", "caption")):
        keys.append(row["key"])
        captions.append(row["caption"])
        if len(keys) == PART:
            yield keys, captions
            keys, captions = [], []
    if keys:
        yield keys, captions


class _Sums:
    """Moments of embeddings, added up in float64, and the products of pairs."""

    def __init__(self, width: int) -> None:
        self._number = 0
        self._image, self._text = torch.zeros(width).double(), torch.zeros(width).double()
        self._outer, self._square = torch.zeros(width, width).double(), torch.zeros(width).double()
        self._products: list[Tensor] = []

    def add(self, image: Tensor, text: Tensor) -> None:
        """Add pairs, (B, D) float64 each."""
        self._number += len(image)
        self._image += image.sum(0)
        self._outer += image.T @ image
        self._text += text.sum(0)
        self._square += text.square().sum(0)
        self._products.append((image * text).sum(1).float())

    def statistics(self) -> Statistics:
        """Give what was found, in float32."""
        image, text = self._image / self._number, self._text / self._number
        covariance = self._outer / self._number - torch.outer(image, image)
        variance = self._square / self._number - text.square()
        # `quantile` takes no more than 16 million numbers.
        products = np.quantile(torch.cat(self._products).numpy(), np.linspace(0, 1, NUM_QUANTILES))
        return Statistics(
            image_mean=image.float(),
            image_covariance=covariance.float(),
            text_mean=text.float(),
            text_std=variance.clamp(min=0).sqrt().float(),
            products=torch.from_numpy(products).float(),
        )
