"""What a sample must fit: one record of optional fields, of which each stage reads those it knows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from t2i_core.diffusion.chance import Chance
from t2i_core.systems.config import FieldName

Whole = TypeVar("Whole")


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """Captions, as token ids for an encoder of the stage's own or as features that one gave before.

    Attributes:
        mask: (B, L) bool, True = real token.
        ids: (B, L) int64.
        features: (B, L, D) float.
        embedding: (B, E) float, what a CLIP makes of the whole; None where nobody reads it.
    """

    mask: Tensor
    ids: Tensor | None = None
    features: Tensor | None = None
    embedding: Tensor | None = None

    @classmethod
    def of(cls, tokens: Tensor, mask: Tensor, embedding: Tensor | None = None) -> "Text":
        """Take captions as they come: token ids (B, L) int64, or features (B, L, D) float."""
        if not tokens.is_floating_point():
            return cls(ids=tokens, mask=mask, embedding=embedding)
        # What runs in bfloat16 does not take float16, in which features are stored.
        return cls(features=tokens.float(), mask=mask, embedding=embedding)

    @property
    def tokens(self) -> Tensor:
        """What they came as."""
        tokens = self.ids if self.features is None else self.features
        assert tokens is not None
        return tokens

    def trimmed(self) -> "Text":
        """Cut the padding that no caption of the batch needs."""
        length = int(self.mask.sum(1).max())
        return replace(mapped(self, lambda tensor: tensor[:, :length]), embedding=self.embedding)

    def followed_by(self, other: "Text") -> "Text":
        """Put other captions, read alike, behind these."""
        embeddings = [text.embedding for text in (self, other) if text.embedding is not None]
        embedding = torch.cat(embeddings) if embeddings else None
        return Text.of(torch.cat([self.tokens, other.tokens]), torch.cat([self.mask, other.mask]), embedding)


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRes:
    """The small picture that an upsampler starts from.

    Attributes:
        picture: (B, 3, h, w) float in [-1, 1], noised.
        level: (B,) float in [0, 1], how much noise was added.
    """

    picture: Tensor
    level: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What of a picture must stay.

    Attributes:
        picture: (B, 3, H, W) float in [-1, 1].
        mask: (B, 1, H, W) bool, True = stays.
    """

    picture: Tensor
    mask: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What samples must fit. A field is None where nobody reads it, and its values are never overwritten.

    Attributes:
        text: captions.
        image: (B, D) float, embeddings of pictures.
        low: pictures to be enlarged.
        known: parts that stay.
        keep: by the name of a field, (B,) bool: where False, a network puts its own null in place of the value.
    """

    text: Text | None = None
    image: Tensor | None = None
    low: LowRes | None = None
    known: Known | None = None
    keep: Mapping[FieldName, Tensor] = field(default_factory=dict)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Condition":
        """Change every tensor in it: choose rows, move to a device."""
        return mapped(self, change)

    def kept(self, name: FieldName, mask: Tensor) -> "Condition":
        """Keep a field for some samples only: mask: (B,) bool."""
        return replace(self, keep={**self.keep, name: self.keep[name] & mask if name in self.keep else mask})

    def opposed(self, negative: Text | None = None) -> "Condition":
        """Put the same samples behind these, with negative captions or with none, and without embeddings of pictures.

        What guidance leads to is the first half, what it leads away from the second.
        """
        assert self.text is not None
        both, size = self.map(lambda tensor: torch.cat([tensor, tensor])), len(self.text.mask)
        first = torch.arange(2 * size, device=self.text.mask.device) < size
        if self.image is not None:
            both = both.kept("image", first)
        return both.kept("text", first) if negative is None else replace(both, text=self.text.followed_by(negative))

    def dropped(self, rates: Mapping[FieldName, float], chance: Chance) -> "Condition":
        """Drop each field of each sample as often as its rate says, independently of the others."""
        condition = self
        for name, rate in rates.items():
            if rate:
                condition = condition.kept(name, chance.uniform(f"drop/{name}") >= rate)
        return condition


def mapped(record: Whole, change: Callable[[Tensor], Tensor]) -> Whole:
    """Change every tensor of a record, at any depth."""
    return _walk(record, change)  # type: ignore[no-any-return]


def _walk(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: _walk(inner, change) for name, inner in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{f.name: _walk(getattr(value, f.name), change) for f in fields(value)})
    return value
