"""Features on disk: files of tensors that are mapped, not read, and found by the digests of captions.

Captions stand in the order of their digests, over all files, so that one is found by bisection in what is mapped; a
table would have to be read whole. Tokens of all captions of a file lie behind one another, without padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from t2i_core.data.bounded.side_table import key_digest
from t2i_core.encoders.encoder import Features
from t2i_core.errors import DataError
from t2i_core.folders.atomic import other_name
from t2i_core.systems.weights import save_tensors

DIGEST_BYTES = 16
_FLOATS = (torch.float16, torch.float32)


def shard_path(folder: Path, number: int) -> Path:
    """Name the file of a shard."""
    return folder / f"{number:05d}.safetensors"


def write_shard(path: Path, digests: Sequence[bytes], features: Features) -> None:
    """Write a file of features under a temporary name, and rename it.

    Args:
        path: of the file.
        digests: of the captions, ascending.
        features: of them.
    """
    lengths = features.mask.sum(1)
    tensors = {
        "captions": torch.frombuffer(bytearray(b"".join(digests)), dtype=torch.uint8).view(-1, DIGEST_BYTES),
        "ends": lengths.cumsum(0),
        "tokens": features.tokens[features.mask],
        "pooled": features.pooled,
    }
    partial = other_name(path)
    save_tensors(partial, tensors)
    partial.replace(path)


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of features, mapped.

    Attributes:
        captions: (N, 16) uint8, digests of the captions, ascending.
        ends: (N,) int64, where the tokens of each caption end.
        tokens: (T, D) float16 or float32, of all captions behind one another.
        pooled: (N, P), of the same type.
    """

    captions: Tensor
    ends: Tensor
    tokens: Tensor
    pooled: Tensor

    def __post_init__(self) -> None:
        number, ends = len(self.ends), self.ends
        shapes = {"captions": (number, DIGEST_BYTES), "ends": (number,)}
        right = all(getattr(self, name).shape == shape for name, shape in shapes.items())
        right = right and (self.captions.dtype, ends.dtype) == (torch.uint8, torch.int64) and number > 0
        right = right and self.tokens.ndim == self.pooled.ndim == 2 and len(self.pooled) == number
        right = right and self.tokens.dtype in _FLOATS and self.pooled.dtype == self.tokens.dtype
        if not right or ends[0] < 1 or ends[-1] != len(self.tokens) or bool((ends.diff() < 1).any()):
            raise ValueError("its tensors do not fit together")

    @classmethod
    def open(cls, path: Path) -> "Shard":
        """Map a file.

        Raises:
            DataError: it is damaged.
        """
        try:
            return cls(**load_file(path))
        except (SafetensorError, OSError, ValueError, TypeError, IndexError) as err:
            raise DataError(f"{path} is damaged ({err!s:.200}). Delete it and run the features step again.") from err

    @property
    def digests(self) -> NDArray[Any]:
        """The digests as (N,) strings of bytes, still mapped."""
        return self.captions.numpy().view(f"S{DIGEST_BYTES}")[:, 0]

    def tokens_of(self, number: int) -> Tensor:
        """Give the tokens (L, D) of a caption."""
        return self.tokens[int(self.ends[number - 1]) if number else 0 : int(self.ends[number])]


class StoredFeatures:
    """The features of a folder.

    Args:
        folder: a finished features folder.
        num_shards: that it has.

    Attributes:
        width: of a token.
        pooled_width: of a pooled vector.

    Raises:
        DataError: a file is damaged.
    """

    def __init__(self, folder: Path, num_shards: int) -> None:
        self.folder = folder
        self._shards = [Shard.open(shard_path(folder, number)) for number in range(num_shards)]
        self._ends = np.cumsum([len(shard.ends) for shard in self._shards])
        self._firsts = np.array([shard.digests[0] for shard in self._shards], f"S{DIGEST_BYTES}")
        self.width, self.pooled_width = self._shards[0].tokens.shape[1], self._shards[0].pooled.shape[1]

    def find(self, captions: Sequence[str]) -> Tensor:
        """Give the numbers (B,) int64 of captions.

        Raises:
            DataError: there are no features of one.
        """
        numbers = self.look_up(captions)
        if lacking := (numbers < 0).nonzero().flatten().tolist():
            caption = captions[lacking[0]]
            raise DataError(f"{self.folder} has no features of {caption!r:.100}. Run the features step again.")
        return numbers

    def look_up(self, captions: Sequence[str]) -> Tensor:
        """Give the numbers (B,) int64 of captions, -1 for those that there are no features of."""
        wanted = np.array([key_digest(caption) for caption in captions], f"S{DIGEST_BYTES}")
        shards = np.maximum(np.searchsorted(self._firsts, wanted, "right") - 1, 0)
        numbers = np.empty(len(wanted), np.int64)
        for number in np.unique(shards):
            here, digests = shards == number, self._shards[number].digests
            found = np.minimum(np.searchsorted(digests, wanted[here]), len(digests) - 1)
            places = found + self._ends[number] - len(digests)
            numbers[here] = np.where(digests[found] == wanted[here], places, -1)
        return torch.from_numpy(numbers)

    def tokens(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Read the tokens of captions.

        Args:
            numbers: (B,) int64, as `find` gives them.

        Returns:
            (B, L, D) float16 or float32, L that of the longest; and (B, L) bool, True = real token.
        """
        rows = [shard.tokens_of(number) for shard, number in map(self._place, numbers.tolist())]
        lengths = torch.tensor([len(row) for row in rows])
        return pad_sequence(rows, batch_first=True), torch.arange(int(lengths.max())) < lengths[:, None]

    def pooled(self, numbers: Tensor) -> Tensor:
        """Read the vectors (B, P) of whole captions by their numbers (B,) int64."""
        return torch.stack([shard.pooled[number] for shard, number in map(self._place, numbers.tolist())])

    def _place(self, number: int) -> tuple[Shard, int]:
        shard = int(np.searchsorted(self._ends, number, "right"))
        return self._shards[shard], number - int(self._ends[shard]) + len(self._shards[shard].ends)
