"""Positions to pixels and token ids: what each process of a feed does."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from t2i_core.data.batches.decode import decode
from t2i_core.data.batches.indexed import Sample
from t2i_core.data.batches.library import Library
from t2i_core.data.batches.order import Order
from t2i_core.data.batches.rows import Rows
from t2i_core.errors import ConfigError, T2IError

Encode = Callable[[Sequence[str]], tuple[Any, Any]]
"""Makes of B captions token ids (B, L) int64, and a mask (B, L) bool, True = real token."""


class Reader(Dataset[Rows | T2IError]):
    """Reads and decodes batches; each worker has one.

    Args:
        library: of the shards.
        order: of the samples.
        image_size: side of the pictures, in pixels.
        encode: makes token ids of captions.
    """

    def __init__(self, library: Library, order: Order, image_size: int, encode: Encode) -> None:
        self.library, self.order, self.image_size, self._encode = library, order, image_size, encode

    def __getitem__(self, wanted: tuple[int, int]) -> Rows | T2IError:
        """Read a batch by its first position and its size; an error is a value, so that it crosses processes whole."""
        try:
            return self.read(*wanted)
        except T2IError as err:
            return err

    def read(self, position: int, size: int) -> Rows:
        """Read a batch."""
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        self.library.move_to(self.order.blocks(position, size), worker, num_workers)
        shards, numbers = self.order.shard_of(self.order.rows(position, size))
        pairs = zip(shards.tolist(), numbers.tolist(), strict=True)
        return self._decoded([self.library.shard(shard).sample(number) for shard, number in pairs])

    def whole_shard(self, number: int) -> Rows:
        """Read all samples of a shard, and nothing of it is near any more."""
        shard = self.library.shard(number)
        rows = self._decoded([shard.sample(each) for each in range(self.library.index[number].num_kept)])
        self.library.close()
        return rows

    def _decoded(self, samples: Sequence[Sample]) -> Rows:
        # In a worker this stacks the pictures where the parent finds them, without another copy.
        pixels = default_collate([self._square(sample) for sample in samples])
        ids, mask = map(torch.as_tensor, self._encode([sample.caption for sample in samples]))
        return Rows(
            pixels,
            [sample.caption for sample in samples],
            ids,
            mask,
            [sample.key for sample in samples],
            [sample.uid for sample in samples],
            torch.tensor([(sample.original_height, sample.original_width) for sample in samples]),
        )

    def _square(self, sample: Sample) -> Tensor:
        picture, side = decode(sample.body, f"picture {sample.key}"), self.image_size
        if picture.shape != (side, side, 3):
            raise ConfigError(
                f"picture {sample.key} is {picture.shape[1]}x{picture.shape[0]}, others {side}x{side}: "
                "training needs squares of one size. Ingest with --resize-mode center_crop or border."
            )
        return picture
