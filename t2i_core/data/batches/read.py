"""Positions to rows of pixels, captions and token ids: what each process of a feed does."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate, get_worker_info

from t2i_core.data.batches.decode import cover, decode
from t2i_core.data.batches.indexed import Sample
from t2i_core.data.batches.library import Library
from t2i_core.data.batches.order import Block
from t2i_core.data.batches.plan import Plan, Stretch
from t2i_core.data.batches.shapes import Shapes
from t2i_core.data.bounded.disk import explain
from t2i_core.errors import ConfigError, DataError, T2IError

Encode = Callable[[Sequence[str]], tuple[Any, Any]]
"""Makes of B captions token ids (B, L) int64, and a mask (B, L) bool, True = real token."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Some samples, in the order of their positions.

    Attributes:
        pixels: (B, H, W, 3) uint8.
        captions: cleaned captions.
        token_ids: (B, L) int64; or features (B, L, D) float where a frozen encoder made them before.
        token_mask: (B, L) bool, True = real token.
        keys: of the samples in their dataset.
        uids: stable identities.
        original: (B, 2) int64, height and width of the picture as it was found; 0 where that is not known.
        crop: (B, 2) int64, pixels cut at the top and at the left when the picture was brought to the batch's shape.
        picture_embeddings: (B, D) float of a CLIP that made them before; None where nobody reads any.
        caption_embeddings: (B, D) float, likewise.
    """

    pixels: Tensor
    captions: list[str]
    token_ids: Tensor
    token_mask: Tensor
    keys: list[str]
    uids: list[str]
    original: Tensor
    crop: Tensor
    picture_embeddings: Tensor | None = None
    caption_embeddings: Tensor | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def at(self, numbers: NDArray[np.int64]) -> "Rows":
        """Choose some of them, by their numbers."""
        rows = torch.from_numpy(numbers)
        return self._each(
            lambda v: v.index_select(0, rows) if isinstance(v, Tensor) else v and [v[i] for i in numbers.tolist()]
        )

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
        if isinstance(column[0], Tensor):
            whole[field.name] = torch.cat(column)
        elif column[0] is not None:
            whole[field.name] = list(chain.from_iterable(column))
    return Rows(**whole)


class Reader(Dataset[Rows | T2IError]):
    """Reads and decodes batches; each worker has one.

    Args:
        library: of the shards.
        plan: of the samples.
        shapes: that pictures are brought to.
        side: of pictures that are stored as they are trained on, in pixels.
        encode: makes token ids of captions.
    """

    def __init__(self, library: Library, plan: Plan, shapes: Shapes, side: int, encode: Encode) -> None:
        self.library, self.plan, self._shapes, self._side, self._encode = library, plan, shapes, side, encode
        self._blocks: dict[int, list[Block]] = {}

    def __getitem__(self, wanted: tuple[int, int]) -> Rows | T2IError:
        """Read a batch by its first position and its size; an error is a value, so that it crosses processes whole."""
        try:
            return self.read(*wanted)
        except T2IError as err:
            return err
        except OSError as err:
            return explain(err, self.library.folder)

    def read(self, position: int, size: int) -> Rows:
        """Read a batch."""
        stretches = self.plan.find(position, size)
        bucket = self.plan.bucket_of(stretches[0].lane)
        places = [place for stretch in stretches for place in self._places(stretch)]
        samples = [self._sample(shard, bucket, number) for _, shard, number in sorted(places)]
        return self._decoded(samples, bucket)

    def whole_shard(self, shard: int, bucket: int) -> Rows:
        """Read all samples of a shard in one bucket, one at least; nothing of it is near any more."""
        count = self.library.index[shard].counts[bucket]
        samples = [self._sample(shard, bucket, number) for number in range(count)]
        self.library.close()
        return self._decoded(samples, bucket)

    def _places(self, stretch: Stretch) -> Iterator[tuple[int, int, int]]:
        """Give the place in the batch, the shard and the number in it of each sample of a stretch, all of them near."""
        order, count = self.plan.orders[stretch.lane], len(stretch.places)
        self._move_to(stretch.lane, order.blocks(stretch.first, count))
        shards, numbers = order.shard_of(order.rows(stretch.first, count))
        return zip(stretch.places.tolist(), shards.tolist(), numbers.tolist(), strict=True)

    def _move_to(self, lane: int, blocks: list[Block]) -> None:
        """Have near what this lane needs now, and what any lane needed last."""
        if self._blocks.get(lane) == blocks:
            return
        self._blocks[lane] = blocks
        info = get_worker_info()
        worker, num_workers = (info.id, info.num_workers) if info else (0, 1)
        near = {shard for each in self._blocks.values() for block in each for shard in block.shards}
        here = {shard for block in blocks[:-1] for shard in block.shards}
        self.library.move_to(here, blocks[-1].shards, near, worker, num_workers)

    def _sample(self, shard: int, bucket: int, number: int) -> Sample:
        indexed = self.library.shard(shard)
        rows = indexed.rows_of(bucket, self._shapes)
        if number >= len(rows):
            raise DataError(f"{indexed.tar_path}: the sizes of its pictures are not those that its captions name.")
        return indexed.sample(int(rows[number]))

    def _decoded(self, samples: Sequence[Sample], bucket: int) -> Rows:
        pictures, tops, lefts = zip(*(self._fitted(sample, bucket) for sample in samples), strict=True)
        ids, mask = map(torch.as_tensor, self._encode([sample.caption for sample in samples]))
        return Rows(
            # In a worker this stacks the pictures where the parent finds them, without another copy.
            pixels=default_collate(list(pictures)),
            captions=[sample.caption for sample in samples],
            token_ids=ids,
            token_mask=mask,
            keys=[sample.key for sample in samples],
            uids=[sample.uid for sample in samples],
            original=torch.tensor([(sample.original_height, sample.original_width) for sample in samples]),
            crop=torch.tensor([tops, lefts]).T.contiguous(),
        )

    def _fitted(self, sample: Sample, bucket: int) -> tuple[Tensor, int, int]:
        """Give a picture in the shape of its bucket, and what was cut from it at the top and at the left."""
        picture, side = decode(sample.body, f"picture {sample.key}"), self._side
        if self._shapes.side:
            return cover(picture, *self._shapes.shape(bucket))
        if picture.shape != (side, side, 3):
            raise ConfigError(
                f"picture {sample.key} is {picture.shape[1]}x{picture.shape[0]}, others {side}x{side}: "
                "training needs squares of one size. Add --set shapes.side=N to cut them, with shapes.step=N beside it "
                "to keep their aspect ratios; or ingest with --resize-mode center_crop or border."
            )
        return picture, 0, 0
