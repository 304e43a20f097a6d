"""How captions come to a stage that is trained: as token ids, or as features that a frozen encoder made before."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor

from t2i_core.data.batches.feed import Feed
from t2i_core.data.batches.read import Rows
from t2i_core.data.batches.tokenizer import Tokenizer
from t2i_core.encoding.store import StoredFeatures
from t2i_core.systems.stage import Reader, Stage


class Words(Protocol):
    """Captions as a stage reads them; of what is large, the feed of a training holds numbers alone."""

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give token ids (B, L) int64 or features (B, L, D) float, and a mask (B, L) bool, True = real token."""

    def number(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Give what a feed keeps of captions: two tensors with a row for each."""

    def looked_up(self, feed: Feed) -> Feed:
        """Give a feed of what a stage reads in place of what was kept."""


class TokenWords:
    """Captions as the ids of a tokenizer: the captions folder's, or one of the stage's own."""

    def __init__(self, tokenizer: Tokenizer, stage: Stage) -> None:
        self._tokenizer, self._stage = tokenizer, stage

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Words.encode`."""
        if isinstance(self._stage, Reader):
            text = self._stage.read(captions)
            assert text.ids is not None
            return text.ids, text.mask
        ids, mask = self._tokenizer.encode(captions)
        return torch.from_numpy(ids), torch.from_numpy(mask)

    number = encode

    def looked_up(self, feed: Feed) -> Feed:
        """See `Words.looked_up`."""
        return feed


class FeatureWords:
    """Captions as their features in a finished folder.

    Args:
        stored: the features.
    """

    def __init__(self, stored: StoredFeatures) -> None:
        self._stored = stored

    def encode(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Words.encode`."""
        return self._stored.tokens(self._stored.find(captions))

    def number(self, captions: Sequence[str]) -> tuple[Tensor, Tensor]:
        """See `Words.number`."""
        numbers = self._stored.find(captions)[:, None]
        return numbers, torch.ones_like(numbers, dtype=torch.bool)

    def looked_up(self, feed: Feed) -> Feed:
        """See `Words.looked_up`."""
        return FeaturedFeed(feed, self._stored)


class FeaturedFeed:
    """A feed whose samples have numbers of captions, which are read from what is mapped, batch by batch."""

    def __init__(self, feed: Feed, stored: StoredFeatures) -> None:
        self._feed, self._stored = feed, stored

    def take(self, position: int, size: int) -> Rows:
        """See `Feed.take`."""
        rows = self._feed.take(position, size)
        tokens, mask = self._stored.tokens(rows.token_ids[:, 0])
        return replace(rows, token_ids=tokens, token_mask=mask)

    def close(self) -> None:
        """See `Feed.close`."""
        self._feed.close()
