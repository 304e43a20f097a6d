"""What a feed gives: some samples, column by column."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Rows:
    """Some samples, in the order of their positions.

    Attributes:
        pixels: (B, H, W, 3) uint8.
        captions: cleaned captions.
        token_ids: (B, L) int64.
        token_mask: (B, L) bool, True = real token.
        keys: of the samples in their dataset.
        uids: stable identities.
        original: (B, 2) int64, height and width of the picture as it was found; 0 where that is not known.
    """

    pixels: Tensor
    captions: list[str]
    token_ids: Tensor
    token_mask: Tensor
    keys: list[str]
    uids: list[str]
    original: Tensor

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, numbers: NDArray[np.int64]) -> "Rows":
        """Choose some of them, by their numbers."""
        rows = torch.from_numpy(numbers)
        return self._each(lambda v: v[rows] if isinstance(v, Tensor) else [v[i] for i in numbers.tolist()])

    def pin_memory(self) -> "Rows":
        """Copy tensors to where a graphics card fetches them faster."""
        return self._each(lambda v: v.pin_memory() if isinstance(v, Tensor) else v)

    def _each(self, change: Callable[[Any], Any]) -> "Rows":
        return Rows(**{field.name: change(getattr(self, field.name)) for field in fields(self)})


def joined(parts: Sequence[Rows]) -> Rows:
    """Put samples behind one another."""
    whole: dict[str, Any] = {}
    for field in fields(Rows):
        column = [getattr(part, field.name) for part in parts]
        whole[field.name] = torch.cat(column) if isinstance(column[0], Tensor) else list(chain.from_iterable(column))
    return Rows(**whole)
